// This file finds the number in a payload: the payload itself, or a numeric member of a JSON object,
// the first unless another one was chosen.

const plain = /^\s*[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?\s*$/;

// numberIn is NaN when there is none. member is a path as in "sensor.celsius", "" for the first.
export function numberIn(text: string, member: string): number {
  const first = text.charCodeAt(0);
  if (first === 123 || first === 91) { // { [
    let v: unknown;
    try {
      v = JSON.parse(text);
    } catch {
      return NaN;
    }
    return member ? at(v, member) : firstOf(v);
  }
  if (member || text.length > 40) return NaN;
  return plain.test(text) ? Number(text) : NaN;
}

function at(v: unknown, path: string): number {
  for (const key of path.split(".")) {
    if (typeof v !== "object" || v === null) return NaN;
    v = (v as Record<string, unknown>)[key];
  }
  return typeof v === "number" ? v : NaN;
}

function firstOf(v: unknown): number {
  if (typeof v !== "object" || v === null) return NaN;
  const values = Object.values(v);
  for (const x of values) if (typeof x === "number") return x;
  for (const x of values) {
    const n = firstOf(x);
    if (!Number.isNaN(n)) return n;
  }
  return NaN;
}

// members lists the paths of all numbers in a JSON payload, those near the top first.
export function members(text: string, limit = 50): string[] {
  let v: unknown;
  try {
    v = JSON.parse(text);
  } catch {
    return [];
  }
  const out: string[] = [];
  let level: [string, unknown][] = [["", v]];
  for (let depth = 0; depth < 6 && level.length > 0; depth++) {
    const deeper: [string, unknown][] = [];
    for (const [path, x] of level) {
      if (typeof x !== "object" || x === null) continue;
      for (const [k, y] of Object.entries(x)) {
        if (k.includes(".")) continue;
        const p = path ? `${path}.${k}` : k;
        if (typeof y === "number") out.push(p);
        else if (typeof y === "object") deeper.push([p, y]);
        if (out.length >= limit) return out;
      }
    }
    level = deeper;
  }
  return out;
}
