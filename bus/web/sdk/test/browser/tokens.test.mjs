// This file is tokens that end while a page is open: a page that renews them in time, one that is told by the
// bus that its token has expired, and those that cannot renew. What is streamed meanwhile is neither lost nor
// repeated, and what happens is told by status.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import mqtt from "mqtt";
import { env, launch, program, scratch, sleep, startBus, startPublisher, startWeb, until } from "./stage.mjs";

let bus, web, context;
const config = join(scratch, "tokens.yaml");
const rights = ["--publish", "page/#", "--subscribe", "stream/#"];

before(async () => {
  writeFileSync(config, "anonymous: {publish: ['stream/#'], subscribe: ['page/#']}\n");
  for (const name of ["pi", "cat"]) execFileSync(program(), ["user", "add", name, "--config", config, ...rights], { input: "secret\n", env });
  bus = await startBus("tokens", ["--config", config]);
  web = await startWeb(bus);
  context = await launch();
});
after(async () => {
  await context.close();
  web.close();
  await bus.stop();
});

/** A page that may ask for tokens of its user, as after a login form. */
async function open(user = "pi") {
  const page = await context.newPage();
  await page.goto(`${web.url}/blank.html`);
  await until(() => page.evaluate(() => !!window.postbus), "the module");
  await page.evaluate((user) => {
    window.password = "secret";
    window.asked = 0;
    window.states = [];
    window.got = [];
    window.ask = async (life) => {
      const headers = { "content-type": "application/json", authorization: `Basic ${btoa(`${user}:${password}`)}` };
      // omit: otherwise the browser asks for a password itself when this one is wrong.
      const r = await fetch("/api/v1/token", { method: "POST", credentials: "omit", headers, body: JSON.stringify({ for: life }) });
      const answer = await r.json();
      if (!r.ok) throw new Error(`no token: ${answer.error}`);
      return answer;
    };
    window.watch = () => {
      bus.status((s) => void states.push([s.state, s.reason ?? ""]));
      bus.on("stream/#", (e) => void got.push([e.json.n, e.redelivered, e.missed]));
    };
  }, user);
  return page;
}
const offline = (page) => page.evaluate(() => states.filter(([s]) => s === "offline").map(([, reason]) => reason));

test("tokens of three seconds under a stream: nothing lost, repeated or out of order", async (t) => {
  const [renewing, caching] = [await open(), await open()];
  const heard = [];
  const listener = await mqtt.connectAsync(`mqtt://127.0.0.1:${bus.mqttPort}`, { protocolVersion: 5 });
  t.after(() => listener.endAsync(true));
  listener.on("message", (topic, payload) => void heard.push(topic === "page/will" ? "the will" : Number(payload)));
  await listener.subscribeAsync("page/#", { qos: 1 });
  await renewing.evaluate(async () => {
    window.bus = await postbus.connect({ token: async () => (asked++, (await ask("3s")).token), will: { topic: "page/will", value: "gone" } });
    watch();
    window.emitted = 0;
    window.emitting = setInterval(() => bus.emit("page/n", ++emitted), 50);
  });
  await caching.evaluate(async () => {
    let last;
    // It hands out a token to its very end, so that it is the bus that ends the connection.
    const token = async () => {
      if (!last || new Date(last.expires) <= new Date()) (asked++, (last = await ask("3s")));
      return last.token;
    };
    window.bus = await postbus.connect({ token });
    watch();
  });
  const stream = await startPublisher(bus, "stream/a", 100);
  await sleep(12_000);
  await stream.stop();
  await renewing.evaluate(() => clearInterval(emitting));
  for (const [name, page] of Object.entries({ renewing, caching })) {
    await until(() => page.evaluate((n) => got.length >= n, stream.sent), `${name}: all events`, 10_000);
    const got = await page.evaluate(() => got);
    assert.deepEqual(got.map(([n]) => n), Array.from({ length: stream.sent }, (_, i) => i + 1), name);
    assert.ok(got.every(([, , missed]) => missed === 0), `${name}: lost for good`);
    assert.ok((await page.evaluate(() => asked)) >= 3, `${name}: asked ${await page.evaluate(() => asked)} times`);
    assert.equal(await page.evaluate(() => bus.current.lost), 0);
  }
  const renewals = await offline(renewing);
  assert.ok(renewals.length >= 3 && renewals.every((r) => r === "a new token"), renewals.join("; "));
  const ends = await offline(caching);
  assert.ok(ends.length >= 2 && ends.some((r) => /the token(, password or certificate)? has expired/.test(r)), ends.join("; "));
  const emitted = await renewing.evaluate(() => emitted);
  await until(() => heard.includes(emitted), "what the page emitted");
  // At least once, so one may be there twice; and a page that renews its token was never gone.
  assert.deepEqual([...new Set(heard)], Array.from({ length: emitted }, (_, i) => i + 1));
  await renewing.close();
  await caching.close();
});

test("a token that cannot be renewed is told, with the reason", async () => {
  const [failing, fixed] = [await open(), await open()];
  await failing.evaluate(async () => {
    window.bus = await postbus.connect({
      token: async () => {
        if (++asked > 1) throw new Error("please log in again");
        return (await ask("2s")).token;
      },
    });
    watch();
  });
  await fixed.evaluate(async () => {
    window.bus = await postbus.connect({ token: (await ask("2s")).token });
    watch();
  });
  await until(() => failing.evaluate(() => bus.current.state === "offline" && bus.current.reason === "please log in again"), "the page's own words");
  assert.match((await offline(failing))[0], /the token(, password or certificate)? has expired/);
  await until(() => fixed.evaluate(() => bus.current.state === "offline"), "the end of a token that is no function");
  await sleep(2000);
  const said = await offline(fixed);
  assert.ok(said.length >= 2 && said.every((r) => /the token(, password or certificate)? has expired/.test(r)), said.join("; "));
  await failing.close();
  await fixed.close();
});

test("a new password ends the tokens of the old one; the page comes back with a token of the new one", async () => {
  const page = await open("cat");
  await page.evaluate(async () => {
    window.bus = await postbus.connect({ token: async () => (asked++, (await ask("1h")).token) });
    watch();
  });
  const stream = await startPublisher(bus, "stream/b", 50);
  try {
    execFileSync(program(), ["user", "passwd", "cat", "--config", config], { input: "other\n", env });
    await until(() => page.evaluate(() => bus.current.state === "offline" && /no token/.test(bus.current.reason)), "no token for the old password");
    assert.match((await offline(page))[0], /may no longer connect/);
    await page.evaluate(() => {
      window.password = "other";
      window.dispatchEvent(new Event("online"));
    });
    await until(() => page.evaluate(() => bus.current.state === "online"), "online again");
  } finally {
    await stream.stop();
  }
  await until(() => page.evaluate((n) => got.length >= n, stream.sent), "all events");
  assert.deepEqual(await page.evaluate(() => got.map(([n]) => n)), Array.from({ length: stream.sent }, (_, i) => i + 1));
  await page.close();
});
