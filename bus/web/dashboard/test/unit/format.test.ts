// This file checks how things are written: payloads, numbers, times, addresses.

import { expect, test } from "vitest";
import * as f from "../../src/model/format";
import { members, numberIn, numberText } from "../../src/model/numeric";
import { hex, imageType, preview, show, textOf } from "../../src/model/payload";
import { Ring, spark } from "../../src/model/ring";

const b = (s: string) => new TextEncoder().encode(s);

test.each([
  ["21.5", 21.5], [" -3 ", -3], ["1e3", 1000], ["+.5", 0.5], ["", NaN], ["on", NaN], ["0x10", NaN], ["12 °C", NaN], ["true", NaN], ["Infinity", NaN], ['"5"', NaN],
  ['{"a":"x","b":2}', 2], ['{"a":{"c":3}}', 3], ['{"a":{"c":3},"b":4}', 4], ["[1,2]", 1], ["{", NaN], ["2026-01-31", NaN],
])("the number in %s is %s", (text, want) => {
  expect(numberIn(text, "")).toBe(want);
});

test.each([
  ["33816645", "", "33816645"], ["2882429806056571124", "", "2882429806056571124"], ["+9007199254740993", "", "9007199254740993"], ["21.50", "", "21.5"], ["0.30000000000000004", "", "0.3"],
  ['{"id":18446744073709551615}', "", "18446744073709551615"], ['{"a":1,"id":9007199254740993}', "id", "9007199254740993"], ['{"a":"x"}', "", ""], ["on", "", ""],
])("the number in %s is read as %s", (text, member, want) => {
  expect(numberText(text, member)).toBe(want);
});

test("members of a JSON payload, and one of them", () => {
  const text = '{"name":"x","celsius":21.5,"sensor":{"battery":80,"list":[1,2]},"humidity":40}';
  expect(members(text)).toEqual(["celsius", "humidity", "sensor.battery", "sensor.list.0", "sensor.list.1"]);
  expect(numberIn(text, "sensor.battery")).toBe(80);
  expect(numberIn(text, "sensor.gone")).toBe(NaN);
  expect(members("no")).toEqual([]);
});

test("payloads", () => {
  expect(show(b(""))).toEqual({ kind: "empty" });
  expect(show(b('{"a":1}'))).toEqual({ kind: "json", text: '{\n  "a": 1\n}', cut: 0 });
  const odd = '{ "id":2882429806056571124,"b":[1e400, {} ,[ ]],"a":0.30000000000000004, "s":"{\\"x\\": [1,2]}" ,"a":null}';
  expect(show(b(odd))).toMatchObject({ kind: "json", text: '{\n  "id": 2882429806056571124,\n  "b": [\n    1e400,\n    {},\n    []\n  ],\n  "a": 0.30000000000000004,\n  "s": "{\\"x\\": [1,2]}",\n  "a": null\n}' });
  expect(show(b("{not json"))).toMatchObject({ kind: "text" });
  expect(show(new Uint8Array([0, 1, 255]))).toMatchObject({ kind: "binary", text: expect.stringContaining("00 01 ff") });
  expect(show(new Uint8Array([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a, 0]))).toEqual({ kind: "image", type: "image/png" });
  expect(show(b("ä".repeat(40_000)))).toMatchObject({ kind: "text", cut: 80_000 - 65_536 });
  expect(imageType(b("<svg onload=alert(1)>"))).toBe("");
  expect(textOf(new Uint8Array([0xc3]))).toBe(null);
});

test("previews are one line", () => {
  expect(preview(b("a\n b\t c"), 7)).toBe("a b c");
  expect(preview(b("ä".repeat(100)), 200, 11)).toBe("äääää …");
  expect(preview(b(""), 0)).toBe("(empty)");
  expect(preview(new Uint8Array([255, 254, 0]), 3)).toBe("ff fe 00 (3 bytes)");
});

test("hex", () => {
  expect(hex(b("postbus"))).toBe("000000  70 6f 73 74 62 75 73                              postbus");
  expect(hex(new Uint8Array(17)).split("\n").length).toBe(2);
});

test("numbers and times", () => {
  expect([f.rate(0), f.rate(0.24), f.rate(1204.4)]).toEqual(["0", "0.2", "1,204"]);
  expect([f.value(21.5), f.value(0.1 + 0.2), f.value(1e12), f.value(NaN)]).toEqual(["21.5", "0.3", "1000000000000", "–"]);
  expect([33816645, -9007199254740991, 33816645.25, 1234567.891, 0.0001, 2 ** 60, 1e9 + 0.5, -0].map(f.value)).toEqual(["33816645", "-9007199254740991", "33816645.25", "1234567.89", "1.000e-4", "1.153e+18", "1.000e+9", "0"]);
  expect([f.size(1023), f.size(1536), f.size(1 << 30)]).toEqual(["1023 B", "1.5 KiB", "1.0 GiB"]);
  expect([f.millis(0), f.millis(0.00005), f.millis(0.0031), f.millis(0.25), f.millis(12)]).toEqual(["–", "50 µs", "3.1 ms", "250 ms", "12.0 s"]);
  expect([f.duration(5), f.duration(65), f.duration(3700), f.duration(90_000)]).toEqual(["5 s", "1 min", "1 h 1 min", "1 d 1 h"]);
  expect([f.ago(1000, 1500), f.ago(1000, 4000)]).toEqual(["now", "3 s ago"]);
  expect(f.exact(Date.UTC(2026, 0, 31, 12, 0, 0, 7))).toMatch(/^2026-01-31 \d\d:00:00\.007$/);
  expect([f.plural(1, "event"), f.plural(1234, "event")]).toEqual(["1 event", "1,234 events"]);
});

test("a ring keeps the last and a sparkline stays within its box", () => {
  const r = new Ring();
  for (let i = 0; i < 1000; i++) r.push(Math.sin(i));
  expect([r.length, r.get(119)]).toEqual([120, Math.sin(999)]);
  const d = spark(r.length, (i) => r.get(i), 56, 16);
  for (const [, x, y] of d.matchAll(/[ML]([\d.]+) ([\d.]+)/g)) {
    expect(Number(x)).toBeLessThanOrEqual(56);
    expect(Number(y)).toBeGreaterThanOrEqual(1);
    expect(Number(y)).toBeLessThanOrEqual(15);
  }
  expect(spark(1, () => 1, 56, 16)).toBe("");
  expect(spark(2, () => 7, 56, 16)).toBe("M0.0 8.0L56.0 8.0");
});

test.each([
  ["lamp", null, "lamp"], ["@fleet/attic/lamp", { bus: "attic", source: "lamp" }, "lamp at attic"], ["@fleet/attic/a/b", { bus: "attic", source: "a/b" }, "a/b at attic"],
  ["@fleet/attic", null, "@fleet/attic"], ["@fleet//x", null, "@fleet//x"], ["", null, ""],
])("the source %s", (source, far, shown) => {
  expect(f.farOf(source)).toEqual(far);
  expect(f.shownSource(source)).toBe(shown);
});
