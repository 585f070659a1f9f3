// This file is the rest of what a page relies on: what it emits arrives although it is closed, tabs don't
// disturb each other, what is held is given to who asks in time, and a strict CSP is kept.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import mqtt from "mqtt";
import { flags, launch, sleep, startBus, startWeb, until } from "./stage.mjs";

let bus, web, context, listener;
const heard = [];
const complaints = [];

before(async () => {
  bus = await startBus();
  web = await startWeb(bus);
  context = await launch();
  context.on("weberror", (e) => complaints.push(String(e.error())));
  context.on("console", (m) => /Content Security Policy|violates/.test(m.text()) && complaints.push(m.text()));
  listener = await mqtt.connectAsync(`mqtt://127.0.0.1:${bus.mqttPort}`, { protocolVersion: 5, clean: true, reconnectPeriod: 100 });
  listener.on("error", () => {});
  listener.on("message", (topic, payload, packet) => heard.push({ topic, text: payload.toString(), packet }));
  await listener.subscribeAsync("out/#", { qos: 1 });
});
after(async () => {
  await listener.endAsync(true);
  await context.close();
  web.close();
  await bus.stop();
});

async function open(path = "/blank.html") {
  const page = await context.newPage();
  await page.goto(web.url + path);
  await until(() => page.evaluate(() => !!window.postbus), "the module");
  return page;
}
const connect = (page, options = {}) =>
  page.evaluate(async (o) => {
    window.bus = await postbus.connect(o);
    window.got = [];
    window.failures = [];
    bus.onError((f) => void failures.push(f.error.message));
    return bus.id;
  }, options);
const online = (page) => until(() => page.evaluate(() => bus.current.state === "online"), "online");
const texts = (topic) => heard.filter((h) => h.topic === topic).map((h) => h.text);
const sessions = async () => (await (await fetch(`http://127.0.0.1:${bus.httpPort}/api/v1/sessions`)).json());

test("emit resolves with the acknowledgement; payloads arrive as they are", async () => {
  const page = await open();
  await connect(page);
  await page.evaluate(async () => {
    await bus.emit("out/kinds", { a: [1] });
    await bus.emit("out/kinds", "text ä");
    await bus.emit("out/kinds", 7);
    await bus.emit("out/kinds", true);
    await bus.emit("out/kinds", new Uint8Array([65, 66]));
    await bus.emit("out/kinds");
    await bus.emit("out/kinds", "zero", { qos: 0 });
    await bus.emit("out/kinds", "last", { expiry: 60 });
  });
  await until(() => texts("out/kinds").length === 8, "eight events");
  assert.deepEqual(texts("out/kinds"), ['{"a":[1]}', "text ä", "7", "true", "AB", "", "zero", "last"]);
  assert.ok(heard.at(-1).packet.properties.messageExpiryInterval <= 60);
  const wrong = await page.evaluate(() => bus.emit("out/+", 1).catch((e) => e.message));
  assert.match(wrong, /wildcard/);
  const refused = await page.evaluate(() => bus.emit("$SYS/x", 1).catch((e) => [e.message, e.code]));
  const large = await page.evaluate(() => bus.emit("out/large", new Uint8Array(2 << 20)).catch((e) => e.message));
  assert.match(large, /2097152 bytes are more than the bus accepts/);
  assert.deepEqual(refused, ["the user may not publish to this topic", 0x87]);
  await page.close();
});

test("what an offline page emitted is delivered after it was closed and opened again", async () => {
  const page = await open();
  await connect(page);
  await context.setOffline(true);
  web.cut = true;
  web.drop();
  await until(() => page.evaluate(() => bus.current.state === "offline"), "offline");
  await page.evaluate(() => {
    for (let i = 1; i <= 500; i++) bus.emit("out/closed", { i }).catch(() => {});
  });
  await until(() => page.evaluate(() => bus.current.queued === 500), "queued");
  await sleep(300);
  await page.close();
  assert.equal(texts("out/closed").length, 0);
  await context.setOffline(false);
  web.cut = false;
  const again = await open();
  await connect(again);
  await until(() => texts("out/closed").length >= 500, "all 500");
  await until(() => again.evaluate(() => bus.current.queued === 0), "an empty outbox");
  assert.deepEqual(texts("out/closed").map((t) => JSON.parse(t).i), Array.from({ length: 500 }, (_, i) => i + 1));
  await again.close();
});

test("what a reloaded page emitted offline is delivered, before what it emits then", async () => {
  const page = await open();
  await connect(page);
  web.cut = true;
  web.drop();
  await page.evaluate(() => void bus.emit("out/reload", "before").catch(() => {}));
  await sleep(200);
  await page.reload();
  await until(() => page.evaluate(() => !!window.postbus), "the module");
  await connect(page);
  assert.notEqual(await page.evaluate(() => bus.current.state), "online");
  assert.equal(await page.evaluate(() => bus.current.queued), 1);
  const done = page.evaluate(() => bus.emit("out/reload", "after"));
  web.cut = false;
  await done;
  await until(() => texts("out/reload").length >= 2, "both");
  assert.deepEqual(texts("out/reload"), ["before", "after"]);
  await page.close();
});

