// The SQL editor: text, results, chart, history. What was typed and found outlives a visit to other views.

import { path, post } from "./api.js";
import { chart } from "./charts.js";
import { toast } from "./dialogs.js";
import { announce, h } from "./dom.js";
import { editor, insert } from "./editor.js";
import { count, duration, plural } from "./format.js";
import { empty, failureBox, hrefTo, panel } from "./parts.js";
import { ResultGrid, csv, isNumeric, isTime, points } from "./result.js";
import { offsetOf, quoted, wordAt } from "./sqltext.js";

const MAX_ROWS = 1000;
const HISTORY = 100;

/** What the editor holds. One lives as long as the page. */
class Worksheet {
  text = stored("frazil.sql", "");
  mark = null;
  history = stored("frazil.history", []);
  /** Where Alt Up and Down are; -1 is the text that was typed. */
  recalled = -1;
  draft = "";
  outcomes = [];
  failure = null;
  running = null;
  ranFor = null;
  isHistoryOpen = false;
}

export class SqlView {
  title = "SQL";
  place = "sql";

  constructor(app, text) {
    this.app = app;
    this.sheet = app.worksheet ??= new Worksheet();
    if (text) this.#setText(text);
    requestAnimationFrame(() => this.#area()?.focus());
  }

  sources() {
    return [{ url: path("tables"), every: 5000 }];
  }

  onKey(event) {
    if (event.key === "Escape") this.#cancel();
  }

  #area() {
    return document.querySelector(".editor-input");
  }

