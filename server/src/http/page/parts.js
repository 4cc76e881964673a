// The pieces that all views are made of.

import { h } from "./dom.js";
import { sparkline } from "./charts.js";

/** A link to a place of this page: hrefTo("jobs", name). */
export function hrefTo(...parts) {
  return `#/${parts.map(encodeURIComponent).join("/")}`;
}

/** Links to several tables or jobs, with commas between. */
export function links(place, names) {
  return names.length ? names.map((name, i) => [i ? ", " : "", h("a", { href: hrefTo(place, name) }, name)]) : "–";
}

/** The state of a job, as a word with a sign, so that it does not depend on colour. */
export function status(state) {
  if (!state) return null;
  const sign = { running: "M2 5a3 3 0 1 0 6 0a3 3 0 1 0-6 0", failed: "M2 2l6 6M8 2L2 8", paused: "M3 1.5v7M7 1.5v7", finished: "M1.5 5.5l2.5 2.5l4.5-5.5" }[state];
  return h("span", { class: `status ${state}` }, h("svg", { viewBox: "0 0 10 10", "aria-hidden": "true" }, h("path", { d: sign ?? "M2 5h6" })), state);
}

/** What kind of table or node something is. */
export function kindBadge(kind) {
  return h("span", { class: "kind" }, kind);
}

/** A number with its name, and how it went if `values` are given. */
export function tile({ name, value, note, values, tone = "", title }) {
  return h("div", { key: name, class: `tile ${tone}`, title },
    h("dt", null, name),
    h("dd", null, h("span", { class: "tile-value" }, value), note ? h("span", { class: "tile-note" }, note) : null),
    values ? sparkline(values, { tone }) : null);
}

export function tiles(...list) {
  return h("dl", { class: "tiles" }, list);
}

/** A titled part of a view. */
export function panel(title, { id, actions, note, tone } = {}, ...children) {
  return h("section", { key: id ?? title, class: `panel ${tone ?? ""}`, "aria-label": title },
    h("header", { class: "panel-head" }, h("h2", null, title), note ? h("span", { class: "note" }, note) : null, h("div", { class: "panel-actions" }, actions)),
    children);
}

/** A server's error: what, where, what to do. */
export function failureBox(failure) {
  return h("div", { class: "failure", role: "alert" },
    h("p", { class: "failure-message" }, failure.code ? h("code", null, failure.code) : null, failure.message),
    failure.cause ? h("p", { class: "failure-detail" }, failure.cause) : null,
    failure.detail ? h("p", { class: "failure-detail" }, failure.detail) : null,
    failure.hint ? h("p", { class: "failure-hint" }, h("b", null, "Hint "), failure.hint) : null);
}

export function empty(...children) {
  return h("p", { class: "empty" }, children);
}

export function loading() {
  return h("p", { class: "empty loading" }, "Loading…");
}

/** What an answer of `Live` looks like before there is something to show; null if there is. */
export function notYet(answer) {
  if (answer.failure) return failureBox(answer.failure);
  return answer.value ? null : loading();
}

/**
 * A table. Columns are `{name, class, draw(row), title}`; `href(row)` makes the first cell a link, which j and k walk over.
 */
export function table(columns, rows, { key, href, label, rowClass }) {
  return h("div", { class: "table-scroll" },
    h("table", { class: "table", "aria-label": label },
      h("thead", null, h("tr", null, columns.map((column) => h("th", { scope: "col", class: column.class, title: column.title }, column.name)))),
      h("tbody", null, rows.map((row) =>
        h("tr", { key: key(row), class: [href && "linked", rowClass?.(row)].filter(Boolean).join(" ") || undefined }, columns.map((column, i) => {
          const cell = column.draw(row);
          if (i > 0 || !href) return h("td", { class: column.class }, cell);
          return h("th", { scope: "row", class: column.class }, h("a", { class: "row-link", href: href(row) }, cell));
        }))))));
}

/** An input that narrows a list; `/` goes to it. */
export function filterInput(value, label, onInput) {
  return h("input", { class: "filter", type: "search", placeholder: "Filter", "aria-label": label, "aria-keyshortcuts": "/", value, autocomplete: "off", spellcheck: "false",
    on: { input: (event) => onInput(event.target.value) } });
}

/** Whether a filter's words are all in the texts. */
export function matches(filter, ...texts) {
  const all = texts.join(" ").toLowerCase();
  return filter.toLowerCase().split(/\s+/).every((word) => all.includes(word));
}

/** A list cut at a number, with a button that shows the rest. */
export function cut(list, limit, isWhole, onWhole) {
  if (isWhole || list.length <= limit) return { shown: list, more: null };
  return { shown: list.slice(0, limit), more: h("button", { class: "quiet more", on: { click: onWhole } }, `Show all ${list.length}`) };
}
