// The one loop that polls. Each round asks for the overview, the jobs and whatever the view on the screen needs; between rounds it waits a second,
// longer while the page is hidden, and longer and longer while nobody answers.

import { Failure, get, path } from "./api.js";
import { Memory } from "./series.js";

const VISIBLE_MS = 1000;
const HIDDEN_MS = 15000;
const RETRIES_MS = [1000, 2000, 4000, 8000];

export class Live {
  /** "connecting", "live", "starting" (it answers, but is not ready) or "lost". */
  connection = "connecting";
  /** When the server last answered, by this machine's clock. */
  answeredAt = null;
  /** When it is asked again, while the connection is lost. */
  retryAt = null;
  /** What the last round failed at. */
  trouble = null;
  overview = null;
  jobs = [];
  memory = new Memory();

  #answers = new Map();
  #sources = [];
  #failures = 0;
  #timer = null;
  #round = 0;
  #changed;

  /** `changed` is called after every round. */
  constructor(changed) {
    this.#changed = changed;
    document.addEventListener("visibilitychange", () => this.#soon(document.hidden ? HIDDEN_MS : 0));
  }

  /** What the view needs from now on: `[{url, every}]`, `every` in ms. Starts a round. */
  follow(sources) {
    this.#sources = sources;
    const wanted = new Set(sources.map((source) => source.url));
    for (const url of this.#answers.keys()) if (!wanted.has(url)) this.#answers.delete(url);
    this.#soon(0);
  }

  /** The newest answer of a source: `{value, failure, at}`; value and failure are null before the first. */
  answer(url) {
    return this.#answers.get(url) ?? { value: null, failure: null, at: 0 };
  }

  /** Asks again at once, also what is not due yet. */
  refresh() {
    for (const answer of this.#answers.values()) answer.at = 0;
    this.#soon(0);
  }

  #soon(delay) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#poll(), delay);
  }

  async #poll() {
    const round = ++this.#round;
    try {
      const [overview, jobs] = await Promise.all([get(path("overview")), get(path("jobs")), this.#pollSources(round)]);
      if (round !== this.#round) return;
      this.#learn(overview, jobs.jobs);
      this.#failures = 0;
      this.#soon(document.hidden ? HIDDEN_MS : VISIBLE_MS);
    } catch (error) {
      if (round !== this.#round) return;
      this.#fail(error);
    }
    this.#changed();
  }

  #learn(overview, jobs) {
    if (this.overview && this.overview.started_ms !== overview.started_ms) this.memory.clear();
    this.connection = "live";
    this.answeredAt = Date.now();
    this.retryAt = null;
    this.trouble = null;
    this.overview = overview;
    this.jobs = jobs;
    const at = overview.now_ms;
    this.memory.counter("rows in").push(at, overview.rows_in);
    this.memory.counter("rows out").push(at, overview.rows_out);
    this.memory.counter("cpu").push(at, overview.cpu_seconds);
    this.memory.value("memory").push(at, overview.memory_bytes);
    this.memory.value("lag").push(at, overview.lag_ms);
    this.memory.value("checkpoint age").push(at, overview.checkpoint_age_ms);
    for (const job of jobs) {
      this.memory.counter(`in of ${job.name}`).push(at, job.rows_in);
      this.memory.counter(`out of ${job.name}`).push(at, job.rows_out);
      this.memory.value(`lag of ${job.name}`).push(at, job.lag_ms);
    }
  }

  /** A source that fails alone is the view's matter; only silence is a lost connection. */
  async #pollSources(round) {
    const now = Date.now();
    const due = this.#sources.filter(({ url, every = VISIBLE_MS }) => now - this.answer(url).at >= every - 100);
    await Promise.all(due.map(async ({ url }) => {
      try {
        const value = await get(url);
        if (round === this.#round) this.#answers.set(url, { value, failure: null, at: now });
      } catch (failure) {
        if (!(failure instanceof Failure) || failure.lost) throw failure;
        if (round === this.#round) this.#answers.set(url, { value: null, failure, at: now });
      }
    }));
  }

  #fail(error) {
    this.connection = error instanceof Failure && error.status === 503 ? "starting" : "lost";
    this.trouble = error instanceof Failure ? error : new Failure({ message: `the server's answer is not understood: ${error.message}` });
    const delay = RETRIES_MS[Math.min(this.#failures, RETRIES_MS.length - 1)];
    this.#failures += 1;
    this.retryAt = Date.now() + delay;
    this.#soon(delay);
  }
}
