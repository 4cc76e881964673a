// Starts the page: which view is shown, the frame around it, and the keys that work everywhere.

import { h, render } from "./dom.js";
import { clock, duration } from "./format.js";
import { showShortcuts } from "./dialogs.js";
import { Live } from "./live.js";
import { hrefTo } from "./parts.js";
import { JobView, JobsView } from "./jobs.js";
import { LineageView } from "./lineage.js";
import { OverviewView } from "./overview.js";
import { SqlView } from "./sql.js";
import { TableView, TablesView } from "./tables.js";

const PLACES = [
  { key: "o", name: "Overview", parts: [""], icon: "M2 9.5 8 3l6 6.5M4 8v5.5h8V8" },
  { key: "j", name: "Jobs", parts: ["jobs"], icon: "M2 4h3l3 8h3l3-8M2 12h2M12 12h2" },
  { key: "t", name: "Tables", parts: ["tables"], icon: "M2 3h12v10H2zM2 6.5h12M7 6.5V13" },
  { key: "l", name: "Lineage", parts: ["lineage"], icon: "M2 6h4v4H2zM10 2h4v4h-4zM10 10h4v4h-4zM6 8h2M8 4h2M8 12h2M8 4v8" },
  { key: "s", name: "SQL", parts: ["sql"], icon: "M3 4l4 4-4 4M8 12.5h5" },
];

/** A view has `title`, `place`, `sources()`, `draw()` and, if it wants, `close()` and `keys`. */
function viewFor(app, parts) {
  const [place, name] = parts;
  if (!place) return new OverviewView(app);
  if (place === "jobs") return name === undefined ? new JobsView(app) : new JobView(app, name);
  if (place === "tables") return name === undefined ? new TablesView(app) : new TableView(app, name);
  if (place === "lineage") return new LineageView(app);
  if (place === "sql") return new SqlView(app, name);
  return { title: "Not found", place: "", sources: () => [], draw: () => h("p", { class: "empty" }, "There is no such page. ", h("a", { href: "#/" }, "Overview")) };
}

class App {
  live = new Live(() => this.redraw());
  root = document.getElementById("app");
  view = null;
  #isDue = false;
  /** When `g` was pressed, if it was the last key: what follows at once is where to go. */
  #chord = -Infinity;

  start() {
    addEventListener("hashchange", () => this.#route(true));
    addEventListener("keydown", (event) => this.#key(event));
    addEventListener("resize", () => this.redraw());
    // A jump within the page would be taken for a route.
    document.querySelector(".skip").onclick = (event) => {
      event.preventDefault();
      document.getElementById("main").focus();
    };
    // The countdown of a lost connection goes on between two tries.
    setInterval(() => this.live.connection !== "live" && this.redraw(), 500);
    this.#route(false);
  }

  /** Draws with the next frame. */
  redraw() {
    if (this.#isDue) return;
    this.#isDue = true;
    requestAnimationFrame(() => {
      this.#isDue = false;
      this.#draw();
    });
  }

  /** The width that a view has. */
  width() {
    const main = document.getElementById("main");
    if (!main) return 960;
    const style = getComputedStyle(main);
    return main.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
  }

  #route(isMove) {
    this.view?.close?.();
    const parts = location.hash.replace(/^#\/?/, "").split("/").map(decoded);
    this.view = viewFor(this, parts);
    this.live.follow(this.view.sources());
    this.#draw();
    if (!isMove) return;
    scrollTo(0, 0);
    document.querySelector("main h1")?.focus({ preventScroll: true });
  }

  #draw() {
    const { live, view } = this;
    const failed = live.overview?.jobs.failed ?? 0;
    document.title = `${failed && live.connection === "live" ? `(${failed} failed) ` : ""}${view.title} · Frazil`;
    const isStale = live.connection === "lost" || live.connection === "starting";
    const isBusy = live.connection === "connecting" ? "true" : undefined;
    render(this.root, this.#side(failed), h("main", { key: "main", id: "main", tabindex: "-1", class: isStale ? "stale" : undefined, "aria-busy": isBusy },
      this.#banner(),
      h("div", { key: `${view.place}/${view.title}`, class: "view", inert: isStale && view.place !== "sql" }, view.draw())));
  }

  #side(failed) {
    const { live } = this;
    return h("header", { key: "side", class: "side" },
      h("a", { class: "brand", href: "#/", "aria-label": "Frazil, overview" }, h("img", { src: "/assets/icon.svg", alt: "", width: 22, height: 22 }), "Frazil"),
      h("nav", { "aria-label": "Pages" }, PLACES.map(({ key, name, parts, icon }) => {
        const isHere = this.view.place === parts[0];
        return h("a", { key, href: hrefTo(...parts), "aria-current": isHere ? "page" : undefined, "aria-keyshortcuts": `g ${key}` },
          h("svg", { viewBox: "0 0 16 16", "aria-hidden": "true" }, h("path", { d: icon })), h("span", null, name),
          key === "j" && failed ? h("span", { class: "count failed", title: `${failed} failed` }, failed) : null);
      })),
      h("div", { class: "side-foot" },
        this.#connection(),
        h("div", { class: "side-tools" },
          this.#themeButton(),
          h("button", { class: "quiet", title: "Keyboard shortcuts (?)", "aria-label": "Keyboard shortcuts", on: { click: showShortcuts } }, "?"))));
  }

