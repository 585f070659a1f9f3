// This file reads and writes JSON with whole numbers as they are: those that a number would round are BigInt, both ways.

const long = /\d{16}/;
const token = /"[^"\\]*(?:\\.[^"\\]*)*"|-?\d[\d.eE+-]*/g;
const whole = /^(-?[1-9]\d{15,})(?:\.0+)?$/;

/** A text that no payload contains. */
const mark = () => `\u0001${crypto.getRandomValues(new Uint32Array(4)).join("-")}:`;

export function parseJSON(text: string): unknown {
  const value = JSON.parse(text); // also what is wrong with it
  if (!long.test(text)) return value;
  const marked = mark();
  let found = false;
  const exact = text.replace(token, (t) => {
    const digits = whole.exec(t)?.[1];
    if (digits === undefined || Number.isSafeInteger(Number(digits))) return t;
    found = true;
    return JSON.stringify(marked + digits);
  });
  if (!found) return value;
  return JSON.parse(exact, (_, v: unknown) => (typeof v === "string" && v.startsWith(marked) ? BigInt(v.slice(marked.length)) : v));
}

/** Undefined for values without JSON, as JSON.stringify. */
export function formatJSON(value: unknown, indent?: number): string | undefined {
  const marked = mark();
  let found = false;
  const text = JSON.stringify(
    value,
    (_, v: unknown) => {
      if (typeof v !== "bigint") return v;
      found = true;
      return marked + v;
    },
    indent,
  ) as string | undefined;
  if (!found) return text;
  const quoted = JSON.stringify(marked).slice(0, -1);
  return text!.replace(token, (t) => (t.startsWith(quoted) ? t.slice(quoted.length, -1) : t));
}
