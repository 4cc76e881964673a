// What the page remembers of the last minutes: values over time, and rates of counters that only grow.

const KEPT = 180;

/** Values over time, the newest last. */
export class Series {
  points = [];

  push(at, value) {
    if (value === null || value === undefined || at <= (this.points.at(-1)?.at ?? -Infinity)) return;
    this.points.push({ at, value });
    if (this.points.length > KEPT) this.points.shift();
  }

  last() {
    return this.points.at(-1)?.value ?? null;
  }

  values() {
    return this.points.map((point) => point.value);
  }
}

/** A counter of a server: its growth per second. A counter that falls belongs to a new life of what it counts, and begins anew. */
export class Counter {
  totals = new Series();

  push(at, total) {
    if (total === null || total === undefined) return;
    if (total < (this.totals.last() ?? 0)) this.totals = new Series();
    this.totals.push(at, total);
  }

  /** Growth per second over the last `window` ms; null until there are two polls. */
  rate(window = 5000) {
    const points = this.totals.points;
    const newest = points.at(-1);
    if (points.length < 2) return null;
    const oldest = points.find((point) => point.at >= newest.at - window - 200) ?? points[0];
    const from = oldest === newest ? points.at(-2) : oldest;
    return ((newest.value - from.value) * 1000) / (newest.at - from.at);
  }

  /** Growth per second between each two polls. */
  rates() {
    const points = this.totals.points;
    return points.slice(1).map((point, i) => ((point.value - points[i].value) * 1000) / (point.at - points[i].at));
  }
}

/** Named counters and series, made when first asked for. */
export class Memory {
  counters = new Map();
  series = new Map();

  counter(name) {
    return entry(this.counters, name, () => new Counter());
  }

  value(name) {
    return entry(this.series, name, () => new Series());
  }

  clear() {
    this.counters.clear();
    this.series.clear();
  }
}

function entry(map, name, make) {
  if (!map.has(name)) map.set(name, make());
  return map.get(name);
}
