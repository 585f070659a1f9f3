// This file tests the way in: order, acknowledgement, failure, repeats and what is held.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Received } from "../src/event";
import { backoff, Inbox, type Registration } from "../src/inbox";
import { matcher } from "../src/topic";
import type { Callback, Failure } from "../src/types";
import { turn } from "./turn";

const empty = async (s: { inbox: { waiting: number } }) => {
  while (s.inbox.waiting > 0) await turn();
};

function event(topic: string, seq: number, more: Partial<Received> = {}): Received {
  return new Received({
    topic, seq, payload: new Uint8Array(), time: new Date(), source: "", origin: undefined, retain: false, qos: 1, missed: 0, redelivered: false,
    properties: { user: {} }, key: seq ? `${seq}@t` : "", ...more,
  });
}

function stage(failed: (f: Failure) => "skip" | void = () => {}) {
  const all: Registration[] = [];
  const acked: number[] = [];
  const handled: number[] = [];
  const failures: Failure[] = [];
  const inbox = new Inbox({
    wanting: (t) => all.filter((r) => r.active && r.matches(t)),
    unheard: (t) => !all.some((r) => r.matches(t)),
    failed: (f) => (failures.push(f), failed(f)),
    handled: (e) => handled.push(e.seq),
    backoff: () => 1,
  });
  return {
    inbox, acked, handled, failures,
    on(filter: string, callback: Callback) {
      const r: Registration = { id: all.length + 1, filter, matches: matcher(filter), callback, active: true, upTo: 0 };
      all.push(r);
      inbox.kick();
      return r;
    },
    give: (e: Received, tag = e.seq) => inbox.offer(e, e.qos ? () => acked.push(tag) : undefined),
  };
}

test("an event is acknowledged when the slowest callback is done, and the next waits", async () => {
  const s = stage();
  const log: string[] = [];
  let open = () => {};
  s.on("a", async (e) => {
    log.push(`slow ${e.seq}`);
    if (e.seq === 1) await new Promise<void>((r) => (open = r));
  });
  s.on("a", (e) => void log.push(`fast ${e.seq}`));
  s.give(event("a", 1));
  s.give(event("a", 2));
  await turn(5);
  assert.deepEqual([log, s.acked], [["slow 1"], []]);
  open();
  await turn(5);
  assert.deepEqual(log, ["slow 1", "fast 1", "slow 2", "fast 2"]);
  assert.deepEqual(s.acked, [1, 2]);
  assert.deepEqual(s.handled, [1, 2]);
});

test("a failed callback gets the event again; who had it does not; the order holds", async () => {
  const s = stage();
  const log: string[] = [];
  let left = 3;
  s.on("#", (e) => void log.push(`a${e.seq}`));
  s.on("#", (e) => {
    if (e.seq === 1 && left-- > 0) throw new Error("no");
    log.push(`b${e.seq}${e.redelivered ? "again" : ""}`);
  });
  for (const n of [1, 2, 3]) s.give(event("x", n));
  await empty(s);
  assert.deepEqual(log, ["a1", "b1again", "a2", "b2", "a3", "b3"]);
  assert.deepEqual(s.acked, [1, 2, 3]);
  assert.deepEqual(s.failures.map((f) => f.attempt), [1, 2, 3]);
});

test("skip gives an event up, loudly", async () => {
  const s = stage((f) => (f.attempt === 2 ? "skip" : undefined));
  s.on("#", async (e) => {
    if (e.seq === 1) throw "a string";
  });
  s.give(event("x", 1));
  s.give(event("x", 2));
  await empty(s);
  assert.deepEqual(s.acked, [1, 2]);
  assert.deepEqual(s.failures.map((f) => f.error.message), ["a string", "a string"]);
});

test("a callback that is taken off while its event fails holds nothing up", async () => {
  const s = stage();
  const r = s.on("x", () => {
    r.active = false;
    throw new Error("no");
  });
  s.give(event("x", 1));
  await empty(s);
  assert.deepEqual([s.acked, s.failures], [[1], []]);
});

