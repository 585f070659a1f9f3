// This file checks the tree of topics.

import { expect, test } from "vitest";
import { matcher } from "../../../sdk/src/topic";
import { maxTopics, Tree, type Value } from "../../src/model/tree";

let seq = 0;
const v = (payload: string, more: Partial<Value> = {}): Value => ({ payload: new TextEncoder().encode(payload), seq: ++seq, time: seq * 1000, source: "x", retain: false, ...more });
const names = (t: Tree) => t.rows().map((n) => `${"  ".repeat(n.depth)}${n.name}${n.has ? "=" + new TextDecoder().decode(n.payload) : ""}`);

test("topics are sorted as people count, the bus's own last and closed", () => {
  const t = new Tree();
  for (const topic of ["b/10", "b/9", "$SYS/x", "a", "b/9/deep", "$bus/state"]) t.update(topic, v("1"), 0);
  expect(names(t)).toEqual(["a=1", "b", "  9=1", "    deep=1", "  10=1", "$bus", "$SYS"]);
  expect(t.topics).toBe(6);
  expect(t.get("b")!.topics).toBe(3);
  t.toggle(t.get("b")!, false);
  expect(names(t)).toEqual(["a=1", "b", "$bus", "$SYS"]);
  t.reveal("b/9/deep");
  expect(names(t).length).toBe(7);
});

test("a value that did not change does not flash", () => {
  const t = new Tree();
  const n = t.update("a", v("1"), 5)!;
  expect(n.changed).toBe(0);
  t.update("a", v("1"), 6);
  expect([n.changed, n.events]).toEqual([0, 2]);
  t.update("a", v("2"), 7);
  expect(n.changed).toBe(7);
});

test("retained: set, told again, cleared", () => {
  const t = new Tree();
  const first = v("on", { retain: true });
  const n = t.update("lamp", first, 0)!;
  expect(n.retained).toBe(true);
  t.update("lamp", v("off"), 1);
  expect(n.retained).toBe(true); // an event that is not retained does not touch the one that is
  t.update("lamp", first, 2); // after a reconnection
  expect(new TextDecoder().decode(n.payload)).toBe("off");
  t.update("lamp", v("", { retain: true }), 3);
  expect([n.retained, n.size]).toEqual([false, 0]);
  expect(t.update("never", v("", { retain: true }), 4)).toBe(null);
});

test("what is retained no more loses its badge after the bus named all", () => {
  const t = new Tree();
  const a = v("1", { retain: true });
  t.update("a", a, 0);
  t.update("b", v("1", { retain: true }), 0);
  t.round++;
  t.update("a", a, 1);
  t.sweep();
  expect([t.get("a")!.retained, t.get("b")!.retained]).toEqual([true, false]);
});

test("the bus's own topics have no sequence, and still move", () => {
  const t = new Tree();
  t.update("$SYS/uptime", v("1", { seq: 0, time: 1, retain: true }), 0);
  t.update("$SYS/uptime", v("2", { seq: 0, time: 2, retain: true }), 0);
  expect(new TextDecoder().decode(t.get("$SYS/uptime")!.payload)).toBe("2");
});

test("numbers are kept, from plain payloads and from JSON, up to 120", () => {
  const t = new Tree();
  for (let i = 0; i < 300; i++) {
    t.update("n", v(String(i)), 0);
    t.update("j", v(`{"on":true,"celsius":${i},"deep":{"x":${-i}}}`), 0);
    t.update("s", v(i % 2 ? "open" : "closed"), 0);
  }
  const ring = t.get("n")!.ring!;
  expect([ring.length, ring.get(0), ring.get(119)]).toEqual([120, 180, 299]);
  expect(t.get("j")!.ring!.get(119)).toBe(299);
  expect(t.get("s")!.ring).toBe(null);
  t.choose(t.get("j")!, "deep.x");
  t.update("j", v(`{"celsius":1,"deep":{"x":7}}`), 0);
  expect([0, 1].map((i) => t.get("j")!.ring!.get(i))).toEqual([-299, 7]);
});

test("another filter prunes", () => {
  const t = new Tree();
  for (const topic of ["home/a/temp", "home/b/temp", "home/a/door", "x", "$SYS/y"]) t.update(topic, v("1"), 0);
  t.prune(matcher("home/+/temp"));
  expect(names(t)).toEqual(["home", "  a", "    temp=1", "  b", "    temp=1"]);
  expect([t.topics, t.get("x"), t.get("home")!.topics]).toEqual([2, undefined, 2]);
});

test("a large payload is cut, an endless number of topics refused", () => {
  const t = new Tree();
  const n = t.update("big", v("x".repeat(100_000)), 0)!;
  expect([n.size, n.payload.length]).toEqual([100_000, 4096]);
  for (let i = 0; i < maxTopics + 10; i++) t.update(`t/${i}`, v("1"), 0);
  expect([t.topics, t.refused]).toEqual([maxTopics, 11]);
});

test("10,000 topics and 100,000 events take less than a second", () => {
  const t = new Tree();
  const from = performance.now();
  for (let i = 0; i < 100_000; i++) t.update(`house/${i % 100}/room/${i % 10_000}`, v(`{"value": ${i}}`), i);
  t.rows();
  expect(performance.now() - from).toBeLessThan(1500);
});
