// This file formats payloads: text, JSON, images, and everything else in hex.

export type Shown =
  | { kind: "empty" }
  | { kind: "text"; text: string; cut: number }
  | { kind: "json"; text: string; cut: number }
  | { kind: "image"; type: string }
  | { kind: "binary"; text: string; cut: number };

const most = 64 * 1024; // bytes that are formatted; more would only be scrolled past
const mostHex = 4 * 1024;

const strict = new TextDecoder("utf-8", { fatal: true });
const lax = new TextDecoder("utf-8");

// textOf is the payload as text, or null when it is not UTF-8 or has control characters of binary data.
export function textOf(p: Uint8Array): string | null {
  try {
    const s = strict.decode(p);
    // eslint-disable-next-line no-control-regex
    return /[\0-\x08\x0e-\x1a\x1c-\x1f]/.test(s) ? null : s;
  } catch {
    return null;
  }
}

// imageType knows the formats that every browser shows. SVG is left out: it can hold scripts.
export function imageType(p: Uint8Array): string {
  const is = (at: number, ...b: number[]) => b.every((x, i) => p[at + i] === x);
  if (is(0, 0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a)) return "image/png";
  if (is(0, 0xff, 0xd8, 0xff)) return "image/jpeg";
  if (is(0, 0x47, 0x49, 0x46, 0x38)) return "image/gif";
  if (is(0, 0x52, 0x49, 0x46, 0x46) && is(8, 0x57, 0x45, 0x42, 0x50)) return "image/webp";
  if (is(4, 0x66, 0x74, 0x79, 0x70, 0x61, 0x76, 0x69, 0x66)) return "image/avif";
  if (is(0, 0x42, 0x4d) && p.length > 54) return "image/bmp";
  return "";
}

export function show(p: Uint8Array): Shown {
  if (p.length === 0) return { kind: "empty" };
  const image = imageType(p);
  if (image) return { kind: "image", type: image };
  const text = textOf(p.length > most ? p.subarray(0, whole(p, most)) : p);
  const cut = Math.max(0, p.length - most);
  if (text === null) return { kind: "binary", text: hex(p.subarray(0, mostHex)), cut: Math.max(0, p.length - mostHex) };
  if (cut === 0 && /^\s*[[{]/.test(text)) {
    try {
      JSON.parse(text);
      return { kind: "json", text: indented(text), cut };
    } catch {
      // then it is text
    }
  }
  return { kind: "text", text, cut };
}

// indented is JSON with a line for each member. Nothing else changes: numbers keep their digits, which a
// JavaScript number could not hold, and the order of members and duplicates are kept.
function indented(text: string): string {
  let out = "";
  let depth = 0;
  const line = () => "\n" + "  ".repeat(depth);
  for (const [t] of text.matchAll(/"[^"\\]*(?:\\.[^"\\]*)*"|[[{]\s*[\]}]|[[\]{},:]|[^\s[\]{},:"]+/g)) {
    if (t === "{" || t === "[") {
      depth++;
      out += t + line();
    } else if (t === "}" || t === "]") {
      depth--;
      out += line() + t;
    } else if (t === ",") out += t + line();
    else if (t === ":") out += ": ";
    else out += /^[[{]/.test(t) ? t[0]! + t.at(-1)! : t;
  }
  return out;
}

// whole is n, less the bytes of a character that would be cut in two.
export function whole(p: Uint8Array, n: number): number {
  while (n > 0 && (p[n]! & 0xc0) === 0x80) n--;
  return n;
}

// hex shows sixteen bytes a line: offset, bytes, and ASCII characters.
export function hex(p: Uint8Array): string {
  const lines: string[] = [];
  for (let at = 0; at < p.length; at += 16) {
    const row = p.subarray(at, at + 16);
    let b = "";
    let a = "";
    for (let i = 0; i < 16; i++) {
      b += i < row.length ? row[i]!.toString(16).padStart(2, "0") + " " : "   ";
      if (i === 7) b += " ";
      if (i < row.length) a += row[i]! >= 0x20 && row[i]! < 0x7f ? String.fromCharCode(row[i]!) : "·";
    }
    lines.push(`${at.toString(16).padStart(6, "0")}  ${b} ${a}`);
  }
  return lines.join("\n");
}

// preview is the payload on one short line.
export function preview(p: Uint8Array, size: number, limit = 120): string {
  if (size === 0) return "(empty)";
  const image = imageType(p);
  if (image) return `(${image.slice(6).toUpperCase()} image, ${size.toLocaleString("en")} bytes)`;
  const head = p.length > limit ? p.subarray(0, whole(p, limit)) : p;
  const text = textOf(head);
  if (text === null) {
    const few = [...head.subarray(0, 12)].map((b) => b.toString(16).padStart(2, "0")).join(" ");
    return `${few}${size > 12 ? " …" : ""} (${size.toLocaleString("en")} bytes)`;
  }
  return text.replace(/\s+/g, " ").trim() + (size > head.length ? " …" : "");
}

export function loose(p: Uint8Array): string {
  return lax.decode(p);
}
