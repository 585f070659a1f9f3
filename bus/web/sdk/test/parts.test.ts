// This file tests the small parts: events, counting what was missed, pauses, tokens, addresses, names of tabs.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Absence } from "../src/absence";
import { pauseBefore, renewalIn } from "../src/connection";
import { bytesOf, ofHistory, ofPublish, payloadOf } from "../src/event";
import { formatJSON, parseJSON } from "../src/json";
import { sinceText } from "../src/link";
import { claimTab } from "../src/tab";
import type { Value } from "../src/types";
import { addresses } from "../src/where";

const text = (b: Uint8Array) => new TextDecoder().decode(b);

test("values as payloads", () => {
  for (const [v, want] of [["a", "a"], [1, "1"], [false, "false"], [{ a: 1 }, '{"a":1}'], [[1], "[1]"], [null, ""], [undefined, ""]] as const) {
    assert.equal(text(bytesOf(v)), want);
  }
  assert.deepEqual(bytesOf(new Uint8Array([1]).buffer), new Uint8Array([1]));
  assert.throws(() => bytesOf((() => {}) as never), TypeError);
});

test("whole numbers stay as they are", () => {
  for (const t of [
    "9007199254740993", "-2882429806056571124", '{"id":18446744073709551615,"n":1,"list":[9007199254740993,0.5,"9007199254740993"]}',
    String.raw`{"9007199254740993":"\\\"9007199254740993","a":123456789012345678901234567890}`, "1234567890123456", '{"__proto__":9007199254740993}', "1e3", "0.1234567890123456",
  ]) {
    const v = parseJSON(t);
    if (t.includes("e3")) assert.equal(v, 1000);
    else assert.equal(formatJSON(v), t);
    assert.equal(text(bytesOf(v as Value)), formatJSON(v));
  }
  assert.equal(parseJSON("9007199254740993"), 9007199254740993n);
  assert.equal(parseJSON("9007199254740993.0"), 9007199254740993n);
  assert.equal(parseJSON("9007199254740991"), 9007199254740991);
  assert.equal(typeof parseJSON("1234567890123456"), "number");
  assert.equal(formatJSON({ a: 1n, b: "1" }, 2), '{\n  "a": 1,\n  "b": "1"\n}');
  for (const t of ["{9007199254740993: 1}", "09007199254740993", "[9007199254740993", "9007199254740993 1", ""]) assert.throws(() => parseJSON(t), SyntaxError);
  const e = ofPublish({ topic: "t", payload: '{"id":2882429806056571124}', qos: 1, retain: false, dup: false });
  assert.deepEqual(e.json, { id: 2882429806056571124n });
});

test("nothing is no order to delete", () => {
  for (const v of [undefined, null, NaN, -Infinity]) assert.throws(() => payloadOf("home/x", v, true), TypeError);
  for (const v of [NaN, Infinity]) assert.throws(() => payloadOf("home/x", v, false), TypeError);
  assert.deepEqual(payloadOf("home/x", "", true), new Uint8Array(0));
  assert.deepEqual(payloadOf("home/x", undefined, false), new Uint8Array(0));
  assert.equal(text(payloadOf("home/x", 0, true)), "0");
});

test("an event of another bus has its origin, which no publisher can make up", () => {
  const far = { seq: "1", time: "2026-01-02T03:04:05Z", source: "@fleet/attic/lamp", origin: ["made up", "attic"], "origin-time": "2026-01-02T03:04:00.5Z" };
  const publish = (userProperties: Record<string, string | string[]>) => ofPublish({ topic: "t", payload: "", qos: 1, retain: false, dup: false, properties: { userProperties } }).origin;
  assert.deepEqual(publish(far), { bus: "attic", time: new Date("2026-01-02T03:04:00.5Z") });
  assert.deepEqual(publish({ ...far, "origin-time": [] }), { bus: "attic", time: undefined });
  assert.equal(publish({ ...far, source: "lamp" }), undefined);
  const line = { seq: 1, time: "2026-01-02T03:04:05Z", topic: "t", payload: "", qos: 1, retain: false };
  assert.deepEqual(ofHistory({ ...line, source: "@fleet/attic/lamp", origin: { bus: "attic", time: "2026-01-02T03:04:00.5Z" } }).origin, { bus: "attic", time: new Date("2026-01-02T03:04:00.5Z") });
  assert.equal(ofHistory({ ...line, source: "lamp" }).origin, undefined);
});

test("a PUBLISH as an event", () => {
  const e = ofPublish({
    topic: "t", payload: bytesOf({ n: 1 }), qos: 1, retain: false, dup: true, messageId: 1,
    properties: { contentType: "application/json", userProperties: { seq: ["made up", "17"], time: "2026-01-02T03:04:05.678901234Z", source: "pi", gap: "3", mine: "x" } },
  });
  assert.deepEqual([e.seq, e.source, e.missed, e.redelivered, e.json, e.text], [17, "pi", 3, true, { n: 1 }, '{"n":1}']);
  assert.equal(e.time.toISOString(), "2026-01-02T03:04:05.678Z");
  assert.equal(e.properties.contentType, "application/json");
  assert.equal(e.properties.user.mine, "x");
  const plain = ofPublish({ topic: "t", payload: "no json", qos: 2, retain: true, dup: false });
  assert.deepEqual([plain.seq, plain.key, plain.qos, plain.json, plain.text, plain.retain], [0, "", 1, undefined, "no json", true]);
});