test("what nobody wants is held until somebody does, or the hold ends", async () => {
  const s = stage();
  const log: number[] = [];
  s.give(event("x", 1));
  s.give(event("y", 2));
  await turn(5);
  assert.deepEqual(s.acked, []);
  s.on("y", (e) => void log.push(e.seq));
  await turn(5);
  assert.deepEqual(s.acked, [], "the order holds");
  s.on("x", (e) => void log.push(e.seq));
  await turn(5);
  assert.deepEqual([log, s.acked], [[1, 2], [1, 2]]);
  s.give(event("z", 3));
  await turn(5);
  assert.deepEqual(s.acked, [1, 2]);
  s.inbox.hold = false;
  s.inbox.kick();
  await turn(5);
  assert.deepEqual([s.acked, s.handled], [[1, 2, 3], [1, 2]]);
});

test("what was heard and taken off in this page is not held", async () => {
  const s = stage();
  s.on("x", () => {}).active = false;
  s.give(event("x", 1));
  await turn(5);
  assert.deepEqual(s.acked, [1]);
});

test("an event that comes again after it was handled is acknowledged and not handled", async () => {
  const s = stage();
  const log: number[] = [];
  s.on("x", (e) => void log.push(e.seq));
  s.give(event("x", 1), 10);
  await turn(5);
  s.inbox.disconnected();
  s.give(event("x", 1, { redelivered: true }), 20);
  await turn(5);
  assert.deepEqual([log, s.acked], [[1], [10, 20]]);
});

test("an event that comes again before it was handled is handled once, and acknowledged on the new connection only", async () => {
  const s = stage();
  let open = () => {};
  const log: number[] = [];
  s.on("x", async (e) => {
    await new Promise<void>((r) => (open = r));
    log.push(e.seq);
  });
  s.give(event("x", 1), 10);
  await turn(5);
  s.inbox.disconnected();
  s.give(event("x", 1, { redelivered: true }), 20);
  open();
  await turn(5);
  assert.deepEqual([log, s.acked], [[1], [20]]);
});

test("a repeat does not come out of order to a callback that was there later", async () => {
  const s = stage();
  const log: string[] = [];
  s.on("x", (e) => void log.push(`a${e.seq}`));
  for (const n of [1, 2]) s.give(event("x", n));
  await turn(5);
  s.on("x", (e) => void log.push(`b${e.seq}`));
  s.give(event("x", 3));
  await turn(5);
  s.inbox.disconnected(); // and no acknowledgement had arrived
  for (const n of [1, 2, 3, 4]) s.give(event("x", n, { redelivered: true }), 10 + n);
  await turn(5);
  assert.deepEqual(log, ["a1", "a2", "a3", "b3", "a4", "b4"]);
  assert.deepEqual(s.acked.sort((x, y) => x - y), [1, 2, 3, 11, 12, 13, 14]);
});

test("a new callback gets the past that another has had", async () => {
  const s = stage();
  const log: string[] = [];
  s.on("a/#", () => void log.push("all"));
  s.give(event("a/b", 1));
  await turn(5);
  s.on("a/b", () => void log.push("one"));
  s.give(event("a/b", 1));
  await turn(5);
  assert.deepEqual([log, s.acked], [["all", "one"], [1, 1]]);
});

test("the same sequence at another time is another event: the journal is new", async () => {
  const s = stage();
  const log: number[] = [];
  s.on("x", (e) => void log.push(e.seq));
  s.give(event("x", 1));
  await turn(5);
  s.give(event("x", 1, { key: "1@later" } as never));
  await turn(5);
  assert.deepEqual(log, [1, 1]);
});

test("QoS 0 that a stuck page cannot take is dropped, and the next event says how many", async () => {
  const s = stage();
  let open = () => {};
  const missed: number[] = [];
  s.on("x", async (e) => {
    if (missed.push(e.missed) === 1) await new Promise<void>((r) => (open = r));
  });
  for (let i = 0; i < 1010; i++) s.give(event("x", 0, { qos: 0 }));
  s.give(event("x", 5));
  assert.equal(s.inbox.waiting, 1001);
  open();
  await empty(s);
  assert.equal(missed.length, 1001);
  assert.equal(missed.at(-1), 10);
});

test("close ends it: nothing more is called or acknowledged", async () => {
  const s = stage();
  let calls = 0;
  s.on("x", () => {
    calls++;
    throw new Error("no");
  });
  s.give(event("x", 1));
  await turn();
  s.inbox.close();
  const before = calls;
  s.give(event("x", 2));
  await turn(20);
  assert.deepEqual([before > 0, calls], [true, before]);
  assert.deepEqual(s.acked, []);
});

test("the pause grows up to 30 s", () => {
  assert.deepEqual([1, 2, 3, 9, 10, 100].map(backoff), [100, 200, 400, 25_600, 30_000, 30_000]);
});
