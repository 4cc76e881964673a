// All tables and views as a graph: what is made of what.

import { path } from "./api.js";
import { h } from "./dom.js";
import { graph } from "./graph.js";
import { empty, filterInput, hrefTo, matches, notYet, status } from "./parts.js";

/** Kinds that the warehouse keeps or computes; everything else is behind a connector. */
const INSIDE = ["table", "view", "materialized view"];
const NODE = { width: 188, height: 56 };

export class LineageView {
  title = "Lineage";
  place = "lineage";
  #filter = "";
  #memo = {};

  constructor(app) {
    this.app = app;
  }

  sources() {
    return [{ url: path("lineage"), every: 2000 }];
  }

  draw() {
    const answer = this.app.live.answer(path("lineage"));
    const filter = filterInput(this.#filter, "Highlight tables", (value) => {
      this.#filter = value;
      this.app.redraw();
    });
    return [
      h("header", { class: "view-head" }, h("h1", { tabindex: "-1" }, this.title), h("p", { class: "view-note" }, answer.value ? `${answer.value.nodes.length} tables and views` : ""), filter),
      notYet(answer) ?? this.#graph(answer.value)];
  }

  #graph({ nodes, edges }) {
    if (!nodes.length) return empty("No tables yet. ", h("a", { href: hrefTo("sql") }, "Create one"), ".");
    const failed = downstream(nodes.filter((node) => node.status === "failed").map((node) => node.name), edges);
    const drawnNodes = nodes.map((node) => ({ id: node.name, ...NODE, draw: (place) => this.#node(node, place, failed.has(node.name)) }));
    const drawnEdges = edges.map((edge) => ({ ...edge, class: failed.has(edge.from) ? "broken" : "" }));
    return h("div", { class: "panel bare" }, h("div", { class: "graph-scroll" },
      graph(drawnNodes, drawnEdges, { width: this.app.width() - 34, label: "Lineage; arrow keys walk along it, Enter opens a table", gaps: { layerGap: 72, nodeGap: 14 }, memo: this.#memo })));
  }

  #node(node, place, isBroken) {
    const isDim = this.#filter && !matches(this.#filter, node.name, node.kind);
    const classes = ["node", "object", node.status === "failed" ? "failed" : isBroken ? "behind" : "", isDim ? "far" : "", INSIDE.includes(node.kind) ? "" : "outside"];
    const title = isBroken && node.status !== "failed" ? `${node.name}: something before it failed` : node.name;
    return h("a", { key: `n${node.name}`, class: classes.filter(Boolean).join(" "), style: place, href: hrefTo("tables", node.name), title },
      h("span", { class: "node-name" }, node.name),
      h("span", { class: "node-head" }, h("span", { class: "node-kind" }, node.kind), node.status && node.status !== "running" ? status(node.status) : null));
  }
}

/** These and all that is made of them. */
function downstream(names, edges) {
  const found = new Set(names);
  const queue = [...names];
  while (queue.length) {
    const name = queue.pop();
    for (const { from, to } of edges) {
      if (from !== name || found.has(to)) continue;
      found.add(to);
      queue.push(to);
    }
  }
  return found;
}
