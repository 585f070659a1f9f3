// This file finds the number in a payload: the payload itself, or a numeric member of a JSON object,
// the first unless another one was chosen.

import { parseJSON } from "../../../sdk/src/json";
import { value } from "./format";

const plain = /^\s*[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?\s*$/;

// numberIn is NaN when there is none. member is a path as in "sensor.celsius", "" for the first.
export function numberIn(text: string, member: string): number {
  return Number(find(text, member));
}

// numberText formats the number: a whole one as it was sent, a fraction rounded. Empty if there is none.
export function numberText(text: string, member: string): string {
  const n = find(text, member);
  if (typeof n === "bigint") return String(n);
  return Number.isNaN(n) ? "" : value(n);
}

function find(text: string, member: string): number | bigint {
  const first = text.charCodeAt(0);
  if (first === 123 || first === 91) { // { [
    let v: unknown;
    try {
      v = parseJSON(text);
    } catch {
      return NaN;
    }
    return member ? at(v, member) : firstOf(v);
  }
  if (member || text.length > 40) return NaN;
  if (!plain.test(text)) return NaN;
  const n = Number(text);
  return /^\s*[-+]?\d+\s*$/.test(text) && !Number.isSafeInteger(n) ? BigInt(text.trim().replace("+", "")) : n;
}

const isNumber = (v: unknown) => typeof v === "number" || typeof v === "bigint";

function at(v: unknown, path: string): number | bigint {
  for (const key of path.split(".")) {
    if (typeof v !== "object" || v === null) return NaN;
    v = (v as Record<string, unknown>)[key];
  }
  return isNumber(v) ? (v as number | bigint) : NaN;
}

function firstOf(v: unknown): number | bigint {
  if (typeof v !== "object" || v === null) return NaN;
  const values = Object.values(v);
  for (const x of values) if (isNumber(x)) return x as number | bigint;
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
    v = parseJSON(text);
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
        if (isNumber(y)) out.push(p);
        else if (typeof y === "object") deeper.push([p, y]);
        if (out.length >= limit) return out;
      }
    }
    level = deeper;
  }
  return out;
}
