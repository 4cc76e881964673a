// Jobs: the list, and one job with its dataflow, checkpoints and definition.

import { path, post } from "./api.js";
import { bars, sparkline } from "./charts.js";
import { Dataflow } from "./dataflow.js";
import { confirmed, toast } from "./dialogs.js";
import { h } from "./dom.js";
import { bytes, clock, count, duration, instant, rate } from "./format.js";
import { cut, empty, filterInput, hrefTo, kindBadge, links, loading, matches, notYet, panel, status, table, tile, tiles } from "./parts.js";
import { definition } from "./sqllayout.js";

/** What can be done with a job: the question, and what is said afterwards. */
const ACTIONS = {
  pause: { name: "Pause", ask: "It takes a last checkpoint and then stands still, also when the server starts again, until it is resumed.", done: "paused" },
  resume: { name: "Resume", ask: "It goes on from its last checkpoint.", done: "resumed" },
  restart: { name: "Restart", ask: "It stops and starts again from its last checkpoint.", done: "restarted" },
  stop: { name: "Stop for good", ask: "It takes a last checkpoint and ends. Its target keeps its rows; the job does not come back.", done: "stopped", dangerous: true },
};

function actionsOf(job) {
  const list = { running: ["pause", "restart"], paused: ["resume"], failed: ["restart"], finished: [] }[job.status] ?? [];
  return job.kind === "materialized view" ? list : [...list, "stop"];
}

/** Buttons for what can be done with a job now. */
export function jobActions(app, job, only = actionsOf(job)) {
  return only.map((name) => {
    const action = ACTIONS[name];
    return h("button", { key: name, class: action.dangerous ? "danger" : undefined, on: { click: () => act(app, job, name) } }, action.name);
  });
}

async function act(app, job, name) {
  const action = ACTIONS[name];
  if (!(await confirmed(`${action.name}: ${job.name}?`, action.ask, action.name, action))) return;
  try {
    await post(path("jobs", job.name, name));
    toast(`${job.name} is ${action.done}`);
    if (name === "stop") location.hash = hrefTo("jobs");
  } catch (failure) {
    toast([`${job.name} cannot be ${action.done}: ${failure.message}`, failure.hint].filter(Boolean).join(". "), { failed: true });
  }
  app.live.refresh();
}

/** The state of a job, and that it should run but does not. */
function jobStatus(job) {
  const isLeft = job.status === "running" && job.runner === "nobody";
  return [status(job.status), isLeft ? h("span", { key: "left", class: "warn left" }, "run by nobody") : null];
}

/** Jobs as lines with their rates. */
export function jobTable(app, jobs) {
  const { memory } = app.live;
  const isOn = (job) => job.status === "running";
  return table([
    { name: "Job", class: "name", draw: (job) => job.name },
    { name: "Status", draw: jobStatus },
    { name: "Kind", class: "wide-only", draw: (job) => kindBadge(job.kind) },
    { name: "Rows in", class: "number", draw: (job) => (isOn(job) ? rate(memory.counter(`in of ${job.name}`).rate()) : "–") },
    { name: "", class: "spark-cell wide-only", draw: (job) => isOn(job) && sparkline(memory.counter(`in of ${job.name}`).rates(), { width: 90, height: 18, most: 60 }) },
    { name: "Rows out", class: "number", draw: (job) => (isOn(job) ? rate(memory.counter(`out of ${job.name}`).rate()) : "–") },
    { name: "Lag", class: "number", title: LAG, draw: (job) => duration(job.lag_ms) },
    { name: "Checkpoint", class: "number wide-only", title: "Age of the last checkpoint", draw: (job) => (isOn(job) ? duration(job.checkpoint_age_ms) : "–") },
    { name: "Dropped", class: "number", title: LOSSES, draw: dropped },
  ], jobs, { key: (job) => job.name, href: (job) => hrefTo("jobs", job.name), label: "Jobs", rowClass: (job) => job.status });
}

const LAG = "How long the oldest row that was read has waited to be committed";
const LOSSES = "Rows that were skipped or came too late, and values that failed";

/** What did not get through: how much, and what. */
function losses(job) {
  const kinds = [[job.skipped_rows, "skipped"], [job.late_rows, "late"], [job.failed_values, "failed values"]];
  return { total: kinds.reduce((sum, [number]) => sum + number, 0), text: kinds.filter(([number]) => number).map(([number, name]) => `${count(number)} ${name}`).join(", ") || "no rows" };
}

function dropped(job) {
  const { total, text } = losses(job);
  return total ? h("span", { class: "warn", title: text }, count(total)) : h("span", { class: "faint" }, "0");
}

export class JobsView {
  title = "Jobs";
  place = "jobs";
  #filter = "";

  constructor(app) {
    this.app = app;
  }

  sources() {
    return [];
  }

  draw() {
    const { overview, jobs } = this.app.live;
    const shown = jobs.filter((job) => matches(this.#filter, job.name, job.kind, job.status, ...job.inputs, ...job.targets));
    const filter = filterInput(this.#filter, "Filter jobs", (value) => {
      this.#filter = value;
      this.app.redraw();
    });
    return [
      h("header", { class: "view-head" }, h("h1", { tabindex: "-1" }, this.title), h("p", { class: "view-note" }, overview ? `${jobs.length}` : ""), filter),
      !overview ? loading() : shown.length ? h("div", { class: "panel bare" }, jobTable(this.app, shown)) : empty(jobs.length ? "No job matches." : "No jobs yet.")];
  }
}

export class JobView {
  place = "jobs";
  #allCheckpoints = false;

