// This file checks topic filters.

import { expect, test } from "vitest";
import { complete, matcher, problem } from "../../src/model/filter";

test.each([
  ["#", "home/a", true], ["#", "$SYS/a", false], ["home/#", "home", true], ["home/#", "home/a/b", true], ["home/#", "homes", false],
  ["home/+", "home/a", true], ["home/+", "home/", true], ["home/+", "home", false], ["home/+", "home/a/b", false], ["+", "a", true], ["+", "/a", false],
  ["+/+", "/a", true], ["/+", "/a", true], ["+/b", "$x/b", false], ["$SYS/#", "$SYS/a", true], ["+/#", "$SYS/a", false], ["+/#", "a", true],
  ["a/+/c", "a/b/c", true], ["a/+/c", "a/b/d", false], ["a/+/c", "a//c", true], ["a/b", "a/b", true], ["a/b", "a/bc", false], ["a/+/#", "a/b", true],
  ["a/+/#", "a", false], ["home/kit", "home/kitchen", false], ["home/kit/+", "home/kitchen/a", false],
])("%s on %s: %s", (filter, topic, want) => {
  expect(matcher(filter)(topic)).toBe(want);
});

test.each([
  ["", ""], ["#", ""], ["a/+/#", ""], ["a/#/b", "last level"], ["a#", "whole levels"], ["a/b+", "whole level"], ["$share/g/a", "shared"], ["$replay/10m/a", "history"],
])("%s is wrong because %s", (filter, want) => {
  if (want) expect(problem(filter)).toContain(want);
  else expect(problem(filter)).toBe("");
});

test("completion goes on level by level", () => {
  const tree: Record<string, string[]> = { "": ["home", "garden", "$bus"], home: ["kitchen", "hall", "Kitty"], "+": ["kitchen", "soil"] };
  const below = (l: string[]) => tree[l.join("/")] ?? [];
  expect(complete("ho", below)).toEqual(["home"]);
  expect(complete("home/k", below)).toEqual(["home/kitchen", "home/Kitty"]);
  expect(complete("home/", below)).toEqual(["home/hall", "home/kitchen", "home/Kitty", "home/+", "home/#"]);
  expect(complete("+/s", below)).toEqual(["+/soil"]);
  expect(complete("home/#", below)).toEqual([]);
  expect(complete("a/#/", below)).toEqual([]);
});
