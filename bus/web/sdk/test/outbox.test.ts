// This file tests the way out, over IndexedDB as a package for Node has it.
import "fake-indexeddb/auto";
import assert from "node:assert/strict";
import { test } from "node:test";
import { Refused, type Link, type PublishOptions } from "../src/link";
import { Outbox } from "../src/outbox";
import { openStore } from "../src/store";
import { turn } from "./turn";

const bytes = (s: string) => new TextEncoder().encode(s);
const text = (b: Uint8Array) => new TextDecoder().decode(b);
let databases = 0;

/** A link that acknowledges when it is told to. */
function fakeLink(window = 65535) {
  const sent: { text: string; options: PublishOptions; yes(): void; no(e: Error): void }[] = [];
  const link = {
    alive: true,
    window,
    largest: 2000,
    publish: (_t: string, p: Uint8Array, options: PublishOptions) =>
      new Promise<void>((yes, no) => sent.push({ text: text(p), options, yes, no })),
  };
  return { link: link as unknown as Link, sent, end() {
    link.alive = false;
    for (const s of sent) s.no(new Error("connection lost"));
  } };
}

async function stage(owner = "me", db = `db${++databases}`, bounds = { entries: 100, bytes: 1 << 20 }) {
  const failures: string[] = [];
  const outbox = new Outbox(() => owner, {
    store: await openStore(db, (e) => failures.push(e.message)),
    ...bounds,
    changed() {},
    failed: (e) => failures.push(e.message),
  });
  await outbox.load();
  return { outbox, failures, db };
}

test("entries go out in order, and a promise resolves with the acknowledgement", async () => {
  const { outbox } = await stage();
  const { link, sent } = fakeLink();
  const done: string[] = [];
  for (const t of ["1", "2", "3"]) void outbox.add("t", bytes(t), {}).then(() => done.push(t));
  outbox.connected(link);
  assert.deepEqual(sent.map((s) => s.text), ["1", "2", "3"]);
  await turn();
  assert.deepEqual(done, []);
  sent[0]!.yes();
  await turn();
  assert.deepEqual(done, ["1"]);
  assert.equal(outbox.size, 2);
});

test("what was not acknowledged is sent again over the next connection, in order", async () => {
  const { outbox } = await stage();
  const one = fakeLink();
  outbox.connected(one.link);
  const all = ["1", "2", "3"].map((t) => outbox.add("t", bytes(t), {}));
  one.sent[1]!.yes();
  await turn();
  outbox.disconnected();
  one.end();
  await turn();
  const two = fakeLink();
  outbox.connected(two.link);
  assert.deepEqual(two.sent.map((s) => s.text), ["1", "3"]);
  for (const s of two.sent) s.yes();
  await Promise.all(all);
  await turn(20);
  assert.equal(outbox.size, 0);
});

test("it survives the page, and what is acknowledged does not come back", async () => {
  const a = await stage();
  const one = fakeLink();
  for (const t of ["1", "2", "3"]) void a.outbox.add("t", bytes(t), { retain: true }).catch(() => {});
  await turn(20);
  a.outbox.connected(one.link);
  one.sent[0]!.yes();
  await turn(20);
  const b = await stage("me", a.db);
  assert.equal(b.outbox.size, 2);
  const two = fakeLink();
  b.outbox.connected(two.link);
  void b.outbox.add("t", bytes("4"), {}).catch(() => {});
  assert.deepEqual(two.sent.map((s) => s.text), ["2", "3", "4"]);
  assert.equal(two.sent[0]!.options.retain, true);
  assert.deepEqual(b.failures, []);
});

test("a tab takes up what a dead one left, not what a living one has", async () => {
  const dead = await stage("dead");
  const living = await stage("living", dead.db);
  void dead.outbox.add("t", bytes("d"), {}).catch(() => {});
  void living.outbox.add("t", bytes("l"), {}).catch(() => {});
  await turn(20);
  const [a, b] = [await stage("a", dead.db), await stage("b", dead.db)];
  const alive = async (o: string) => o !== "dead";
  await Promise.all([a.outbox.adopt(alive), b.outbox.adopt(alive)]);
  assert.equal(a.outbox.size + b.outbox.size, 1);
});

test("the bounds hold, and say which", async () => {
  const { outbox } = await stage("me", undefined, { entries: 2, bytes: 1000 });
  await assert.rejects(outbox.add("t", bytes("x".repeat(1000)), {}), /outbox is full: 0 events/);
  void outbox.add("t", bytes("1"), {}).catch(() => {});
  void outbox.add("t", bytes("2"), {}).catch(() => {});
  await assert.rejects(outbox.add("t", bytes("3"), {}), /outbox is full: 2 events.*2 events, 1000 bytes are allowed/);
});