test("an open tab sends what another, closed tab left, once", async () => {
  const [a, b, c] = [await open(), await open(), await open()];
  for (const p of [a, b, c]) await connect(p);
  web.cut = true;
  web.drop();
  await a.evaluate(() => {
    for (let i = 0; i < 20; i++) bus.emit("out/left", String(i)).catch(() => {});
  });
  await sleep(300);
  await a.close();
  web.cut = false;
  await online(b);
  await online(c);
  await until(() => texts("out/left").length >= 20, "all 20");
  await sleep(500);
  assert.deepEqual(texts("out/left"), Array.from({ length: 20 }, (_, i) => String(i)));
  await b.close();
  await c.close();
});

test("the outbox is bounded, and says so", async () => {
  const page = await open();
  await connect(page, { outbox: { entries: 3 } });
  web.cut = true;
  web.drop();
  await until(() => page.evaluate(() => bus.current.state === "offline"), "offline");
  const said = await page.evaluate(async () => {
    for (let i = 0; i < 3; i++) bus.emit("out/bound", i).catch(() => {});
    return [await bus.emit("out/bound", 3).catch((e) => e.message), await bus.emit("out/bound", 3, { qos: 0 }).catch((e) => e.message)];
  });
  assert.match(said[0], /outbox is full: 3 events/);
  assert.match(said[1], /offline/);
  web.cut = false;
  await until(() => texts("out/bound").length === 3, "the three");
  await page.close();
});

test("two tabs are two clients; a duplicated tab gets an id of its own; a reload keeps it", async () => {
  const [a, b] = [await open(), await open()];
  const [ida, idb] = [await connect(a), await connect(b)];
  assert.notEqual(ida, idb);
  await a.reload();
  await until(() => a.evaluate(() => !!window.postbus), "the module");
  assert.equal(await connect(a), ida);
  // A duplicate begins with a copy of sessionStorage, as a window that the page opens does.
  const [copy] = await Promise.all([context.waitForEvent("page"), a.evaluate((u) => void window.open(u), web.url + "/blank.html")]);
  await until(() => copy.evaluate(() => !!window.postbus), "the module");
  assert.equal(await copy.evaluate(() => sessionStorage.getItem(Object.keys(sessionStorage).find((k) => k.endsWith("#0")))), ida);
  const idc = await connect(copy);
  assert.notEqual(idc, ida);
  const second = await a.evaluate(async () => (await postbus.connect()).id);
  assert.equal(new Set([ida, idb, idc, second]).size, 4);
  for (const p of [a, b, copy]) {
    await p.evaluate(() => bus.on("tabs", (e) => void got.push(e.text)));
  }
  await sleep(200);
  await listener.publishAsync("tabs", "hello", { qos: 1 });
  for (const p of [a, b, copy]) await until(() => p.evaluate(() => got.length === 1), "each tab has it");
  for (const p of [a, b, copy]) assert.equal(await p.evaluate(() => bus.current.state), "online");
  for (const p of [a, b, copy]) await p.close();
});

test("events wait for a callback that comes late; what nobody wants after the grace is given up", async () => {
  const page = await open();
  const id = await connect(page);
  await page.evaluate(() => {
    bus.on("late/a", () => {});
    bus.on("late/b", () => {});
  });
  await sleep(300);
  await page.goto("about:blank");
  for (let i = 0; i < 5; i++) {
    await listener.publishAsync("late/a", `a${i}`, { qos: 1 });
    await listener.publishAsync("late/b", `b${i}`, { qos: 1 });
  }
  await page.goto(web.url + "/blank.html");
  await until(() => page.evaluate(() => !!window.postbus), "the module");
  assert.equal(await connect(page), id);
  await sleep(1000);
  await page.evaluate(() => bus.on("late/a", (e) => void got.push(e.text)));
  await until(() => page.evaluate(() => got.length === 5), "what was missed");
  assert.deepEqual(await page.evaluate(() => got), ["a0", "a1", "a2", "a3", "a4"]);
  assert.equal(await page.evaluate(() => bus.current.missed), 5);
  const mine = async () => (await sessions()).find((s) => s.name === id);
  await until(async () => (await mine()).lag === 0, "nothing is held any more");
  const before = await mine();
  await listener.publishAsync("late/b", "nobody", { qos: 1 });
  await sleep(200);
  assert.equal((await mine()).lag, 0, JSON.stringify(before));
  await page.close();
});

test("a callback that fails gets its event again, the others wait; skip gives it up", async () => {
  const page = await open();
  await connect(page);
  await page.evaluate(() => {
    let failed = 0;
    bus.on("fail/#", async (e) => {
      if (e.text === "2" && failed++ < 2) throw new Error("not yet");
      if (e.text === "4") throw new Error("never");
      got.push([e.text, e.redelivered]);
    });
    bus.onError(() => {
      throw new Error("who listens badly stops nothing");
    });
    bus.onError((f) => (f.event?.text === "4" && f.attempt >= 3 ? "skip" : undefined));
  });
  await sleep(200);
  for (const t of ["1", "2", "3", "4", "5"]) await listener.publishAsync("fail/x", t, { qos: 1 });
  await until(() => page.evaluate(() => got.length === 4), "all but the skipped");
  assert.deepEqual(await page.evaluate(() => got), [["1", false], ["2", true], ["3", false], ["5", false]]);
  assert.equal(await page.evaluate(() => failures.length), 5);
  await page.close();
});

