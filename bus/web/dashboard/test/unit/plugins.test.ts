import { expect, test } from "vitest";
import { countersOf, type Plugin } from "../../src/state/plugins";

const plugin = (state: string, more: Partial<Plugin> = {}): Plugin => ({
  id: "a", file: "a.yaml", state, generation: 1, since: "2026-01-01T00:00:00Z",
  counters: { in: 9, filtered: 0, errors: 3, dropped: 0, published: 6, dead: 1 }, ...more,
});

test("an error is shown as bad while it is a part of the state, and counted for ever", () => {
  const bad = (p: Plugin) => countersOf(p).filter((c) => c.bad).map((c) => `${c.name} ${c.n}`);
  expect(bad(plugin("degraded"))).toEqual(["errors 3", "dead 1"]);
  expect(bad(plugin("running"))).toEqual([]);
  expect(countersOf(plugin("running")).find((c) => c.name === "errors")?.n).toBe(3);
});

test("what is zero is shown only for the main counters", () => {
  expect(countersOf(plugin("running", { timers: 2, keys: 40 })).map((c) => c.name)).toEqual(["in", "filtered", "errors", "published", "dead", "timers", "keys"]);
});
