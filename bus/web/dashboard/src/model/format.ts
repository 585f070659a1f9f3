// This file formats numbers and times: short, of constant width, the same everywhere.

export function count(n: number): string {
  return Math.round(n).toLocaleString("en");
}

export function rate(n: number): string {
  if (n === 0) return "0";
  if (n < 10) return n.toFixed(1);
  return count(n);
}

// value formats a number of a plot: whole numbers exactly, fractions with their significant digits.
export function value(n: number): string {
  if (!Number.isFinite(n)) return "–";
  if (Number.isSafeInteger(n)) return String(n === 0 ? 0 : n);
  const a = Math.abs(n);
  if (a < 1e-3 || a >= 1e9) return n.toExponential(3);
  return String(Number(n.toPrecision(Math.max(7, Math.floor(Math.log10(a)) + 3))));
}

export function size(bytes: number): string {
  if (bytes < 1024) return `${Math.round(bytes)} B`;
  const units = ["KiB", "MiB", "GiB", "TiB"];
  let v = bytes;
  let u = -1;
  while (v >= 1024 && u < units.length - 1) {
    v /= 1024;
    u++;
  }
  return `${v < 10 ? v.toFixed(1) : Math.round(v)} ${units[u]}`;
}

// millis formats seconds in milliseconds or microseconds.
export function millis(seconds: number): string {
  const ms = seconds * 1000;
  if (ms === 0) return "–";
  if (ms < 0.1) return `${Math.round(ms * 1000)} µs`;
  if (ms < 10) return `${ms.toFixed(1)} ms`;
  if (ms < 10_000) return `${Math.round(ms)} ms`;
  return `${(ms / 1000).toFixed(1)} s`;
}

// duration is a span of seconds in its two largest units at most.
export function duration(seconds: number): string {
  const s = Math.max(0, Math.floor(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  if (s < 86_400) {
    const m = Math.floor((s % 3600) / 60);
    return m ? `${Math.floor(s / 3600)} h ${m} min` : `${Math.floor(s / 3600)} h`;
  }
  const h = Math.floor((s % 86_400) / 3600);
  return h ? `${Math.floor(s / 86_400)} d ${h} h` : `${Math.floor(s / 86_400)} d`;
}

export function ago(ms: number, now: number): string {
  const s = (now - ms) / 1000;
  if (s < 1.5) return "now";
  return `${duration(s)} ago`;
}

const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
const day = new Intl.DateTimeFormat("en-CA", { year: "numeric", month: "2-digit", day: "2-digit" });

export function clockTime(ms: number): string {
  return clock.format(ms);
}

// exact is for tooltips: date, time and milliseconds in the local time zone.
export function exact(ms: number): string {
  if (!ms) return "";
  return `${day.format(ms)} ${clock.format(ms)}.${String(Math.floor(ms % 1000)).padStart(3, "0")}`;
}

export function plural(n: number, one: string, many = one + "s"): string {
  return `${count(n)} ${n === 1 ? one : many}`;
}

// farOf is the source and the bus of an event that another bus of the fleet accepted first: @fleet/attic/lamp is lamp at attic.
export function farOf(source: string): { source: string; bus: string } | null {
  const m = /^@fleet\/([^/]+)\/(.*)$/s.exec(source);
  return m && { bus: m[1]!, source: m[2]! };
}

// shownSource is a source for people.
export function shownSource(source: string): string {
  const far = farOf(source);
  return far ? `${far.source} at ${far.bus}` : source;
}
