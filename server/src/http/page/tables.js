// Tables and views: the list, and one with its schema, rows, versions and files.

import { path, post } from "./api.js";
import { h } from "./dom.js";
import { bytes, clock, count, instant, plural } from "./format.js";
import { cut, empty, failureBox, filterInput, hrefTo, kindBadge, links, loading, matches, notYet, panel, status, table } from "./parts.js";
import { resultTable } from "./result.js";
import { definition } from "./sqllayout.js";
import { quoted } from "./sqltext.js";

const STORED = ["table", "view", "materialized view"];
const SAMPLE_ROWS = 20;

export class TablesView {
  title = "Tables";
  place = "tables";
  #filter = "";

  constructor(app) {
    this.app = app;
  }

  sources() {
    return [{ url: path("tables"), every: 2000 }];
  }

  draw() {
    const answer = this.app.live.answer(path("tables"));
    const all = answer.value?.tables ?? [];
    const shown = all.filter((one) => matches(this.#filter, one.name, one.kind));
    const filter = filterInput(this.#filter, "Filter tables", (value) => {
      this.#filter = value;
      this.app.redraw();
    });
    return [
      h("header", { class: "view-head" }, h("h1", { tabindex: "-1" }, this.title), h("p", { class: "view-note" }, answer.value ? `${all.length}` : ""), filter),
      notYet(answer) ?? (shown.length ? h("div", { class: "panel bare" }, this.#list(shown)) : empty(all.length ? "No table matches." : "No tables yet."))];
  }

  #list(tables) {
    const jobs = new Map(this.app.live.jobs.map((job) => [job.name, job]));
    return table([
      { name: "Name", class: "name", draw: (one) => one.name },
      { name: "Kind", draw: (one) => kindBadge(one.kind) },
      { name: "Rows", class: "number", title: "About how many are stored", draw: (one) => count(one.rows) },
      { name: "Size", class: "number", draw: (one) => bytes(one.bytes) },
      { name: "Key", class: "wide-only", draw: (one) => one.key.join(", ") || h("span", { class: "faint" }, "–") },
      { name: "Changes", class: "wide-only", title: "Whether rows are only ever added", draw: (one) => (one.insert_only ? "insert-only" : "updates") },
      { name: "Changed at version", class: "number wide-only", draw: (one) => count(one.changed_version) },
      { name: "Job", draw: (one) => (one.job ? status(jobs.get(one.job)?.status) : null) },
    ], tables, { key: (one) => one.name, href: (one) => hrefTo("tables", one.name), label: "Tables" });
  }
}

export class TableView {
  place = "tables";
  #sample = null;
  #isReading = false;
  #wholes = new Set();

  constructor(app, name) {
    this.app = app;
    this.name = name;
    this.title = name;
  }

  sources() {
    return [{ url: path("tables", this.name), every: 2000 }, { url: path("tables", this.name, "versions"), every: 2000 }];
  }

  onKey(event) {
    if (event.key === "r") this.#read();
  }

  draw() {
    const { live } = this.app;
    const answer = live.answer(path("tables", this.name));
    const crumbs = h("p", { class: "crumbs" }, h("a", { href: hrefTo("tables") }, "Tables"));
    const wait = notYet(answer);
    if (wait) return [crumbs, h("h1", { tabindex: "-1" }, this.name), wait];
    const one = answer.value;
    // Rows behind a connector are read only when asked for: reading them may take long, and may cost.
    if (!this.#sample && !this.#isReading && STORED.includes(one.kind)) this.#read();
    const job = live.jobs.find((candidate) => candidate.name === one.job);
    return [
      crumbs,
      h("header", { class: "view-head" },
        h("h1", { tabindex: "-1" }, this.name), kindBadge(one.kind), job ? h("a", { href: hrefTo("jobs", job.name), title: "Its job" }, status(job.status)) : null,
        h("div", { class: "view-actions" }, h("a", { class: "button", href: hrefTo("sql", `SELECT * FROM ${quoted(this.name)} LIMIT 100`) }, "Query"))),
      this.#facts(one),
      h("div", { class: "columns" }, this.#schema(one), one.sql ? panel("Definition", { id: "sql" }, definition(one.sql)) : null),
      this.#rows(one),
      h("div", { class: "columns" }, this.#versions(live.answer(path("tables", this.name, "versions"))), this.#files(one))];
  }

  #facts(one) {
    const fact = (name, value, title) => h("div", { key: name, title }, h("dt", null, name), h("dd", null, value));
    return h("dl", { class: "facts inline" },
      fact("Rows", count(one.rows), "About how many are stored"),
      fact("Size", bytes(one.bytes)),
      fact("Key", one.key.join(", ") || "–"),
      fact("Changes", one.insert_only ? "insert-only" : "updates and deletes"),
      fact("Made of", links("tables", one.depends_on)),
      fact("Read by", links("tables", one.dependents)),
      one.metadata_location ? fact("Iceberg metadata", h("code", { class: "path" }, one.metadata_location)) : null);
  }

  #schema(one) {
    return panel("Schema", { id: "schema", note: plural(one.columns.length, "column") }, table([
      { name: "Column", class: "name", draw: (column) => column.name },
      { name: "Type", draw: (column) => h("code", null, column.type) },
      { name: "", draw: (column) => [column.key ? h("span", { key: "key", class: "mark" }, "key") : null, column.nullable ? null : h("span", { key: "not null", class: "faint" }, "not null")] },
    ], one.columns, { key: (column) => column.name, label: "Columns" }));
  }

  async #read() {
    this.#isReading = true;
    this.app.redraw();
    try {
      const answer = await post(path("statements"), { sql: `SELECT * FROM ${quoted(this.name)} LIMIT ${SAMPLE_ROWS}`, max_rows: SAMPLE_ROWS }, AbortSignal.timeout(20000));
      this.#sample = { result: answer.results[0], at: Date.now() };
    } catch (failure) {
      this.#sample = { failure, at: Date.now() };
    }
    this.#isReading = false;
    this.app.redraw();
  }

  #rows(one) {
    const sample = this.#sample;
    const button = h("button", { title: "Read again (r)", disabled: this.#isReading, on: { click: () => this.#read() } }, sample ? "Read again" : "Read rows");
    const note = sample ? `${plural(sample.result?.rows?.length ?? 0, "row")}, read at ${clock(sample.at)}` : null;
    let content = loading();
    if (sample?.failure) content = failureBox(sample.failure);
    else if (sample) content = sample.result.rows?.length ? resultTable(sample.result) : empty("No rows.");
    else if (!this.#isReading) content = empty(`Rows of a ${one.kind} table are read when asked for.`);
    return panel("Sample rows", { id: "sample", note, actions: button }, content);
  }

  #whole(name, list) {
    return cut(list, 8, this.#wholes.has(name), () => {
      this.#wholes.add(name);
      this.app.redraw();
    });
  }

  #versions(answer) {
    const wait = notYet(answer);
    if (wait) return panel("Versions", { id: "versions" }, wait);
    const list = answer.value.versions;
    if (!list.length) return panel("Versions", { id: "versions" }, empty("No version is kept."));
    const { shown, more } = this.#whole("versions", list);
    return panel("Versions", { id: "versions", note: `${list.length} kept` }, table([
      { name: "Version", draw: (version) => count(version.version) },
      { name: "Committed", draw: (version) => h("time", { title: instant(version.committed_ms) }, clock(version.committed_ms)) },
      { name: "Rows changed", class: "number", draw: (version) => count(version.rows_changed) },
      { name: "Kind", draw: (version) => kindBadge(version.kind) },
    ], shown, { key: (version) => `${version.version} ${version.kind}`, label: "Versions" }), more);
  }

  #files(one) {
    const segments = one.segments.map((segment) => ({ ...segment, kind: "segment" }));
    const list = [...segments, ...one.files];
    if (!list.length) return panel("Files", { id: "files" }, empty("Nothing is stored."));
    const { shown, more } = this.#whole("files", list);
    return panel("Files", { id: "files", note: `${plural(one.files.length, "file")}, ${plural(segments.length, "segment")}` }, table([
      { name: "Path", class: "name", draw: (file) => h("code", { class: "path", title: file.path }, file.path.replace(/^.*\/(?=(?:data|changelog|metadata)\/)/, "")) },
      { name: "Kind", draw: (file) => kindBadge(file.kind) },
      { name: "Rows", class: "number", draw: (file) => count(file.rows) },
      { name: "Size", class: "number", draw: (file) => bytes(file.bytes) },
    ], shown, { key: (file) => file.path, label: "Files" }), more);
  }
}
