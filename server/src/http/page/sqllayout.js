// A statement that the server keeps in one line, in several: a line per clause, a line per column of a table. Only white space changes.

import { h } from "./dom.js";
import { coloured, pieces } from "./sqltext.js";

const CLAUSES = new Set("SELECT FROM WHERE GROUP HAVING ORDER LIMIT UNION EXCEPT INTERSECT WITH EMIT VALUES".split(" "));
const JOINS = new Set("JOIN LEFT RIGHT FULL INNER CROSS ASOF OUTER SEMI ANTI NATURAL".split(" "));
/** After these the clause has begun already, or the word means something else. */
const NO_BREAK_AFTER = new Set(["DISTINCT", "DELETE", "UNION", "EXCEPT", "INTERSECT", "SYSTEM_TIME"]);

/** The statement with line breaks; as it is if it has some, or is short. */
export function inLines(sql) {
  if (sql.includes("\n") || sql.length < 80) return sql;
  const isTable = /^CREATE\s+TABLE/i.test(sql);
  let text = "";
  let depth = 0;
  let last = "";
  for (const piece of pieces(sql)) {
    if (piece.kind === "keyword" || /^[\p{L}_]/u.test(piece.text)) {
      const word = piece.text.toUpperCase();
      if (depth === 0 && text && begins(word, last)) text = `${text.trimEnd()}\n`;
      last = word;
      text += piece.text;
    } else if (piece.kind) {
      last = "";
      text += piece.text;
    } else {
      for (const sign of piece.text) {
        if (sign === "(") depth += 1;
        if (sign === ")") depth -= 1;
        if (sign === ")" && depth === 0 && isTable) text = `${text.trimEnd()}\n`;
        if (!(sign === " " && /\n\s*$/.test(text))) text += sign;
        if (isTable && depth === 1 && (sign === "(" || sign === ",")) text += "\n  ";
        if (sign !== " ") last = "";
      }
    }
  }
  return text;
}

function begins(word, last) {
  if (JOINS.has(word)) return !JOINS.has(last);
  return CLAUSES.has(word) && !NO_BREAK_AFTER.has(last);
}

/** A definition to read. */
export function definition(sql) {
  return h("pre", { class: "code", tabindex: "0" }, coloured(inLines(sql.trim())));
}