  constructor(app, name) {
    this.app = app;
    this.name = name;
    this.title = name;
    this.dataflow = new Dataflow(app, name);
  }

  sources() {
    return [
      { url: path("jobs", this.name) },
      { url: path("jobs", this.name, "dataflow") },
      { url: path("jobs", this.name, "checkpoints") },
    ];
  }

  onKey(event) {
    if (event.key === "Escape") this.dataflow.select(null);
  }

  draw() {
    const { live } = this.app;
    const job = live.answer(path("jobs", this.name));
    const crumbs = h("p", { class: "crumbs" }, h("a", { href: hrefTo("jobs") }, "Jobs"));
    const wait = notYet(job);
    if (wait) return [crumbs, h("h1", { tabindex: "-1" }, this.name), wait];
    return [
      crumbs,
      h("header", { class: "view-head" },
        h("h1", { tabindex: "-1" }, this.name), jobStatus(job.value), kindBadge(job.value.kind),
        h("div", { class: "view-actions" }, jobActions(this.app, job.value))),
      this.#about(job.value),
      this.#error(job.value),
      this.#tiles(job.value),
      this.dataflow.draw(live.answer(path("jobs", this.name, "dataflow")), job.value),
      this.#checkpoints(live.answer(path("jobs", this.name, "checkpoints"))),
      panel("Definition", { id: "sql" }, definition(job.value.sql))];
  }

  #error(job) {
    if (!job.error) return null;
    return h("section", { key: "error", class: "alarm", "aria-label": "Error", role: "alert" },
      h("header", null, h("h2", null, h("span", { class: "alarm-word" }, job.status === "failed" ? "Failed" : "Error"))),
      h("pre", { class: "alarm-text", tabindex: "0" }, job.error));
  }

  #tiles(job) {
    const { memory } = this.app.live;
    const isOn = job.status === "running";
    const [rowsIn, rowsOut] = [memory.counter(`in of ${job.name}`), memory.counter(`out of ${job.name}`)];
    return tiles(
      tile({ name: "Rows in", value: isOn ? rate(rowsIn.rate()) : "–", note: `${count(job.rows_in)} so far`, values: isOn ? rowsIn.rates() : null }),
      tile({ name: "Rows out", value: isOn ? rate(rowsOut.rate()) : "–", note: `${count(job.rows_out)} so far`, values: isOn ? rowsOut.rates() : null }),
      tile({ name: "Lag", value: duration(job.lag_ms), note: "oldest uncommitted row", title: LAG, values: isOn ? memory.value(`lag of ${job.name}`).values() : null }),
      tile({ name: "Checkpoint age", value: isOn ? duration(job.checkpoint_age_ms) : "–", note: `epoch ${count(job.epoch)}` }),
      tile({ name: "Dropped", value: count(losses(job).total), tone: losses(job).total ? "warning" : "", note: losses(job).text, title: LOSSES }));
  }

  #about(job) {
    const settings = Object.entries(job.settings ?? {}).map(([name, value]) => h("code", { key: name }, `${name} = ${typeof value === "string" ? value : JSON.stringify(value)} `));
    return h("dl", { key: "about", class: "facts inline" },
      h("div", null, h("dt", null, "Reads"), h("dd", null, links("tables", job.inputs))),
      h("div", null, h("dt", null, "Writes"), h("dd", null, links("tables", job.targets))),
      h("div", null, h("dt", null, "Run by"), h("dd", null, job.runner ?? "nobody")),
      settings.length ? h("div", null, h("dt", null, "Settings"), h("dd", null, settings)) : null);
  }

  #checkpoints(answer) {
    const wait = notYet(answer);
    if (wait) return panel("Checkpoints", { id: "checkpoints" }, wait);
    const list = answer.value.checkpoints;
    if (!list.length) return panel("Checkpoints", { id: "checkpoints" }, empty("No checkpoint was taken since the server started."));
    const { shown, more } = cut(list, 8, this.#allCheckpoints, () => {
      this.#allCheckpoints = true;
      this.app.redraw();
    });
    const sorted = list.map((item) => item.duration_ms).sort((a, b) => a - b);
    const [median, longest] = [sorted[Math.floor(sorted.length / 2)], sorted.at(-1)];
    const oldestFirst = [...list].reverse();
    const barsOf = (value, title, label) => bars(oldestFirst.map((item) => ({ key: item.epoch, value: value(item), title: title(item) })), { slots: 100, height: 48, label });
    return panel("Checkpoints", { id: "checkpoints", note: `median ${duration(median)}, longest ${duration(longest)} of the last ${list.length}` },
      h("div", { class: "checkpoint-bars" },
        h("figure", null, h("figcaption", null, "Duration"), barsOf((c) => c.duration_ms, (c) => `epoch ${c.epoch}: ${duration(c.duration_ms)}`, "Durations of the last checkpoints")),
        h("figure", null, h("figcaption", null, "Size"), barsOf((c) => c.bytes, (c) => `epoch ${c.epoch}: ${bytes(c.bytes)}`, "Sizes of the last checkpoints"))),
      table([
        { name: "Epoch", draw: (c) => count(c.epoch) },
        { name: "Version", draw: (c) => count(c.version) },
        { name: "Committed", draw: (c) => h("time", { title: instant(c.committed_ms) }, clock(c.committed_ms)) },
        { name: "Duration", class: "number", draw: (c) => duration(c.duration_ms) },
        { name: "Size", class: "number", draw: (c) => bytes(c.bytes) },
        { name: "Files", class: "number", draw: (c) => count(c.files) },
      ], shown, { key: (c) => c.epoch, label: "Checkpoints" }), more);
  }
}
