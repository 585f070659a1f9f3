// This file checks the numbers behind a plot.

import { expect, test } from "vitest";
import { maxPoints, Points } from "../../src/model/points";

test("too many are thinned, the newer half stays whole, and order holds", () => {
  const p = new Points();
  for (let i = 0; i < 500_000; i++) p.push(i, i);
  expect(p.x.length).toBeLessThanOrEqual(maxPoints);
  expect(p.thinned).toBe(true);
  expect(p.x[p.x.length - 1]).toBe(499_999);
  for (let i = 1; i < p.x.length; i++) expect(p.x[i]! > p.x[i - 1]!).toBe(true);
  const tail = p.x.slice(-10_000);
  expect(tail[9_999]! - tail[0]!).toBe(9_999);
});

test("what is too old goes, now and then", () => {
  const p = new Points();
  for (let i = 0; i < 1000; i++) p.push(i, -i);
  p.drop(10);
  expect(p.x[0]).toBe(0); // not worth a copy
  p.drop(600);
  expect([p.x[0], p.y[0], p.x.length]).toEqual([600, -600, 400]);
});
