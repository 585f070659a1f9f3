// This file checks that an address brings back what was seen.

import { beforeAll, expect, test, vi } from "vitest";

let r: typeof import("../../src/state/route");
beforeAll(async () => {
  vi.stubGlobal("location", { hash: "#/plugins?plugin=cpu" });
  vi.stubGlobal("addEventListener", () => {});
  vi.stubGlobal("history", { pushState: (_: unknown, __: string, h: string) => (location.hash = h), replaceState: (_: unknown, __: string, h: string) => (location.hash = h) });
  r = await import("../../src/state/route");
});

test.each([
  "#/live", "#/live?filter=home/%2B/temp", "#/live?filter=%23&topic=home/kitchen/temp&range=1h&member=sensor.celsius", "#/live?topic=$SYS/broker/uptime", "#/plugins?plugin=cpu&trace=1", "#/sessions", "#/bus",
])("%s", (hash) => {
  expect(r.write(r.parse(hash))).toBe(hash);
});

test("nonsense is the beginning", () => {
  expect(r.parse("#/nothing?x=1").view).toBe("live");
  expect(r.parse("").view).toBe("live");
});

test("each view keeps its part while another one is shown", () => {
  expect(r.route.get()).toMatchObject({ view: "plugins", plugin: "cpu" });
  r.go({ view: "live", filter: "a/#", topic: "a/b" });
  expect(location.hash).toBe("#/live?filter=a/%23&topic=a/b");
  expect(r.link({ view: "plugins" })).toBe("#/plugins?plugin=cpu");
  r.go({ view: "bus" });
  expect(location.hash).toBe("#/bus");
  r.go({ view: "live" });
  expect(location.hash).toBe("#/live?filter=a/%23&topic=a/b");
});
