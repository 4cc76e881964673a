// A text area for SQL: the text in colours behind it, Tab indents, what is wrong is underlined.

import { h } from "./dom.js";
import { coloured } from "./sqltext.js";

const INDENT = "  ";

/**
 * `state` has `text` and `mark`. `onRun`, `onOlder`, `onNewer` are what the keys do; `onEscape` tells whether it did something.
 */
export function editor(state, { onInput, onRun, onOlder, onNewer, onEscape }) {
  const keydown = (event) => {
    const { target, key } = event;
    if (key === "Enter" && (event.ctrlKey || event.metaKey)) onRun();
    else if (key === "ArrowUp" && event.altKey) onOlder();
    else if (key === "ArrowDown" && event.altKey) onNewer();
    else if (key === "Escape") {
      if (!onEscape()) return;
    } else if (key === "Tab" && !event.ctrlKey && !event.altKey && !event.metaKey) indent(target, event.shiftKey);
    else if (key === "Enter" && !event.shiftKey && !event.isComposing) insert(target, `\n${/^[ \t]*/.exec(lineBefore(target))[0]}`);
    else return;
    event.preventDefault();
  };
  return h("div", { class: "editor" },
    h("pre", { class: "editor-text", "aria-hidden": "true" }, coloured(state.text, state.mark), "\n "),
    h("textarea", { class: "editor-input", "aria-label": "SQL", "aria-keyshortcuts": "Control+Enter", spellcheck: "false", autocapitalize: "off", autocomplete: "off", placeholder: "SELECT …", value: state.text,
      "aria-invalid": state.mark ? "true" : undefined, on: { keydown, input: (event) => onInput(event.target.value) } }));
}

/** Inserts as if typed, so that it can be undone. */
export function insert(area, text) {
  area.focus();
  if (!document.execCommand("insertText", false, text)) {
    area.setRangeText(text, area.selectionStart, area.selectionEnd, "end");
    area.dispatchEvent(new Event("input", { bubbles: true }));
  }
}

function lineBefore(area) {
  const before = area.value.slice(0, area.selectionStart);
  return before.slice(before.lastIndexOf("\n") + 1);
}

function indent(area, isBack) {
  const { selectionStart: from, selectionEnd: to, value } = area;
  if (from === to && !isBack) return insert(area, INDENT);
  const start = value.lastIndexOf("\n", from - 1) + 1;
  const lines = value.slice(start, to).split("\n");
  const moved = lines.map((line) => (isBack ? line.replace(/^ {1,2}|^\t/, "") : INDENT + line)).join("\n");
  area.setSelectionRange(start, to);
  insert(area, moved);
  if (from === to) {
    const at = Math.max(from + moved.length - (to - start), start);
    area.setSelectionRange(at, at);
  } else area.setSelectionRange(start, start + moved.length);
}
