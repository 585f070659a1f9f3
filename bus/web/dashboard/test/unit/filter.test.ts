// This file checks topic filters.

import { expect, test } from "vitest";
import { complete, problem } from "../../src/model/filter";

test.each([
  ["", ""], ["#", ""], ["a/+/#", ""], ["a/#/b", "last level"], ["a#", "whole levels"], ["a/b+", "whole level"], ["a\0", "null"], ["ü".repeat(32768), "65,535"], ["$share/g/a", "shared"], ["$replay/10m/a", "history"],
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
