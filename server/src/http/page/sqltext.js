// SQL as coloured text.

import { h } from "./dom.js";

const KEYWORDS = new Set(`ADD ALL ALTER AND ANY AS ASC ASOF BEGIN BETWEEN BY CASE CAST CLOSE COMMIT CONFLICT CREATE CROSS DEFAULT DELETE DESC DESCRIBE DESCRIPTOR DISTINCT DO
DROP ELSE EMIT END EXCEPT EXECUTE EXISTS EXPLAIN FALSE FILTER FLUSH FOLLOWING FOR FROM FULL FUNCTION GROUP GROUPING HAVING HOP IF IN INCREMENTAL INNER INSERT INTERSECT
INTERVAL INTO IS JOB JOBS JOIN KEY LATERAL LEFT LIKE LIMIT MATCHED MATERIALIZED MERGE NOT NOTHING NULL NULLS OF OFFSET ON OR ORDER OUTER OVER OVERWRITE PARTITION PAUSE
PRECEDING PRIMARY RANGE RESTART RESUME RETURNING RIGHT ROLLBACK ROW ROWS SELECT SET SETS SHOW STATEMENT STOP SUBSCRIBE SYSTEM_TIME TABLE TABLES THEN TO TRUE TRUNCATE TUMBLE
UNBOUNDED UNION UNIQUE UPDATE USING VALUES VERIFY VERSION VIEW VIEWS WATERMARK WHEN WHERE WINDOW WITH`.split(/\s+/));

const TOKEN = /(?<comment>--[^\n]*|\/\*[\s\S]*?(?:\*\/|$))|(?<text>'(?:[^']|'')*(?:'|$))|(?<quoted>"(?:[^"]|"")*(?:"|$))|(?<number>\b\d[\d_]*(?:\.\d+)?(?:[eE][+-]?\d+)?\b)|(?<word>[\p{L}_][\p{L}\p{N}_$]*)/gu;

/** Pieces `{text, kind}` of a statement, nothing left out; `kind` is "" for what has no colour. */
export function pieces(sql) {
  const list = [];
  let end = 0;
  for (const match of sql.matchAll(TOKEN)) {
    const [kind] = Object.entries(match.groups).find(([, text]) => text !== undefined);
    const shown = kind === "word" ? (KEYWORDS.has(match[0].toUpperCase()) ? "keyword" : "") : kind;
    if (match.index > end) list.push({ text: sql.slice(end, match.index), kind: "" });
    list.push({ text: match[0], kind: shown });
    end = match.index + match[0].length;
  }
  if (end < sql.length) list.push({ text: sql.slice(end), kind: "" });
  return list;
}

/** The text in colours, for a `pre`. `mark` is `{from, to}` of what is wrong in it. */
export function coloured(sql, mark = null) {
  const list = [];
  let at = 0;
  for (const piece of pieces(sql)) {
    for (const part of cut(piece, at, mark)) list.push(h("span", { class: [part.kind && `sql-${part.kind}`, part.marked && "sql-wrong"].filter(Boolean).join(" ") || undefined }, part.text));
    at += piece.text.length;
  }
  return list;
}

/** A piece in up to three parts: before, within and behind the mark. */
function cut(piece, at, mark) {
  const to = at + piece.text.length;
  if (!mark || mark.to <= at || mark.from >= to) return [piece];
  const bounds = [at, Math.max(mark.from, at), Math.min(mark.to, to), to];
  return [0, 1, 2]
    .map((i) => ({ text: piece.text.slice(bounds[i] - at, bounds[i + 1] - at), kind: piece.kind, marked: i === 1 }))
    .filter((part) => part.text);
}

/** A name as SQL takes it, whatever is in it. */
export function quoted(name) {
  return `"${name.replaceAll('"', '""')}"`;
}

/** The offset of a line and column, both from 1, columns counted in characters. */
export function offsetOf(sql, { line, column }) {
  const lines = sql.split("\n");
  const before = lines.slice(0, line - 1).reduce((sum, text) => sum + text.length + 1, 0);
  const start = [...(lines[line - 1] ?? "")].slice(0, column - 1).join("").length;
  return Math.min(before + start, sql.length);
}

/** From an offset to the end of the word, text or sign that stands there: at least one character. */
export function wordAt(sql, offset) {
  const word = /^(?:[\p{L}\p{N}_$.]+|"(?:[^"]|"")*"|'(?:[^']|'')*'|\S)/u.exec(sql.slice(offset));
  return { from: offset, to: offset + (word ? word[0].length : 1) };
}
