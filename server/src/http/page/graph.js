// Draws a graph: nodes are buttons or links in HTML (so that text is cut, selected and read as text), edges are curves in an SVG behind them.

import { h } from "./dom.js";
import { layout } from "./layout.js";

/**
 * `nodes`: `[{id, width, height, draw}]` where `draw(place)` gives the element of a node with `place` as its style; `edges`: `[{from, to, class, title, label}]`.
 * The graph runs from left to right if it fits into `width` so, else from top to bottom. `memo` is an object of the caller's that keeps the layout
 * until the shape of the graph changes.
 */
export function graph(nodes, edges, { width, label, gaps = {}, memo }) {
  const shape = JSON.stringify([width, nodes.map((node) => [node.id, node.width, node.height]), edges.map((edge) => [edge.from, edge.to])]);
  if (memo.shape !== shape) {
    const sideways = laid(nodes, edges, true, width, gaps);
    Object.assign(memo, { shape, found: sideways.width <= width ? sideways : laid(nodes, edges, false, width, gaps) });
  }
  const { found } = memo;
  return h("div", { class: "graph", role: "group", "aria-label": label, on: { keydown: walk } },
    h("div", { class: "graph-canvas", style: { width: `${found.width}px`, height: `${found.height}px` } },
      h("svg", { class: "graph-edges", width: found.width, height: found.height, "aria-hidden": "true" },
        found.edges.map(({ index, points }) => drawEdge(index, edges[index], points, found.isSideways))),
      nodes.map((node) => {
        const { x, y } = found.positions.get(node.id);
        return node.draw({ left: `${Math.round(x)}px`, top: `${Math.round(y)}px`, width: `${node.width}px`, height: `${node.height}px` });
      })));
}

function laid(nodes, edges, isSideways, width, { layerGap = 56, nodeGap = 20 }) {
  const sized = nodes.map(({ id, width, height }) => (isSideways ? { id, along: width, across: height } : { id, along: height, across: width }));
  const indexed = edges.map(({ from, to }, index) => ({ from, to, index }));
  const point = ({ along, across }) => (isSideways ? { x: along, y: across } : { x: across, y: along });
  const parts = layout(sized, indexed, { layerGap: isSideways ? layerGap : Math.min(layerGap, 44), nodeGap }).map((part) => ({
    size: point(part),
    positions: [...part.positions].map(([id, place]) => [id, point(place)]),
    edges: part.edges.map(({ edge, points }) => ({ index: edge.index, points: points.map(point) })),
  }));
  return { isSideways, ...packed(parts, width, { x: isSideways ? layerGap : nodeGap * 2, y: nodeGap * 1.5 }) };
}

/** Parts that do not hang together beside each other, in rows as long as there is room. */
function packed(parts, room, gap) {
  const whole = { width: 0, height: 0, positions: new Map(), edges: [] };
  const row = { x: 0, y: 0, height: 0 };
  for (const { size, positions, edges } of parts) {
    if (row.x > 0 && row.x + size.x > room) Object.assign(row, { x: 0, y: row.y + row.height + gap.y, height: 0 });
    const moved = ({ x, y }) => ({ x: x + row.x, y: y + row.y });
    for (const [id, place] of positions) whole.positions.set(id, moved(place));
    for (const { index, points } of edges) whole.edges.push({ index, points: points.map(moved) });
    row.x += size.x + gap.x;
    row.height = Math.max(row.height, size.y);
    whole.width = Math.max(whole.width, Math.ceil(row.x - gap.x));
    whole.height = Math.max(whole.height, Math.ceil(row.y + row.height));
  }
  return whole;
}

function drawEdge(key, edge, points, isSideways) {
  let d = `M${points[0].x} ${points[0].y}`;
  for (let i = 1; i < points.length; i++) {
    const [a, b] = [points[i - 1], points[i]];
    if (isSideways) d += `C${(a.x + b.x) / 2} ${a.y} ${(a.x + b.x) / 2} ${b.y} ${b.x} ${b.y}`;
    else d += `C${a.x} ${(a.y + b.y) / 2} ${b.x} ${(a.y + b.y) / 2} ${b.x} ${b.y}`;
  }
  const end = points.at(-1);
  const arrow = isSideways ? `M${end.x - 6} ${end.y - 4}L${end.x} ${end.y}L${end.x - 6} ${end.y + 4}` : `M${end.x - 4} ${end.y - 6}L${end.x} ${end.y}L${end.x + 4} ${end.y - 6}`;
  const middle = { x: (points.at(-2).x + end.x) / 2, y: (points.at(-2).y + end.y) / 2 };
  return h("g", { key, class: `edge ${edge.class ?? ""}` },
    edge.title ? h("title", null, edge.title) : null,
    h("path", { class: "edge-line", d }),
    h("path", { class: "edge-flow", d }),
    h("path", { class: "edge-arrow", d: arrow }),
    edge.label ? h("text", { class: "edge-label", x: middle.x + (isSideways ? 0 : 6), y: middle.y + (isSideways ? -5 : 3), "text-anchor": isSideways ? "middle" : "start" }, edge.label) : null);
}

/** Arrow keys go to the nearest node in that direction. */
function walk(event) {
  const direction = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
  const from = event.target.closest?.(".node");
  if (!direction || !from || event.ctrlKey || event.metaKey || event.altKey) return;
  const middle = (node) => ({ x: node.offsetLeft + node.offsetWidth / 2, y: node.offsetTop + node.offsetHeight / 2 });
  const here = middle(from);
  let best = null;
  for (const node of event.currentTarget.querySelectorAll(".node")) {
    const there = middle(node);
    const ahead = (there.x - here.x) * direction[0] + (there.y - here.y) * direction[1];
    const aside = Math.abs((there.x - here.x) * direction[1]) + Math.abs((there.y - here.y) * direction[0]);
    if (node !== from && ahead > 8 && (!best || ahead + 2 * aside < best.distance)) best = { node, distance: ahead + 2 * aside };
  }
  if (best) {
    event.preventDefault();
    best.node.focus();
  }
}
