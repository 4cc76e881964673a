// The overview: what is wrong first, then how fast everything goes, then every job in a line.

import { h } from "./dom.js";
import { bytes, count, duration, percent, plural, rate } from "./format.js";
import { jobActions, jobTable } from "./jobs.js";
import { empty, hrefTo, links, loading, panel, tile, tiles } from "./parts.js";

/** More would push everything else off the screen. */
const MOST_ALARMS = 5;
const WORST_FIRST = ["failed", "paused", "running", "finished"];

export class OverviewView {
  title = "Overview";
  place = "";

  constructor(app) {
    this.app = app;
  }

  sources() {
    return [];
  }

  draw() {
    const { overview, jobs } = this.app.live;
    if (!overview) return [h("h1", { tabindex: "-1" }, this.title), loading()];
    const failed = jobs.filter((job) => job.status === "failed");
    const sorted = [...jobs].sort((a, b) => WORST_FIRST.indexOf(a.status) - WORST_FIRST.indexOf(b.status) || (a.name < b.name ? -1 : 1));
    return [
      h("header", { class: "view-head" },
        h("h1", { tabindex: "-1" }, this.title),
        h("p", { class: "view-note" },
          h("span", { title: "Warehouse" }, overview.warehouse),
          h("span", null, `${plural(overview.tables, "table")}, ${plural(overview.views, "view")}`),
          h("span", null, `up ${duration(overview.now_ms - overview.started_ms)}`))),
      failed.slice(0, MOST_ALARMS).map((job) => this.#failedJob(job)),
      failed.length > MOST_ALARMS ? h("p", { class: "warn" }, `and ${failed.length - MOST_ALARMS} more failed jobs, listed below`) : null,
      this.#tiles(overview),
      panel("Jobs", { id: "jobs", note: this.#summary(overview), actions: h("a", { class: "button quiet", href: hrefTo("jobs") }, "All jobs") },
        sorted.length ? jobTable(this.app, sorted)
          : empty("No jobs yet. ", h("a", { href: hrefTo("sql") }, "Create a materialized view"), " or submit a file with ", h("code", null, "frazil submit"), "."))];
  }

  #summary({ jobs }) {
    return WORST_FIRST.filter((state) => jobs[state]).map((state) => `${jobs[state]} ${state}`).join(", ");
  }

  #failedJob(job) {
    return h("section", { key: `failed ${job.name}`, class: "alarm", "aria-label": `Failed job ${job.name}` },
      h("header", null,
        h("h2", null, h("span", { class: "alarm-word" }, "Failed"), h("a", { href: hrefTo("jobs", job.name) }, job.name)),
        h("div", { class: "panel-actions" }, jobActions(this.app, job, ["restart"]), h("a", { class: "button", href: hrefTo("jobs", job.name) }, "Open"))),
      h("pre", { class: "alarm-text", tabindex: "0" }, job.error ?? "The server gives no reason."),
      h("p", { class: "alarm-foot" }, `${job.kind}. `, job.targets.length ? ["What it keeps no longer follows its inputs: ", links("tables", job.targets)] : null));
  }

  #tiles(overview) {
    const { memory } = this.app.live;
    const [rowsIn, rowsOut, cpu] = ["rows in", "rows out", "cpu"].map((name) => memory.counter(name));
    const cores = cpu.rate();
    return tiles(
      tile({ name: "Rows in", value: rate(rowsIn.rate()), note: `${count(overview.rows_in)} so far`, values: rowsIn.rates() }),
      tile({ name: "Rows out", value: rate(rowsOut.rate()), note: `${count(overview.rows_out)} so far`, values: rowsOut.rates() }),
      tile({ name: "Lag", value: duration(overview.lag_ms), note: "oldest uncommitted row",
        values: memory.value("lag").values(), title: "How long the oldest row that was read has waited to be committed, in the job that is furthest behind" }),
      tile({ name: "Checkpoint age", value: duration(overview.checkpoint_age_ms), note: `version ${count(overview.catalog_version)}`,
        values: memory.value("checkpoint age").values(), title: "Since the oldest of the jobs' last checkpoints" }),
      tile({ name: "Memory", value: bytes(overview.memory_bytes), note: "resident", values: memory.value("memory").values() }),
      tile({ name: "CPU", value: percent(cores), note: "of one core", values: cpu.rates(), title: `The server runs jobs with parallelism ${overview.parallelism}` }));
  }
}