  #themeButton() {
    const icon = h("svg", { class: "theme-icon", viewBox: "0 0 16 16", "aria-hidden": "true" }, h("circle", { cx: 8, cy: 8, r: 5.5 }), h("path", { d: "M8 2.5a5.5 5.5 0 0 1 0 11z" }));
    const title = "Colours: light, dark, as the system (Shift T)";
    return h("button", { class: "quiet", title, "aria-label": `Colours: ${themeNow()}`, on: { click: () => this.#turnTheme() } }, icon, { system: "Auto", light: "Light", dark: "Dark" }[themeNow()]);
  }

  #connection() {
    const { connection, overview } = this.live;
    const text = { live: "Live", connecting: "Connecting", starting: "Starting", lost: "Connection lost" }[connection];
    return h("div", { class: `connection ${connection}` }, h("span", { class: "dot", "aria-hidden": "true" }), text,
      overview ? h("span", { class: "side-version" }, overview.version) : null);
  }

  #banner() {
    const { connection, answeredAt, retryAt, trouble } = this.live;
    if (connection !== "lost" && connection !== "starting") return null;
    const wait = Math.max(Math.ceil((retryAt - Date.now()) / 1000), 0);
    const what = connection === "starting" ? "The server is starting." : trouble?.lost ? "Connection lost." : `The server fails: ${trouble?.message}.`;
    return h("div", { key: "banner", class: `banner ${connection}`, role: "alert" },
      h("b", null, what),
      // Not read aloud: these change all the time.
      h("span", { "aria-hidden": "true" }, ` Retrying${wait ? ` in ${wait} s` : " now"}. `),
      answeredAt ? h("span", { "aria-hidden": "true" }, `What is shown is from ${clock(answeredAt)}, ${duration(Math.floor((Date.now() - answeredAt) / 1000) * 1000)} ago.`) : null);
  }

  #turnTheme() {
    const next = { system: "light", light: "dark", dark: "system" }[themeNow()];
    if (next === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = next;
    try {
      localStorage.setItem("frazil.theme", next);
    } catch { /* Without storage it holds until the page is left. */ }
    this.redraw();
  }

  #key(event) {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    const isTyping = event.target.matches?.("input:not([type=checkbox]), textarea, select");
    if (event.key === "Escape" && isTyping) return void event.target.blur();
    if (isTyping) return;
    const place = performance.now() - this.#chord < 1200 && PLACES.find(({ key }) => key === event.key);
    this.#chord = event.key === "g" ? performance.now() : -Infinity;
    if (place) location.hash = hrefTo(...place.parts);
    else if (event.key === "?") showShortcuts();
    else if (event.key === "T") this.#turnTheme();
    else if (event.key === "/") document.querySelector("main .filter, main textarea")?.focus();
    else if (event.key === "j" || event.key === "k") stepRow(event.key === "j" ? 1 : -1);
    else return void this.view.onKey?.(event);
    event.preventDefault();
  }
}

function stepRow(step) {
  const links = [...document.querySelectorAll("main .row-link")];
  if (!links.length) return;
  const at = links.indexOf(document.activeElement);
  links[at < 0 ? (step > 0 ? 0 : links.length - 1) : Math.min(Math.max(at + step, 0), links.length - 1)].focus();
}

function themeNow() {
  return document.documentElement.dataset.theme ?? "system";
}

/** A part of the address; what is not valid is taken as it stands. */
function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

new App().start();