test("refused for good rejects with the reason; no room now is tried again", async (t) => {
  const { outbox } = await stage();
  const { link, sent } = fakeLink();
  outbox.connected(link);
  const no = outbox.add("t", bytes("no"), {});
  sent[0]!.no(new Refused("not here", 0x87));
  await assert.rejects(no, /not here/);
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const yes = outbox.add("t", bytes("yes"), {});
  sent[1]!.no(new Refused("disk full", 0x97));
  for (let i = 0; i < 5; i++) await Promise.resolve();
  assert.equal(sent.length, 2);
  t.mock.timers.tick(1000);
  assert.equal(sent.length, 3);
  sent[2]!.yes();
  await yes;
  t.mock.timers.reset();
});

test("a refusal of what an earlier page emitted is not lost", async () => {
  const a = await stage();
  void a.outbox.add("t", bytes("1"), {}).catch(() => {});
  await turn(20);
  const b = await stage("me", a.db);
  const { link, sent } = fakeLink();
  b.outbox.connected(link);
  sent[0]!.no(new Refused("not here", 0x87));
  await turn();
  assert.deepEqual(b.failures, ["t: not here"]);
  assert.equal(b.outbox.size, 0);
});

test("an entry that expired while it waited is not sent; another is sent with what is left", async (t) => {
  const { outbox } = await stage();
  t.mock.timers.enable({ apis: ["Date"], now: 1_000_000 });
  const dead = outbox.add("t", bytes("old"), { expiry: 10 });
  void outbox.add("t", bytes("young"), { expiry: 60 }).catch(() => {});
  t.mock.timers.tick(20_000);
  const { link, sent } = fakeLink();
  outbox.connected(link);
  await assert.rejects(dead, /expired before/);
  assert.deepEqual(sent.map((s) => [s.text, s.options.expiry]), [["young", 40]]);
  t.mock.timers.reset();
});

test("what is larger than the bus takes is not sent", async () => {
  const { outbox } = await stage();
  const { link, sent } = fakeLink();
  outbox.connected(link);
  await assert.rejects(outbox.add("t", new Uint8Array(2000), {}), /2000 bytes are more than the bus accepts/);
  assert.equal(sent.length, 0);
});

test("an entry that makes the bus end the connection is found and given up; the others are sent", async () => {
  const { outbox } = await stage();
  const results: string[] = [];
  for (const t of ["1", "poison", "2"]) outbox.add("t", bytes(t), {}).then(() => results.push(t), (e: Error) => results.push(`${t}: ${e.message}`));
  for (let i = 0; i < 10 && outbox.size > 0; i++) {
    const { link, sent, end } = fakeLink();
    outbox.connected(link);
    for (let k = 0; k < sent.length; k++) {
      // The bus reads all that is in the pipe, and stumbles before it acknowledges anything.
      if (sent.slice(k).some((s) => s.text === "poison")) {
        outbox.disconnected("malformed", 0x81);
        end();
        break;
      }
      sent[k]!.yes();
      await turn();
    }
    await turn();
  }
  assert.deepEqual(results, ["1", "poison: malformed", "2"]);
});

test("no more is unacknowledged than the bus takes", async () => {
  const { outbox } = await stage();
  const { link, sent } = fakeLink(2);
  outbox.connected(link);
  for (const t of ["1", "2", "3", "4"]) void outbox.add("t", bytes(t), {}).catch(() => {});
  assert.equal(sent.length, 2);
  sent[0]!.yes();
  await turn();
  assert.equal(sent.length, 3);
});

test("without IndexedDB it works, and says what that means", async () => {
  const real = indexedDB;
  Object.defineProperty(globalThis, "indexedDB", { value: undefined, configurable: true });
  const { outbox, failures } = await stage();
  Object.defineProperty(globalThis, "indexedDB", { value: real, configurable: true });
  const { link, sent } = fakeLink();
  outbox.connected(link);
  const done = outbox.add("t", bytes("1"), {});
  sent[0]!.yes();
  await done;
  assert.match(failures[0]!, /do not survive this page/);
});

test("close rejects what waits and keeps it for the next page", async () => {
  const a = await stage();
  const p = a.outbox.add("t", bytes("1"), {});
  const rejected = assert.rejects(p, /closed/);
  await a.outbox.close();
  await rejected;
  assert.equal((await stage("me", a.db)).outbox.size, 1);
});
