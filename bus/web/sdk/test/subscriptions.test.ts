// This file tests how callbacks become subscriptions of a session that is older than the page.
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Link } from "../src/link";
import { Subscriptions } from "../src/subscriptions";
import type { OnOptions } from "../src/types";
import { turn } from "./turn";


function fakeLink() {
  const log: string[] = [];
  const open: { yes(): void; no(e: Error): void }[] = [];
  const answer = () => new Promise<void>((yes, no) => open.push({ yes, no }));
  const link = {
    alive: true,
    subscribe(f: string, o: OnOptions) {
      log.push(`+${f}${o.since !== undefined ? ` since ${o.since}` : ""}${o.qos === 0 ? " qos 0" : ""}`);
      return answer();
    },
    unsubscribe(f: string) {
      log.push(`-${f}`);
      return answer();
    },
  };
  return {
    link: link as unknown as Link, log, open,
    async yes() {
      for (const a of open.splice(0)) a.yes();
      await turn();
    },
    end() {
      link.alive = false;
      for (const a of open.splice(0)) a.no(new Error("connection lost"));
    },
  };
}

function stage(had: [string, boolean][] = []) {
  const refused: string[] = [];
  let saved = had;
  const s = new Subscriptions({ load: () => had, save: (f) => (saved = f), refused: (f) => refused.push(f) });
  const on = (f: string, o: OnOptions = {}) => s.add(f, () => {}, o);
  const off = (f: string) => s.remove(f, () => true);
  return { s, on, off, refused, saved: () => saved };
}

test("the SUBSCRIBE is sent when on() returns, once for each filter", async () => {
  const { s, on } = stage();
  const l = fakeLink();
  on("a");
  s.connected(l.link, true);
  on("b");
  on("b");
  assert.deepEqual(l.log, ["+a", "+b"]);
  await l.yes();
  assert.deepEqual(l.log, ["+a", "+b"]);
});

test("off() and on() in one go cost nothing; off() alone ends it", async () => {
  const { s, on, off } = stage();
  const l = fakeLink();
  s.connected(l.link, true);
  on("a");
  await l.yes();
  off("a");
  on("a");
  await turn();
  assert.deepEqual(l.log, ["+a"]);
  off("a");
  await turn();
  assert.deepEqual(l.log, ["+a", "-a"]);
  on("a"); // while UNSUBSCRIBE is under way
  await l.yes();
  assert.deepEqual(l.log, ["+a", "-a", "+a"]);
});

test("a resumed session: asked for again with what is new, the past only where it is, the rest given up after the grace", async () => {
  const { s, on, saved } = stage([["old", true], ["kept", true], ["perhaps", false]]);
  const l = fakeLink();
  s.connected(l.link, false);
  on("kept", { since: "10m" });
  on("perhaps", { since: "10m" });
  on("new", { since: "10m" });
  assert.deepEqual(l.log, ["+kept", "+perhaps since 10m", "+new since 10m"]);
  assert.ok(s.covered("old") && s.covered("kept") && !s.covered("new"));
  await l.yes();
  s.tidy();
  assert.deepEqual(l.log.slice(3), ["-old"]);
  await l.yes();
  assert.deepEqual(saved(), [["kept", true], ["perhaps", true], ["new", true]]);
});

test("a reconnect with the session asks for nothing again; one without it asks for all, from the last event", async () => {
  const { s, on } = stage();
  const one = fakeLink();
  s.connected(one.link, true);
  on("a");
  await one.yes();
  one.end();
  s.disconnected();
  const two = fakeLink();
  s.connected(two.link, false);
  assert.deepEqual(two.log, []);
  two.end();
  s.disconnected();
  on("b");
  const three = fakeLink();
  s.connected(three.link, true, true, "42");
  assert.deepEqual(three.log, ["+a since 42", "+b"]);
});

test("what was under way when the connection ended is asked for again", async () => {
  const { s, on } = stage();
  const one = fakeLink();
  s.connected(one.link, true);
  on("a", { since: "1h" });
  one.end();
  s.disconnected();
  await turn();
  const two = fakeLink();
  s.connected(two.link, false);
  assert.deepEqual(two.log, ["+a since 1h"]);
});

test("a refusal is told once, and tried again on the next connection", async () => {
  const { s, on, refused } = stage();
  const one = fakeLink();
  s.connected(one.link, true);
  on("secret");
  one.open.splice(0)[0]!.no(new Error("not allowed"));
  await turn();
  on("secret");
  await turn();
  assert.deepEqual([one.log, refused], [["+secret"], ["secret"]]);
  one.end();
  s.disconnected();
  const two = fakeLink();
  s.connected(two.link, false);
  assert.deepEqual(two.log, ["+secret"]);
});

test("a callback of QoS 1 raises a subscription of QoS 0", async () => {
  const { s, on } = stage();
  const l = fakeLink();
  s.connected(l.link, true);
  on("a", { qos: 0 });
  await l.yes();
  on("a");
  await l.yes();
  assert.deepEqual(l.log, ["+a qos 0", "+a"]);
});

test("stands() waits for the answer", async () => {
  const { s, on } = stage();
  const l = fakeLink();
  s.connected(l.link, true);
  on("a");
  let stood = false;
  void s.stands("a").then(() => (stood = true));
  await turn();
  assert.equal(stood, false);
  await l.yes();
  assert.equal(stood, true);
  await s.stands("a");
});

test("who wants a topic, in the order of their on()", () => {
  const { s, on } = stage();
  const [a, b, c] = [on("x/#"), on("x/1"), on("+/1")];
  assert.deepEqual(s.wanting("x/1"), [a, b, c]);
  s.remove("x/1", (r) => r === b);
  assert.deepEqual(s.wanting("x/1"), [a, c]);
  assert.equal(s.unheard("x/1"), false);
  assert.equal(s.unheard("y"), true);
});
