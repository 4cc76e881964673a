// Numbers, times and sizes as people read them. Everything takes null and then gives an en dash.

const NONE = "–";
const grouped = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

/** A count in full: 1,234,567. */
export function count(value) {
  return value === null || value === undefined ? NONE : grouped.format(value);
}

/** A number in three or four characters: 18.4k. */
export function short(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return NONE;
  for (const [size, unit] of [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
    if (Math.abs(value) >= size * 0.9995) return `${digits(value / size)}${unit}`;
  }
  return Math.abs(value) > 0 && Math.abs(value) < 10 ? trimmed(value, 1) : `${Math.round(value)}`;
}

/** What stands beside the ticks of an axis: short, but no two alike. */
export function tickLabels(ticks) {
  const labels = ticks.map(short);
  return new Set(labels).size === labels.length ? labels : ticks.map((tick) => tick.toLocaleString("en", { maximumFractionDigits: 9 }));
}

/** Rows per second. */
export function rate(value) {
  return value === null || value === undefined ? NONE : `${short(value)}/s`;
}

/** A size: 12.3 MB. */
export function bytes(value) {
  if (value === null || value === undefined) return NONE;
  for (const [size, unit] of [[1e12, "TB"], [1e9, "GB"], [1e6, "MB"], [1e3, "kB"]]) {
    if (value >= size * 0.9995) return `${digits(value / size)} ${unit}`;
  }
  return `${Math.round(value)} B`;
}

/** A length of time: 340 ms, 2.1 s, 3 m 20 s, 2 h 5 m, 3 d 4 h. */
export function duration(ms) {
  if (ms === null || ms === undefined) return NONE;
  if (ms < 0) return `-${duration(-ms)}`;
  if (ms > 0 && ms < 10) return `${trimmed(ms, 1)} ms`;
  if (ms < 1000) return `${Math.round(ms)} ms`;
  const seconds = ms / 1000;
  if (seconds < 60) return `${digits(seconds)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} m ${Math.floor(seconds % 60)} s`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return `${hours} h ${minutes % 60} m`;
  return `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

/** A share of one: 34 %. */
export function percent(share) {
  return share === null || share === undefined ? NONE : `${Math.round(share * 100)} %`;
}

/** The time of day of a moment, with the date if it is not today. */
export function clock(ms) {
  if (ms === null || ms === undefined) return NONE;
  const date = new Date(ms);
  const time = `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
  if (date.toDateString() === new Date().toDateString()) return time;
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())} ${time}`;
}

/** A moment in full, in UTC. */
export function instant(ms) {
  return ms === null || ms === undefined ? NONE : new Date(ms).toISOString().replace("T", " ").replace("Z", " UTC");
}

/** "1 row", "2 rows". */
export function plural(number, noun) {
  return `${count(number)} ${noun}${number === 1 ? "" : "s"}`;
}

function digits(value) {
  if (value >= 99.95) return `${Math.round(value)}`;
  return trimmed(value, value >= 9.995 ? 1 : 2);
}

function trimmed(value, places) {
  return value.toFixed(places).replace(/\.?0+$/, "");
}

function two(number) {
  return String(number).padStart(2, "0");
}