  #setText(text) {
    this.sheet.text = text;
    this.sheet.mark = null;
    store("frazil.sql", text);
    this.app.redraw();
  }

  async #run() {
    const { sheet } = this;
    if (sheet.running) return;
    const area = this.#area();
    const [from, to] = area && area.selectionEnd > area.selectionStart ? [area.selectionStart, area.selectionEnd] : [0, sheet.text.length];
    const sql = sheet.text.slice(from, to);
    if (!sql.trim()) return;
    this.#remember(sql.trim());
    const run = { abort: new AbortController(), since: performance.now() };
    Object.assign(sheet, { running: run, failure: null, mark: null, outcomes: [], ranFor: null });
    const ticker = setInterval(() => this.app.redraw(), 100);
    this.app.redraw();
    try {
      const answer = await post(path("statements"), { sql, max_rows: MAX_ROWS }, run.abort.signal);
      this.#found(answer.results);
    } catch (failure) {
      if (failure.name === "AbortError") sheet.failure = { message: `cancelled after ${duration(performance.now() - run.since)}` };
      else this.#failed(failure, sql, from);
    }
    clearInterval(ticker);
    Object.assign(sheet, { running: null, ranFor: performance.now() - run.since });
    announce(sheet.failure ? sheet.failure.message : `${plural(sheet.outcomes.length, "result")} in ${duration(sheet.ranFor)}`);
    this.app.redraw();
  }

  #found(results) {
    this.sheet.outcomes = results.map((result, i) => ({ id: `${performance.now()} ${i}`, result, grid: result.rows ? new ResultGrid(result, () => this.app.redraw()) : null, chart: null }));
  }

  #failed(failure, sql, from) {
    this.#found(failure.results ?? []);
    const { sheet } = this;
    sheet.failure = failure;
    if (!failure.position) return;
    const offset = from + offsetOf(sql, failure.position);
    sheet.mark = wordAt(sheet.text, offset);
    sheet.failedAt = { offset, line: sheet.text.slice(0, offset).split("\n").length, column: offset - sheet.text.lastIndexOf("\n", offset - 1) };
  }

  #cancel() {
    this.sheet.running?.abort.abort();
  }

  #remember(sql) {
    const { sheet } = this;
    sheet.history = [sql, ...sheet.history.filter((old) => old !== sql)].slice(0, HISTORY);
    sheet.recalled = -1;
    store("frazil.history", sheet.history);
  }

  #recall(step) {
    const { sheet } = this;
    const to = Math.min(Math.max(sheet.recalled + step, -1), sheet.history.length - 1);
    if (to === sheet.recalled) return;
    if (sheet.recalled === -1) sheet.draft = sheet.text;
    sheet.recalled = to;
    this.#setText(to === -1 ? sheet.draft : sheet.history[to]);
  }

  draw() {
    const { sheet } = this;
    const isWide = this.app.width() > 940;
    return [
      h("header", { class: "view-head" }, h("h1", { tabindex: "-1" }, this.title),
        h("p", { class: "view-note" }, "Ctrl Enter runs the text, or what is selected of it")),
      h("div", { class: isWide ? "worksheet with-tables" : "worksheet" },
        h("div", { key: "sheet", class: "sheet" },
          editor(sheet, {
            onInput: (text) => {
              sheet.recalled = -1;
              this.#setText(text);
            },
            onRun: () => this.#run(),
            onOlder: () => this.#recall(1),
            onNewer: () => this.#recall(-1),
            onEscape: () => (sheet.running ? (this.#cancel(), true) : false),
          }),
          this.#bar(),
          sheet.isHistoryOpen ? this.#history() : null,
          this.#outcome()),
        isWide ? this.#tables() : null)];
  }

  #bar() {
    const { sheet } = this;
    const spent = sheet.running ? performance.now() - sheet.running.since : sheet.ranFor;
    return h("div", { class: "editor-bar" },
      sheet.running
        ? h("button", { key: "cancel", class: "danger", on: { click: () => this.#cancel() } }, "Cancel", h("kbd", null, "Esc"))
        : h("button", { key: "run", class: "primary run", on: { click: () => this.#run() } }, "Run", h("kbd", null, "Ctrl ⏎")),
      h("button", { key: "history", class: "quiet", "aria-expanded": String(sheet.isHistoryOpen), disabled: !sheet.history.length, on: { click: () => {
        sheet.isHistoryOpen = !sheet.isHistoryOpen;
        this.app.redraw();
      } } }, "History"),
      h("span", { class: "editor-time", "aria-hidden": "true" }, sheet.running ? `running, ${duration(Math.floor(spent / 100) * 100)}` : spent === null ? "" : `took ${duration(spent)}`));
  }

  #history() {
    return h("ol", { class: "history", "aria-label": "History" }, this.sheet.history.map((sql) =>
      h("li", { key: sql }, h("button", { on: { click: () => {
        this.sheet.isHistoryOpen = false;
        this.#setText(sql);
        this.#area()?.focus();
      } } }, sql.replace(/\s+/g, " ")))));
  }

  #tables() {
    const tables = this.app.live.answer(path("tables")).value?.tables ?? [];
    return h("aside", { key: "tables", class: "sheet-tables", "aria-label": "Tables" }, h("h2", null, "Tables"),
      tables.length ? h("ul", null, tables.map((one) => h("li", { key: one.name },
        h("button", { title: `Insert ${one.name}`, on: { click: () => insert(this.#area(), /^[a-z_][a-z0-9_]*$/.test(one.name) ? one.name : quoted(one.name)) } }, one.name),
        h("a", { href: hrefTo("tables", one.name), title: `${one.kind}: schema and rows`, "aria-label": `Schema of ${one.name}` }, "›")))) : empty("None yet."));
  }

  #outcome() {
    const { sheet } = this;
    const list = sheet.outcomes.map((outcome, i) => this.#result(outcome, sheet.outcomes.length > 1 ? i + 1 : null));
    return h("div", { class: sheet.running ? "outcomes is-running" : "outcomes" }, list, sheet.failure ? this.#error() : null);
  }

  #error() {
    const { failure, text, mark, failedAt } = this.sheet;
    const excerpt = () => {
      const line = text.split("\n")[failedAt.line - 1] ?? "";
      return h("pre", { class: "code excerpt" }, `${line}\n${" ".repeat(failedAt.column - 1)}${"^".repeat(Math.max(mark.to - mark.from, 1))}`);
    };
    return h("section", { key: "error", class: "panel failed", "aria-label": "Error" },
      failureBox(failure),
      mark ? [h("p", { class: "failure-place" }, h("button", { class: "link", on: { click: () => {
        this.#area().focus();
        this.#area().setSelectionRange(mark.from, mark.to);
      } } }, `line ${failedAt.line}, column ${failedAt.column}`)), excerpt()] : null);
  }

  #result(outcome, number) {
    const { result, grid } = outcome;
    const note = [`${duration(result.elapsed_ms)}`, result.truncated ? `only the first ${count(result.rows.length)} rows` : null].filter(Boolean).join(", ");
    const notice = result.notice ? h("p", { class: "notice" }, result.notice) : null;
    const title = number ? `${number}: ${result.tag}` : result.tag;
    if (!grid) return panel(title, { id: outcome.id, note }, notice);
    const canChart = result.rows.length > 1 && result.columns.some((column) => isNumeric(column.type));
    const show = (value) => {
      outcome.chart = value;
      this.app.redraw();
    };
    const actions = [
      canChart ? h("div", { class: "segmented", role: "group", "aria-label": "Show as" },
        h("button", { "aria-pressed": String(!outcome.chart), on: { click: () => show(null) } }, "Table"),
        h("button", { "aria-pressed": String(Boolean(outcome.chart)), on: { click: () => show(outcome.chart ?? firstChart(result)) } }, "Chart")) : null,
      h("button", { on: { click: () => copyCsv(result) } }, "Copy CSV")];
    return panel(title, { id: outcome.id, note, actions }, notice,
      outcome.chart ? this.#chart(outcome, show) : result.rows.length ? grid.draw() : empty("No rows."));
  }

  #chart(outcome, show) {
    const { result, chart: chosen } = outcome;
    const choice = (label, value, options, change) => h("label", null, label, h("select", { "aria-label": label, on: { change: (event) => change(event.target.value) } },
      options.map(([key, name]) => h("option", { value: key, selected: String(key) === String(value) }, name))));
    const columns = result.columns.map((column, i) => [i, column.name]);
    const { xKind, list } = points(result, chosen.x, chosen.y);
    return h("div", { class: "chart-box" },
      h("div", { class: "chart-choices" },
        choice("Chart", chosen.kind, [["line", "Line"], ["bar", "Bars"]], (kind) => show({ ...chosen, kind, hover: null })),
        choice("X", chosen.x, columns, (x) => show({ ...chosen, x: Number(x), hover: null })),
        choice("Y", chosen.y, columns.filter(([i]) => isNumeric(result.columns[i].type)), (y) => show({ ...chosen, y: Number(y), hover: null }))),
      chart(list, { kind: chosen.kind, width: Math.max(Math.min(this.app.width() - (this.app.width() > 940 ? 260 : 40), 1400), 320), height: 320, xKind, xName: result.columns[chosen.x].name, yName: result.columns[chosen.y].name,
        hover: chosen.hover, onHover: (hover) => show({ ...chosen, hover }) }));
  }
}

/** The first column that looks like an axis, and the first number that is not it. */
function firstChart({ columns }) {
  const time = columns.findIndex((column) => isTime(column.type));
  const text = columns.findIndex((column) => !isNumeric(column.type));
  const x = time >= 0 ? time : text >= 0 ? text : 0;
  const y = columns.findIndex((column, i) => i !== x && isNumeric(column.type));
  return { kind: time >= 0 || text < 0 ? "line" : "bar", x, y: y < 0 ? x : y, hover: null };
}

async function copyCsv(result) {
  try {
    await navigator.clipboard.writeText(csv(result));
    toast(`${plural(result.rows.length, "row")} copied as CSV`);
  } catch {
    toast("The browser does not let the page write to the clipboard", { failed: true });
  }
}

/** What the browser keeps; the fallback if it keeps nothing. */
function stored(key, fallback) {
  try {
    return JSON.parse(localStorage.getItem(key)) ?? fallback;
  } catch {
    return fallback;
  }
}

function store(key, value) {
  try {
    localStorage.setItem(key, JSON.stringify(value));
  } catch { /* Full or forbidden: it holds until the page is left. */ }
}
