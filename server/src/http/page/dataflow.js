// The dataflow of a job: its operators as a graph with what each does right now, and one of them in detail.

import { h } from "./dom.js";
import { bytes, count, instant, percent, rate } from "./format.js";
import { graph } from "./graph.js";
import { hrefTo, links, notYet, panel } from "./parts.js";
import { Counter } from "./series.js";
import { sparkline } from "./charts.js";

const NODE = { width: 212, height: 92 };

export class Dataflow {
  #selected = null;
  #onlyThisJob = false;
  #seenAt = null;
  #shape = null;
  #memo = {};
  /** Per operator and counter. */
  #counters = new Map();

  constructor(app, job) {
    this.app = app;
    this.job = job;
  }

  select(id) {
    const was = this.#selected;
    this.#selected = id;
    this.app.redraw();
    if (id === null && was !== null) document.querySelector(`.node[data-id="${CSS.escape(String(was))}"]`)?.focus();
  }

  draw(answer, job) {
    const wait = notYet(answer);
    if (wait) return panel("Dataflow", { id: "dataflow" }, wait);
    const flow = answer.value;
    if (flow.at_ms !== this.#seenAt) this.#learn(flow);
    const isShared = flow.pipeline_jobs.length > 1;
    const nodes = flow.nodes.filter((node) => !this.#onlyThisJob || node.jobs.includes(this.job));
    const selected = nodes.find((node) => node.id === this.#selected);
    const toggle = isShared && h("label", { class: "check" }, h("input", { type: "checkbox", checked: this.#onlyThisJob, on: { change: (event) => {
      this.#onlyThisJob = event.target.checked;
      this.app.redraw();
    } } }), "Only this job");
    const note = isShared ? `one pipeline of ${flow.pipeline_jobs.length} jobs: ${flow.pipeline_jobs.join(", ")}` : `${nodes.length} operators`;
    return panel("Dataflow", { id: "dataflow", actions: [legend(), toggle], note },
      nodes.length ? h("div", { class: "dataflow" }, h("div", { class: "graph-scroll" }, this.#graph(nodes, flow.edges)), selected ? this.#inspector(selected) : null)
        : h("p", { class: "empty" }, `The job is ${job.status}: no operator runs.`));
  }

  #learn(flow) {
    this.#seenAt = flow.at_ms;
    // Another plan has other operators under the same numbers.
    const shape = flow.nodes.map((node) => `${node.id} ${node.kind} ${node.label}`).join("\n");
    if (shape !== this.#shape) this.#counters.clear();
    this.#shape = shape;
    for (const node of flow.nodes) {
      for (const name of ["rows_in", "rows_out", "busy_ms", "backpressure_ms"]) this.#counter(node, name).push(flow.at_ms, node[name]);
    }
  }

  #counter(node, name) {
    const key = `${node.id} ${name}`;
    if (!this.#counters.has(key)) this.#counters.set(key, new Counter());
    return this.#counters.get(key);
  }

  /** The share of its tasks' time that an operator spent so; null before there are two polls. */
  #share(node, name) {
    const growth = this.#counter(node, name).rate();
    return growth === null ? null : Math.min(growth / 1000 / Math.max(node.parallelism, 1), 1);
  }

  #graph(nodes, edges) {
    const byId = new Map(nodes.map((node) => [node.id, node]));
    const drawnNodes = nodes.map((node) => ({ id: node.id, ...NODE, draw: (place) => this.#node(node, place) }));
    const drawnEdges = edges.filter((edge) => byId.has(edge.from) && byId.has(edge.to)).map((edge) => {
      const from = byId.get(edge.from);
      const perSecond = this.#counter(from, "rows_out").rate();
      const size = !perSecond ? "idle" : perSecond >= 10000 ? "flow-3" : perSecond >= 100 ? "flow-2" : "flow-1";
      const isFar = !from.jobs.includes(this.job) || !byId.get(edge.to).jobs.includes(this.job);
      return { ...edge, class: `${size}${isFar ? " far" : ""}`, label: edge.exchange === "forward" ? null : edge.exchange, title: `${edge.exchange}, ${rate(perSecond)}` };
    });
    // The graph may not need the width that the inspector takes.
    const width = this.app.width() - 34 - (this.#selected !== null && this.app.width() > 900 ? 336 : 0);
    return graph(drawnNodes, drawnEdges, { width, label: "Operators; arrow keys walk along them, Enter shows one", memo: this.#memo });
  }

  #node(node, place) {
    const [rowsIn, rowsOut] = [this.#counter(node, "rows_in").rate(), this.#counter(node, "rows_out").rate()];
    const [busy, pressure] = [this.#share(node, "busy_ms"), this.#share(node, "backpressure_ms")];
    const isSource = ["source", "table", "values"].includes(node.kind);
    const classes = ["node", "operator", pressure >= 0.5 ? "pressed-hard" : pressure >= 0.1 ? "pressed" : busy >= 0.9 ? "hot" : "", node.jobs.includes(this.job) ? "" : "far"];
    const isSelected = node.id === this.#selected;
    return h("button", { key: `n${node.id}`, class: classes.filter(Boolean).join(" "), style: place, "data-id": node.id, "aria-pressed": String(isSelected),
      title: node.label, on: { click: () => this.select(isSelected ? null : node.id) } },
      h("span", { class: "node-head" }, h("span", { class: "node-kind" }, node.kind), h("span", { class: "node-tasks", title: "Tasks" }, `×${node.parallelism}`)),
      h("span", { class: "node-label" }, withoutKind(node)),
      h("span", { class: "node-rates" },
        h("span", { class: "node-rate" }, isSource ? rate(rowsOut) : `${rate(rowsIn)} → ${rate(rowsOut)}`),
        node.state_bytes || node.state_rows ? h("span", { class: "node-state", title: `State: ${count(node.state_rows)} rows` }, bytes(node.state_bytes)) : null),
      h("span", { class: "node-load" },
        h("span", { class: "meter", "aria-hidden": "true" },
          h("span", { class: "meter-busy", style: { width: `${(busy ?? 0) * 100}%` } }),
          h("span", { class: "meter-pressure", style: { width: `${Math.min(pressure ?? 0, 1 - (busy ?? 0)) * 100}%` } })),
        h("span", { class: "node-share" }, pressure >= 0.1 ? h("span", { class: "node-pressure" }, `waits ${percent(pressure)}`) : `busy ${percent(busy)}`)));
  }

  #inspector(node) {
    const fact = (name, value, title) => h("div", { key: name, title }, h("dt", null, name), h("dd", null, value));
    const trend = (name) => sparkline(this.#counter(node, name).rates(), { width: 280, height: 30, most: 90 });
    return h("aside", { class: "inspector", "aria-label": `Operator: ${node.label}` },
      h("header", null, h("h3", null, node.kind), h("button", { class: "quiet", "aria-label": "Close", on: { click: () => this.select(null) } }, "×")),
      h("p", { class: "inspector-label" }, node.label),
      node.object ? h("p", null, h("a", { href: hrefTo("tables", node.object) }, node.object)) : null,
      h("dl", { class: "facts" },
        fact("Rows in", `${rate(this.#counter(node, "rows_in").rate())}, ${count(node.rows_in)} so far`),
        fact("Rows out", `${rate(this.#counter(node, "rows_out").rate())}, ${count(node.rows_out)} so far`),
        fact("Busy", percent(this.#share(node, "busy_ms")), "Share of its tasks' time that it computed"),
        fact("Back-pressure", percent(this.#share(node, "backpressure_ms")), "Share of its tasks' time that it waited because a receiver was full"),
        fact("State", `${bytes(node.state_bytes)}, ${count(node.state_rows)} rows`),
        fact("Watermark", node.watermark_ms === null ? "–" : instant(node.watermark_ms)),
        fact("Late rows", count(node.late_rows)),
        fact("Tasks", count(node.parallelism)),
        fact("Jobs", links("jobs", node.jobs))),
      trend("rows_in"),
      node.detail ? h("pre", { class: "code small", tabindex: "0" }, node.detail) : null);
  }
}

/** A label often begins with what the head of the node says already. */
function withoutKind(node) {
  const [first, ...rest] = node.label.split(" ");
  return rest.length && first.replace(/[^a-z]/gi, "").toLowerCase() === node.kind.replace(/[^a-z]/gi, "").toLowerCase() ? rest.join(" ") : node.label;
}

function legend() {
  return h("span", { class: "legend" },
    h("span", { class: "legend-busy" }, "busy"),
    h("span", { class: "legend-pressure" }, "waits for a full receiver (back-pressure)"));
}
