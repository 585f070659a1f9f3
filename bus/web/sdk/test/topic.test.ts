// This file tests names and filters, case by case as the specification has them.
import assert from "node:assert/strict";
import { test } from "node:test";
import { checkFilter, checkTopic, inner, matcher } from "../src/topic";

test("which filters match which topics", () => {
  const cases: [filter: string, topic: string, matches: boolean][] = [
    ["a/b", "a/b", true],
    ["a/b", "a/b/c", false],
    ["a/b", "a", false],
    ["#", "a/b", true],
    ["#", "/", true],
    ["a/#", "a", true], // the parent too [MQTT-4.7.1-2]
    ["a/#", "a/b/c", true],
    ["a/#", "ab", false],
    ["+", "a", true],
    ["+", "/a", false],
    ["+/+", "/a", true],
    ["/+", "/a", true],
    ["a/+", "a", false],
    ["a/+", "a/", true],
    ["a/+/c", "a/b/c", true],
    ["a/+/#", "a", false],
    ["a/+/#", "a/b", true],
    ["#", "$SYS/a", false], // [MQTT-4.7.2-1]
    ["+/a", "$SYS/a", false],
    ["$SYS/#", "$SYS/a", true],
    ["$SYS/+", "$SYS/a", true],
    ["a/#", "a/$b", true],
    ["A", "a", false],
    ["$share/g/a/+", "a/b", true],
    ["$share/g/#", "$SYS/a", false],
    ["$replay/10m/a/#", "a/b", true],
    ["a.c", "abc", false],
    ["+/#", "$SYS/a", false],
    ["+/#", "a", true],
    ["a/+/c", "a/b/d", false],
    ["a/+/c", "a//c", true],
    ["a/b", "a/bc", false],
    ["a/kit", "a/kitchen", false],
    ["a/kit/+", "a/kitchen/b", false],
    ["a/kit/#", "a/kitchen/b", false],
    ["a/#", "a/", true],
  ];
  for (const [filter, topic, want] of cases) assert.equal(matcher(filter)(topic), want, `${filter} and ${topic}`);
});

test("what a filter is about", () => {
  assert.equal(inner("$share/g/a/b"), "a/b");
  assert.equal(inner("$replay/10m/a/b"), "a/b");
  assert.equal(inner("$bus/lost"), "$bus/lost");
  assert.equal(inner("a"), "a");
});

test("which filters and names are wrong, and why", () => {
  for (const f of ["a", "#", "+", "a/#", "+/+/#", "/", "$share/g/+", "$replay/1h/#"]) checkFilter(f);
  for (const [f, why] of [["", /empty/], ["a/#/b", /#/], ["ü".repeat(32768), /65535/], ["a#", /#/], ["#/a", /#/], ["a+", /\+/], ["a/b+/c", /\+/], ["$share/g/", /empty/], ["a\0", /U\+0000/], ["a".repeat(65536), /65535/]] as const) {
    assert.throws(() => checkFilter(f), why, f);
  }
  assert.throws(() => checkFilter(undefined as never), /empty/);
  for (const t of ["a", "/", "a b", "$SYS/x"]) checkTopic(t);
  for (const [t, why] of [["", /empty/], ["a/+", /wildcard/], ["#", /wildcard/], ["\0", /U\+0000/]] as const) assert.throws(() => checkTopic(t), why, t);
});
