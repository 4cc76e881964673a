// Questions before something happens, messages after it did, and the page of shortcuts.

import { announce, h, render } from "./dom.js";

const SHORTCUTS = [
  ["Go", [["g o", "Overview"], ["g j", "Jobs"], ["g t", "Tables"], ["g l", "Lineage"], ["g s", "SQL"]]],
  ["Lists and graphs", [
    ["/", "Filter the list, or go to the editor"],
    ["j / k", "Next and previous row"],
    ["Enter", "Open it"],
    ["← ↑ → ↓", "Walk through a graph"],
    ["r", "Read a table's rows again"],
    ["Esc", "Close, or leave the field"],
  ]],
  ["SQL", [
    ["Ctrl Enter", "Run the text, or the selection"],
    ["Esc", "Cancel the running statement"],
    ["Alt ↑ / Alt ↓", "Older and newer statements"],
    ["Tab / Shift Tab", "Indent, outdent"],
    ["Esc Tab", "Leave the editor"],
  ]],
  ["Page", [["Shift T", "Light, dark, as the system"], ["?", "These shortcuts"]]],
];

/** Keys of one shortcut; a slash between two stands for "or". */
function drawKeys(keys) {
  const list = keys.split(" ");
  return list.map((key, i) => (key === "/" && i > 0 ? "/" : h("kbd", null, key)));
}

function open(className, label, draw) {
  const dialog = document.createElement("dialog");
  dialog.className = className;
  dialog.setAttribute("aria-label", label);
  render(dialog, draw((value) => dialog.close(value)));
  document.body.append(dialog);
  return new Promise((resolve) => {
    dialog.addEventListener("click", (event) => event.target === dialog && dialog.close(""));
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue);
    });
    dialog.showModal();
  });
}

/** Asks; true if the answer is yes. */
export async function confirmed(title, text, yes, { dangerous = false } = {}) {
  const answer = await open("dialog", title, (close) => [
    h("h2", null, title),
    h("p", null, text),
    h("div", { class: "dialog-actions" },
      h("button", { on: { click: () => close("") } }, "Cancel"),
      h("button", { class: dangerous ? "danger" : "primary", autofocus: true, on: { click: () => close("yes") } }, yes)),
  ]);
  return answer === "yes";
}

/** Shows all shortcuts. */
export function showShortcuts() {
  if (document.querySelector("dialog.shortcuts")) return;
  open("dialog shortcuts", "Keyboard shortcuts", (close) => [
    h("header", null, h("h2", null, "Keyboard shortcuts"), h("button", { class: "quiet", autofocus: true, on: { click: () => close("") } }, "Close")),
    h("div", { class: "shortcut-groups" }, SHORTCUTS.map(([group, list]) => h("section", null, h("h3", null, group),
      h("dl", null, list.map(([keys, what]) => h("div", null, h("dt", null, drawKeys(keys)), h("dd", null, what))))))),
  ]);
}

/** Says what happened, for a few seconds; failures stay until they are closed. */
export function toast(text, { failed = false } = {}) {
  let stack = document.querySelector(".toasts");
  if (!stack) {
    stack = document.createElement("div");
    stack.className = "toasts";
    document.body.append(stack);
  }
  const item = document.createElement("div");
  item.className = failed ? "toast failed" : "toast";
  render(item, h("span", null, text), h("button", { class: "quiet", "aria-label": "Close message", on: { click: () => item.remove() } }, "×"));
  stack.append(item);
  announce(text);
  if (!failed) setTimeout(() => item.remove(), 4000);
}
