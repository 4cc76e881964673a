// Rows of a query: as a table that draws only what is in sight, as CSV, and as points of a chart.

import { h } from "./dom.js";

const ROW_HEIGHT = 28;
const MARGIN_ROWS = 12;
const WIDEST = 48;

/** Whether a type's values are numbers. */
export function isNumeric(type) {
  return /^(u?(tiny|small|big)?int|decimal|numeric|real|float|double)/i.test(type) && !/[[<]/.test(type);
}

/** Whether a type's values are moments. */
export function isTime(type) {
  return /^(timestamp|date)/i.test(type) && !/[[<]/.test(type);
}

/** All rows at once; for a few. */
export function resultTable(result) {
  return h("div", { class: "table-scroll" }, h("table", { class: "table rows" }, head(result.columns), h("tbody", null, result.rows.map((row, i) => line(result.columns, row, i)))));
}

/** A table in a box of its own that draws the rows in sight. Widths come from the first rows, so that they do not jump. */
export class ResultGrid {
  #top = 0;
  #height = 480;

  constructor(result, redraw) {
    this.result = result;
    this.redraw = redraw;
    this.widths = result.columns.map((column, i) => Math.min(Math.max(column.name.length + 1, ...result.rows.slice(0, 200).map((row) => (row[i] ?? "NULL").length)), WIDEST));
  }

  draw() {
    const { columns, rows } = this.result;
    const first = Math.max(Math.floor(this.#top / ROW_HEIGHT) - MARGIN_ROWS, 0);
    const last = Math.min(Math.ceil((this.#top + this.#height) / ROW_HEIGHT) + MARGIN_ROWS, rows.length);
    const onScroll = (event) => {
      this.#top = event.currentTarget.scrollTop;
      this.#height = event.currentTarget.clientHeight;
      this.redraw();
    };
    return h("div", { class: "grid-box", tabindex: "0", role: "region", "aria-label": "Rows", on: { scroll: onScroll } },
      h("table", { class: "table rows grid-rows", "aria-rowcount": String(rows.length + 1) },
        h("colgroup", null, h("col", { style: { width: `${String(rows.length).length + 3}ch` } }), this.widths.map((width) => h("col", { style: { width: `calc(${width}ch + 32px)` } })), h("col", null)),
        head(columns, true),
        h("tbody", null,
          spacer("above", first * ROW_HEIGHT, columns.length),
          rows.slice(first, last).map((row, i) => line(columns, row, first + i, true)),
          spacer("below", (rows.length - last) * ROW_HEIGHT, columns.length))));
  }
}

function head(columns, isNumbered) {
  return h("thead", null, h("tr", null, isNumbered ? h("th", { class: "row-number", scope: "col", "aria-label": "Row" }) : null,
    columns.map((column, i) => h("th", { key: i, scope: "col", class: isNumeric(column.type) ? "number" : undefined, title: column.type }, column.name, h("span", { class: "type" }, column.type))),
    isNumbered ? h("th", { "aria-hidden": "true" }) : null));
}

function line(columns, row, index, isNumbered) {
  return h("tr", { key: index, class: isNumbered ? "fixed" : undefined }, isNumbered ? h("td", { class: "row-number" }, index + 1) : null, row.map((value, i) => {
    if (value === null) return h("td", { key: i, class: isNumeric(columns[i].type) ? "null number" : "null" }, "NULL");
    return h("td", { key: i, class: isNumeric(columns[i].type) ? "number" : undefined, title: value.length > WIDEST ? value : undefined }, value === "" ? h("span", { class: "faint" }, "''") : value);
  }), isNumbered ? h("td", null) : null);
}

function spacer(key, height, columns) {
  return h("tr", { key, class: "spacer", "aria-hidden": "true" }, h("td", { colspan: columns + 2, style: { height: `${height}px` } }));
}

/** Rows as CSV with a header: NULL is empty, an empty text is "". */
export function csv({ columns, rows }) {
  const field = (value) => {
    if (value === null) return "";
    return value === "" || /[",\r\n]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value;
  };
  return [columns.map((column) => field(column.name)), ...rows.map((row) => row.map(field))].map((fields) => `${fields.join(",")}\n`).join("");
}

/** What a chart needs of two columns. */
export function points({ columns, rows }, x, y) {
  const type = columns[x].type;
  const xKind = isNumeric(type) ? "number" : isTime(type) ? "time" : "category";
  const list = rows.map((row) => ({
    x: row[x] === null ? NaN : xKind === "number" ? Number(row[x]) : xKind === "time" ? moment(row[x]) : null,
    label: row[x] ?? "NULL",
    y: row[y] === null ? null : Number(row[y]),
    text: row[y] ?? "NULL",
  }));
  return { xKind, list: xKind === "category" ? list : list.filter((point) => Number.isFinite(point.x)) };
}

/** "2013-01-01 05:00:00+00" as a number. */
function moment(text) {
  const iso = text.replace(" ", "T");
  return Date.parse(/[zZ]$|[+-]\d\d(:?\d\d)?$/.test(iso.slice(10)) ? iso.replace(/([+-]\d\d)$/, "$1:00") : iso.length > 10 ? `${iso}Z` : iso);
}