test("history while live, since, once, off, request and respond", async () => {
  for (let i = 0; i < 50; i++) await listener.publishAsync("past/x", String(i), { qos: 1 });
  const page = await open();
  await connect(page);
  const r = await page.evaluate(async () => {
    const wait = (ms) => new Promise((r) => setTimeout(r, ms));
    const out = {};
    const past = [];
    bus.on("past/+", (e) => void past.push(e.text), { since: "10m" });
    out.history = (await bus.history("past/#", { since: "10m" })).map((e) => e.text);
    out.limited = (await bus.history("past/#", { since: "10m", limit: 3 })).map((e) => e.text);
    await bus.emit("past/x", "50");
    await wait(300);
    out.past = past;
    const once = [];
    bus.once("one", (e) => void once.push(e.text));
    const off = bus.on("two", (e) => void once.push(e.text));
    await bus.emit("one", "a");
    await bus.emit("one", "b");
    await bus.emit("two", "c");
    for (let i = 0; i < 20 && once.length < 2; i++) await wait(50);
    off();
    await wait(100);
    await bus.emit("two", "d");
    await wait(200);
    out.once = once;
    bus.respond("double", (e) => e.json * 2);
    bus.respond("broken", () => {
      throw new Error("out of order");
    });
    out.answers = await Promise.all([1, 2, 3].map(async (n) => (await bus.request("double", n)).json));
    out.broken = await bus.request("broken").catch((e) => e.message);
    out.nobody = await bus.request("nobody", 1, { timeout: 300 }).catch((e) => e.message);
    out.wrong = (() => {
      try {
        bus.on("a/#/b", () => {});
      } catch (e) {
        return e.message;
      }
    })();
    out.badAge = await bus.history("past/#", { since: "soon" }).catch((e) => e.message);
    return out;
  });
  const all = Array.from({ length: 50 }, (_, i) => String(i));
  assert.deepEqual(r.history, all);
  assert.deepEqual(r.limited, all.slice(0, 3));
  assert.deepEqual(r.past, [...all, "50"]);
  assert.deepEqual(r.once, ["a", "c"]);
  assert.deepEqual(r.answers, [2, 4, 6]);
  assert.equal(r.broken, "out of order");
  assert.match(r.nobody, /no answer from nobody within 300 ms/);
  assert.match(r.wrong, /# must be the last level/);
  assert.match(r.badAge, /since "soon"/);
  await page.close();
});

test("the script tag build", async () => {
  const page = await context.newPage();
  await page.goto(web.url + "/global.html");
  assert.equal(await page.evaluate(() => typeof window.postbus.connect), "function");
  await connect(page);
  assert.equal(await page.evaluate(() => bus.current.state), "online");
  await page.close();
});

test("over plain http there are no Web Locks: tabs still have ids of their own, and the outbox is taken up", async () => {
  const plain = await launch({ args: [...flags, "--host-resolver-rules=MAP pi.local 127.0.0.1"] });
  const url = web.url.replace("127.0.0.1", "pi.local") + "/blank.html";
  const visit = async () => {
    const page = await plain.newPage();
    await page.goto(url);
    await until(() => page.evaluate(() => !!window.postbus), "the module");
    return page;
  };
  const a = await visit();
  assert.deepEqual(await a.evaluate(() => [isSecureContext, typeof navigator.locks]), [false, "undefined"]);
  const id = await connect(a);
  const [copy] = await Promise.all([plain.waitForEvent("page"), a.evaluate((u) => void window.open(u), url)]);
  await until(() => copy.evaluate(() => !!window.postbus), "the module");
  assert.notEqual(await connect(copy), id);
  await a.reload();
  await until(() => a.evaluate(() => !!window.postbus), "the module");
  assert.equal(await connect(a), id);
  web.cut = true;
  web.drop();
  await until(() => a.evaluate(() => bus.current.state === "offline"), "offline");
  await a.evaluate(() => void bus.emit("out/plain", "left").catch(() => {}));
  await sleep(300);
  await a.close();
  web.cut = false;
  await until(() => texts("out/plain").length === 1, "sent by the other tab");
  await plain.close();
});

test("close({forget: true}) ends the session, close() keeps it", async () => {
  const page = await open();
  const id = await connect(page);
  await page.evaluate(() => bus.on("x", () => {}));
  await sleep(200);
  await page.evaluate(() => bus.close());
  await sleep(200);
  assert.ok((await sessions()).some((s) => s.name === id));
  assert.equal(await connect(page), id);
  await page.evaluate(() => bus.close({ forget: true }));
  await sleep(300);
  assert.ok(!(await sessions()).some((s) => s.name === id));
  await page.close();
});

test("nothing broke the CSP, and no page had an uncaught error", () => {
  assert.deepEqual(complaints, []);
});
