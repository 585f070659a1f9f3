// This file is what ends a session or refuses a page: logins and tokens, another client of the same name, a
// session that is gone, a journal that is new, a bus that is not there.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import mqtt from "mqtt";
import { env, launch, program, scratch, sleep, startBus, startWeb, until } from "./stage.mjs";

let bus, web, context;
const config = join(scratch, "users.yaml");

before(async () => {
  writeFileSync(config, "anonymous: {publish: ['open/#'], subscribe: ['open/#', '$bus/#']}\n");
  for (const [name, password] of [["pi", "secret"], ["tok", "new"]]) {
    execFileSync(program(), ["user", "add", name, "--config", config, "--publish", "home/#", "--subscribe", "home/#"], { input: password + "\n", env });
  }
  bus = await startBus("users", ["--config", config]);
  web = await startWeb(bus);
  context = await launch();
});
after(async () => {
  await context.close();
  web.close();
  await bus.stop();
});

async function open() {
  const page = await context.newPage();
  await page.goto(`${web.url}/blank.html`);
  await until(() => page.evaluate(() => !!window.postbus), "the module");
  return page;
}
const connect = (page, options = {}) =>
  page.evaluate(async (o) => {
    window.bus = await postbus.connect(o);
    window.got = [];
    window.failures = [];
    window.states = [];
    bus.status((s) => void states.push(s));
    bus.onError((f) => void failures.push(f.error.message));
    return bus.id;
  }, options);
const state = (page, want) => until(() => page.evaluate((w) => bus.current.state === w, want), want);
const publisher = () => mqtt.connectAsync(`mqtt://127.0.0.1:${bus.mqttPort}`, { protocolVersion: 5, username: "pi", password: "secret" });

test("a wrong password rejects connect(), and says so", async () => {
  const page = await open();
  const said = await page.evaluate(() => postbus.connect({ user: "pi", password: "wrong" }).catch((e) => e.message));
  assert.match(said, /the user name or the password is wrong/);
  await page.close();
});

test("a user's rights hold: history, emit, on", async () => {
  const page = await open();
  await connect(page, { user: "pi", password: "secret" });
  const r = await page.evaluate(async () => {
    await bus.emit("home/a", "1");
    bus.on("garden/#", () => {});
    await new Promise((r) => setTimeout(r, 500));
    return {
      history: (await bus.history("home/#")).map((e) => e.text),
      forbidden: await bus.history("garden/#").catch((e) => e.message),
      emit: await bus.emit("garden/a", 1).catch((e) => e.message),
      failures,
    };
  });
  assert.deepEqual(r.history, ["1"]);
  assert.match(r.forbidden, /not allowed/);
  assert.match(r.emit, /may not publish/);
  assert.equal(r.failures.length, 1);
  assert.match(r.failures[0], /garden\/#/);
  await page.close();
});

test("a token that the bus refuses is asked for again", async () => {
  const page = await open();
  const asked = await page.evaluate(async () => {
    window.asked = 0;
    window.bus = await postbus.connect({ user: "tok", token: async () => (++asked === 1 ? "expired" : "new") });
    return asked;
  });
  assert.equal(await page.evaluate(() => bus.current.state), "online");
  assert.ok(asked >= 2);
  const before = await page.evaluate(() => asked);
  web.drop();
  await until(() => page.evaluate((n) => asked > n && bus.current.state === "online", before), "a new token for a new connection");
  await page.close();
});

test("another client with the id takes over: the page says so and does not fight", async () => {
  const [a, b] = [await open(), await open()];
  await connect(a, { id: "one" });
  await connect(b, { id: "one" });
  await state(a, "offline");
  await sleep(2500);
  assert.equal(await b.evaluate(() => bus.current.state), "online");
  assert.equal(await b.evaluate(() => states.filter((s) => s.state === "offline").length), 0);
  assert.match(await a.evaluate(() => bus.current.reason), /taken over|another/i);
  await a.evaluate(() => document.dispatchEvent(new Event("visibilitychange"))); // somebody looks at it
  await state(a, "online");
  await a.close();
  await b.close();
});

test("a session that is gone goes on from the last event, if the journal still has it", async () => {
  const page = await open();
  const id = await connect(page, { user: "pi", password: "secret" });
  await page.evaluate(() => bus.on("home/gone", (e) => void got.push(e.text)));
  await sleep(300);
  const p = await publisher();
  await p.publishAsync("home/gone", "1", { qos: 1 });
  await until(() => page.evaluate(() => got.length === 1), "the first");
  web.cut = true;
  web.drop();
  await state(page, "offline");
  // The epoch is known from before only to who may see the bus or read events: pi may read home/#.
  await until(async () => (await fetch(`http://127.0.0.1:${bus.httpPort}/api/v1/sessions/${id}`, { method: "DELETE", headers: { authorization: `Basic ${btoa("pi:secret")}` } })).status !== 409, "dropped");
  await p.publishAsync("home/gone", "2", { qos: 1 });
  web.cut = false;
  await state(page, "online");
  await p.publishAsync("home/gone", "3", { qos: 1 });
  await until(() => page.evaluate(() => got.length >= 3), "all three");
  assert.deepEqual(await page.evaluate(() => got), ["1", "2", "3"]);
  assert.ok((await page.evaluate(() => bus.current.missed)) >= 1);
  await p.endAsync();
  await page.close();
});

test("a new journal is told, and its events are not taken for repeats", async () => {
  const page = await open();
  await connect(page, { user: "pi", password: "secret" });
  await page.evaluate(() => bus.on("home/epoch", (e) => void got.push([e.seq, e.text])));
  await until(() => page.evaluate(() => bus.current.epoch), "the epoch");
  let p = await publisher();
  for (let i = 0; i < 5; i++) await p.publishAsync("home/epoch", `old ${i}`, { qos: 1 });
  await until(() => page.evaluate(() => got.length === 5), "five");
  await p.endAsync(true);
  await bus.kill();
  rmSync(bus.data, { recursive: true });
  await bus.start();
  await state(page, "online");
  await until(() => page.evaluate(() => bus.current.epochChanged), "told");
  p = await publisher();
  for (let i = 0; i < 10; i++) await p.publishAsync("home/epoch", `new ${i}`, { qos: 1 });
  await until(() => page.evaluate(() => got.length === 15), "ten more");
  await p.endAsync(true);
  await page.close();
});

test("a bus that is not there: connect() resolves, says offline, and goes on trying", async () => {
  web.cut = true;
  web.drop();
  const page = await context.newPage();
  web.cut = false;
  await page.goto(`${web.url}/blank.html`);
  await until(() => page.evaluate(() => !!window.postbus), "the module");
  web.cut = true;
  await connect(page, { user: "pi", password: "secret" });
  assert.equal(await page.evaluate(() => bus.current.state), "offline");
  assert.match(await page.evaluate(() => bus.current.reason), /is not reachable/);
  web.cut = false;
  await page.evaluate(() => window.dispatchEvent(new Event("online")));
  await state(page, "online");
  await page.close();
});
