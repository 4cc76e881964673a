// Small charts in SVG: sparklines and bars beside numbers, and the chart of a query's result.

import { h } from "./dom.js";
import { tickLabels } from "./format.js";

/** A line of the last values, from zero up. Decoration: the number beside it says the same. */
export function sparkline(values, { width = 120, height = 28, most = 120, tone = "" } = {}) {
  const shown = values.slice(-most);
  // A young line is short, but not a speck.
  const slots = Math.max(shown.length, Math.min(most, 30));
  const top = Math.max(...shown, 1e-9);
  const step = width / (slots - 1);
  const start = width - step * (shown.length - 1);
  const y = (value) => height - 1.5 - (Math.max(value, 0) / top) * (height - 4);
  const line = shown.map((value, i) => `${i ? "L" : "M"}${fixed(start + i * step)} ${fixed(y(value))}`).join("");
  const area = shown.length > 1 ? `${line}L${width} ${height}L${fixed(start)} ${height}Z` : "";
  return h("svg", { class: `spark ${tone}`, viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", "aria-hidden": "true" },
    h("path", { class: "spark-area", d: area }),
    h("path", { class: "spark-line", d: shown.length > 1 ? line : "" }));
}

/** A bar per value, each with its title. The newest is at the right end; `slots` bars fit. */
export function bars(items, { width = 600, height = 64, slots = 60, label }) {
  const shown = items.slice(-slots);
  const top = Math.max(...shown.map((item) => item.value), 1e-9);
  const step = width / slots;
  const start = width - step * shown.length;
  return h("svg", { class: "bars", viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", role: "img", "aria-label": label },
    shown.map((item, i) => {
      const tall = Math.max((item.value / top) * (height - 2), 1.5);
      return h("rect", { key: item.key ?? i, class: `bar ${item.tone ?? ""}`, x: fixed(start + i * step), y: fixed(height - tall), width: fixed(step * 0.72), height: fixed(tall) },
        h("title", null, item.title));
    }));
}

/**
 * A line or bar chart with axes. `points` are `{x, label, y}` where `x` is a number (times too) or null if the x axis has categories;
 * points without y are left out. `hover` is the index of the point under the pointer, `onHover` tells of a new one.
 */
export function chart(points, { kind, width, height, xKind, xName, yName, hover, onHover }) {
  const frame = { left: 60, right: 16, top: 14, bottom: 34 };
  const inner = { width: Math.max(width - frame.left - frame.right, 50), height: height - frame.top - frame.bottom };
  const shown = points.filter((point) => point.y !== null && Number.isFinite(point.y));
  if (!shown.length) return h("p", { class: "empty" }, `No numbers in ${yName}.`);
  const yTicks = ticks(Math.min(...shown.map((p) => p.y), kind === "bar" ? 0 : Infinity), Math.max(...shown.map((p) => p.y), kind === "bar" ? 0 : -Infinity), 5);
  const y = scale(yTicks[0], yTicks.at(-1), frame.top + inner.height, frame.top);
  const yLabels = tickLabels(yTicks);
  const numeric = xKind !== "category" && kind === "line";
  const xs = shown.map((point, i) => (numeric ? point.x : i));
  const x = numeric
    ? scale(Math.min(...xs), Math.max(...xs), frame.left, frame.left + inner.width)
    : (i) => frame.left + ((i + 0.5) * inner.width) / shown.length;
  const at = shown.map((point, i) => ({ x: x(xs[i]), y: y(point.y) }));
  const move = (event) => {
    const box = event.currentTarget.getBoundingClientRect();
    const left = ((event.clientX - box.left) * width) / box.width;
    let nearest = 0;
    for (const [i, point] of at.entries()) if (Math.abs(point.x - left) < Math.abs(at[nearest].x - left)) nearest = i;
    if (nearest !== hover) onHover(nearest);
  };
  return h("svg", { class: "chart", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${yName} by ${xName}, ${shown.length} points`,
    on: { pointermove: move, pointerleave: () => onHover(null) } },
    yTicks.map((tick, i) => h("g", { key: `y${tick}` },
      h("line", { class: "grid", x1: frame.left, x2: frame.left + inner.width, y1: fixed(y(tick)), y2: fixed(y(tick)) }),
      h("text", { class: "tick", x: frame.left - 8, y: fixed(y(tick) + 4), "text-anchor": "end" }, yLabels[i]))),
    marks(kind, at, y(Math.max(yTicks[0], 0)), inner.width / shown.length),
    xLabels(shown, at, width).map(({ key, x, text }) => h("text", { key, class: "tick", x: fixed(x), y: height - 12, "text-anchor": "middle" }, text)),
    hover !== null && at[hover] ? tip(shown[hover], at[hover], { xName, yName, width, frame, inner }) : null);
}

function marks(kind, at, base, slot) {
  if (kind === "bar") {
    const wide = Math.max(Math.min(slot * 0.76, 64), 1);
    return h("g", { key: "marks", class: "chart-bars" }, at.map((p, i) =>
      h("rect", { key: i, x: fixed(p.x - wide / 2), y: fixed(Math.min(p.y, base)), width: fixed(wide), height: fixed(Math.max(Math.abs(base - p.y), 0.75)) })));
  }
  const ordered = [...at].sort((a, b) => a.x - b.x);
  return h("g", { key: "marks" },
    h("path", { class: "chart-line", d: ordered.map((p, i) => `${i ? "L" : "M"}${fixed(p.x)} ${fixed(p.y)}`).join("") }),
    at.length <= 60 ? at.map((p, i) => h("circle", { key: i, class: "chart-dot", cx: fixed(p.x), cy: fixed(p.y), r: 2.5 })) : null);
}

/** The labels that fit beside each other, from left to right. */
function xLabels(points, at, width) {
  const list = [];
  let end = 0;
  for (const i of [...at.keys()].sort((a, b) => at[a].x - at[b].x)) {
    const text = points[i].label.length > 19 ? `${points[i].label.slice(0, 18)}…` : points[i].label;
    const half = text.length * 3.4 + 8;
    const x = Math.min(Math.max(at[i].x, half), width - half);
    if (x - half < end) continue;
    list.push({ key: `x${i}`, x, text });
    end = x + half;
  }
  return list;
}

function tip(point, at, { xName, yName, width, frame, inner }) {
  const texts = [`${xName}: ${point.label}`, `${yName}: ${point.text}`];
  const wide = Math.max(...texts.map((text) => text.length)) * 7 + 20;
  const left = at.x + 12 + wide > width ? at.x - 12 - wide : at.x + 12;
  return h("g", { key: "tip", class: "tip" },
    h("line", { class: "cross", x1: fixed(at.x), x2: fixed(at.x), y1: frame.top, y2: frame.top + inner.height }),
    h("circle", { class: "chart-dot on", cx: fixed(at.x), cy: fixed(at.y), r: 4 }),
    h("rect", { x: fixed(left), y: frame.top, width: wide, height: 44, rx: 6 }),
    texts.map((text, i) => h("text", { key: i, x: fixed(left + 10), y: frame.top + 18 + i * 17 }, text)));
}

/** Round numbers from at or below `low` to at or above `high`. */
export function ticks(low, high, wanted) {
  if (low === high) [low, high] = [Math.min(low, 0), Math.max(high, low === 0 ? 1 : 0)];
  const rough = (high - low) / wanted;
  const size = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].find((factor) => factor * size >= rough) * size;
  const list = [];
  for (let i = Math.floor(low / step); i <= Math.ceil(high / step - 1e-9); i++) list.push(Number((i * step).toPrecision(12)));
  return list;
}

function scale(low, high, from, to) {
  const span = high - low || 1;
  return (value) => from + ((value - low) / span) * (to - from);
}

function fixed(number) {
  return Number(number.toFixed(2));
}