test("a line of the history as an event", () => {
  const line = { seq: 5, time: "2026-01-02T03:04:05Z", topic: "t", qos: 1, retain: false, source: "s" };
  assert.equal(ofHistory({ ...line, payload: "ä" }).text, "ä");
  assert.deepEqual(ofHistory({ ...line, payload_base64: "/wA=" }).payload, new Uint8Array([255, 0]));
});

test("missed: what was accepted before the return, and what is lost; not news, not what came before", () => {
  const a = new Absence();
  const event = (seq: number, missed = 0) =>
    ofPublish({ topic: "t", payload: "", qos: 1, retain: false, dup: false, properties: { userProperties: { seq: String(seq), time: "2026-01-02T03:04:05Z", gap: String(missed) } } });
  a.returned(false, 7); // a new session has missed nothing
  const first = event(1);
  a.came(first);
  a.handled(first, false);
  assert.equal(a.missed, 0);
  const early = event(2); // it came before the connection was lost and is handled after
  a.came(early);
  a.returned(true, 5);
  a.handled(early, true);
  for (const e of [event(3), event(4, 10)]) {
    a.came(e);
    a.handled(e, true);
  }
  assert.equal(a.missed, 12);
  for (const e of [event(5), event(6)]) {
    a.came(e);
    a.handled(e, true);
  }
  assert.deepEqual([a.missed, a.lost], [13, 10]);
  const asked = event(2);
  a.came(asked);
  a.handled(asked, false); // history that a new callback asked for
  assert.equal(a.missed, 13);
});

test("the pause before a try: 0.5 s to 15 s, with jitter", () => {
  assert.equal(pauseBefore(0, 0), 500);
  assert.equal(pauseBefore(0, 1), 1000);
  assert.equal(pauseBefore(3, 1), 8000);
  assert.equal(pauseBefore(99, 1), 15_000);
  assert.equal(pauseBefore(99, 0), 500);
});

test("when a token is renewed, also by a page whose clock is wrong", () => {
  const jwt = (body: object) => `e30.${Buffer.from(JSON.stringify(body)).toString("base64url")}.x`;
  const iat = 1_800_000_000;
  const made = iat * 1000;
  const hour = jwt({ iat, exp: iat + 3600, name: "ÿ?>" });
  assert.equal(renewalIn(hour, made), 3_570_000);
  assert.equal(renewalIn(hour, made + 3_500_000), 360_000); // the bus ends it before; but a page whose clock is ahead does not come each second
  assert.equal(renewalIn(hour, made + 86_400_000), 360_000);
  assert.equal(renewalIn(hour, made - 86_400_000), 3_570_000);
  assert.equal(renewalIn(jwt({ iat, exp: iat + 3 }), made), 2700);
  assert.equal(renewalIn(jwt({ exp: iat + 100 }), made), 90_000);
  for (const t of [undefined, "", "secret", "a.b.c", jwt({}), jwt({ exp: iat + 5_000_000 })]) assert.equal(renewalIn(t, made), undefined);
});

test("since", () => {
  assert.deepEqual([sinceText("10m"), sinceText(5), sinceText(new Date(0))], ["10m", "5", "1970-01-01T00:00:00.000Z"]);
});

test("addresses", () => {
  const cases: [string, string, string][] = [
    ["ws://pi:8080", "ws://pi:8080/mqtt", "http://pi:8080"],
    ["http://pi:8080/", "ws://pi:8080/mqtt", "http://pi:8080"],
    ["https://pi/bus/mqtt", "wss://pi/bus/mqtt", "https://pi/bus"],
    ["wss://user:pw@pi/mqtt?x#y", "wss://pi/mqtt", "https://pi"],
  ];
  for (const [url, ws, base] of cases) assert.deepEqual(addresses(url), { ws, base });
  assert.throws(() => addresses("ftp://pi"), /ftp:/);
});

/** As much of sessionStorage as is used. */
function memory(copy?: Map<string, string>) {
  const m = new Map(copy);
  return { m, storage: { getItem: (k: string) => m.get(k) ?? null, setItem: (k: string, v: string) => void m.set(k, v) } as unknown as Storage };
}

test("a tab keeps its name over a reload, a duplicate gets another (without Web Locks)", async () => {
  const one = memory();
  const tab = await claimTab("s1", one.storage);
  assert.match(tab.id, /^web-[0-9a-f]{20}$/);
  assert.equal(await tab.alive(tab.id), true);
  assert.equal(await tab.alive("web-other"), false);
  tab.release();
  const reloaded = await claimTab("s1", one.storage);
  assert.equal(reloaded.id, tab.id);
  // In one process a second claim counts as the same page and takes the next slot: give it the name of the first.
  const copy = memory();
  copy.m.set("s1#1", reloaded.id);
  const duplicate = await claimTab("s1", copy.storage);
  assert.notEqual(duplicate.id, reloaded.id);
  assert.equal(await duplicate.alive(reloaded.id), true);
  duplicate.release();
  reloaded.release();
});
