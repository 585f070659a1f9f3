// This file is what a page goes through while 200 events a second are published: after each, every event was
// handled at least once, in order, and the count of missed ones is right.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { launch, Log, sleep, startBus, startPublisher, startWeb, until } from "./stage.mjs";

const rate = 200;
let bus, web, context, log;
let number = 0;
const report = [];

before(async () => {
  bus = await startBus();
  web = await startWeb(bus);
});
after(async () => {
  web.close();
  await bus.stop();
  console.table(report);
});

/** Runs the publisher, disturbs the page, and judges. The disturbance returns the page if it is a new one. */
async function scenario(name, disturb, { query = "", missedWithin = 10 } = {}) {
  context = await launch();
  log = new Log();
  await log.attach(context);
  let page = await context.newPage();
  const errors = [];
  context.on("weberror", (e) => errors.push(e.error().message));
  const topic = `recovery/${++number}`;
  const url = `${web.url}/stream.html?topic=${topic}${query}`;
  await page.goto(url);
  await until(() => page.evaluate(() => !!window.bus), "connected");
  await sleep(200);
  const source = await startPublisher(bus, topic, rate);
  await sleep(2000);
  page = (await disturb(page, { url, topic, source })) ?? page;
  await sleep(2000);
  await source.stop();
  await until(() => log.numbers.size >= source.sent, `${name}: all ${source.sent} events`).catch(() => {});
  await sleep(300);
  const status = await page.evaluate(() => window.bus.current);
  const kept = await page.evaluate((t) => Object.keys(localStorage).filter((k) => k.startsWith(`${t}/`)).map((k) => JSON.parse(localStorage[k])), topic);
  log.entries.push(...kept.filter((e) => !log.numbers.has(e.n)));
  log.entries.sort((a, b) => a.at - b.at);
  const back = await page.evaluate(() => window.statuses.findLast((s, i) => s.state === "online" && window.statuses[i - 1]?.state !== "online").at);
  // The truth: accepted by the bus before the page was back, handled for the first time after it.
  const seen = new Set();
  let missed = 0;
  for (const e of log.entries) {
    if (seen.has(e.n)) continue;
    seen.add(e.n);
    if (e.at >= back && source.at[e.n] < back) missed++;
  }
  const judged = log.judge(source.sent);
  report.push({ name, ...judged, missed: status.missed, truth: missed });
  await context.close();
  assert.deepEqual(errors, []);
  assert.equal(judged.lost, 0, "lost");
  assert.equal(judged.disorder, 0, "out of order");
  assert.ok(Math.abs(status.missed - missed) <= missedWithin, `missed says ${status.missed}, the truth is ${missed}`);
  return { status, missed, judged, page };
}

test("offline for 10 s by network emulation", async () => {
  const { missed } = await scenario("offline 10 s (emulated)", async (page) => {
    await context.setOffline(true);
    await sleep(10_000);
    await context.setOffline(false);
    await until(() => page.evaluate(() => window.bus.current.state === "online"), "online again");
  });
  assert.ok(missed > 1000, `only ${missed} were missed`);
});

test("the cable is out for 10 s: nobody is told", async () => {
  const { missed } = await scenario("cable out 10 s", async (page) => {
    web.hang = true;
    web.cut = true;
    await page.evaluate(() => window.dispatchEvent(new Event("offline")));
    await sleep(10_000);
    web.drop();
    web.hang = web.cut = false;
    await until(() => page.evaluate(() => window.bus.current.state === "online"), "online again");
  });
  assert.ok(missed > 1000, `only ${missed} were missed`);
});

test("reloaded in mid-stream", async () => {
  await scenario("reload", async (page) => {
    for (let i = 0; i < 3; i++) {
      await page.reload();
      await until(() => page.evaluate(() => !!window.bus), "connected");
      await sleep(500);
    }
  });
});

test("a callback throws half way, then the page is reloaded", async () => {
  const { judged } = await scenario(
    "callback throws, reload",
    async (page, { url }) => {
      assert.ok((await page.evaluate(() => window.failures)) > 0);
      await page.goto(url.replace(/&throw=\d+/, ""));
      await until(() => page.evaluate(() => !!window.bus), "connected");
    },
    { query: "&throw=100" },
  );
  assert.ok(judged.lost === 0);
});

test("the tab crashes, and is opened again under its id", async () => {
  await scenario(
    "tab crashes",
    async (page, { url }) => {
      const cdp = await context.newCDPSession(page);
      const crashed = new Promise((r) => page.once("crash", r));
      cdp.send("Page.crash").catch(() => {});
      await crashed;
      await sleep(500);
      const next = await context.newPage();
      await next.goto(url);
      await until(() => next.evaluate(() => !!window.bus), "connected");
      return next;
    },
    { query: "&id=kiosk" },
  );
});

test("the bus is killed with -9 and started again", async () => {
  await scenario("bus kill -9", async (page) => {
    for (let i = 0; i < 2; i++) {
      await bus.kill();
      await sleep(1000);
      await bus.start();
      await until(() => page.evaluate(() => window.bus.current.state === "online"), "online again");
      await sleep(700);
    }
  });
});

test("the machine slept: the clock jumps, and the connection is dead", async () => {
  await scenario("sleep (clock jump)", async (page) => {
    // What a page sees of a sleep: no timer runs for a while, then the clock is an hour on, and the other
    // side of the socket has long gone.
    web.hang = true;
    await page.evaluate(() => {
      const real = Date.now;
      const end = performance.now() + 3000;
      while (performance.now() < end);
      Date.now = () => real() + 3_600_000;
    });
    web.hang = false;
    web.drop();
    await until(() => page.evaluate(() => window.bus.current.state === "online" && window.statuses.some((s) => s.state === "offline")), "online again", 8000);
  });
});
