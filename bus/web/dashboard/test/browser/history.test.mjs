// This file is an hour of history in a plot: 360,000 events, 100 for each second.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Bus, closeAll, open, sleep } from "./kit.mjs";

const events = 360_000;

let bus;
before(async () => (bus = await Bus.start()));
after(() => closeAll(bus));

test("an hour at 100 events a second is in the plot, whole, and goes on live", async () => {
  const pump = await bus.pump();
  const last = async () => (await (await fetch(`${bus.url}/api/v1/bus`)).json()).journal.last;
  for (let from = 0; from < events; from += 2000) {
    pump.send(Array.from({ length: 2000 }, (_, i) => ["hour/power", `{"watts":${(from + i) % 1000},"n":${from + i}}`]), 1);
    if (from % 20_000 === 0) while ((await last()) < from - 20_000) await sleep(5);
  }
  while ((await last()) < events) await sleep(20);
  const page = await open(bus, "#/live");
  await page.evaluate(() => {
    window.seen = {};
    new MutationObserver(() => {
      const c = document.querySelector(".canvas");
      if (!c) return;
      if (Number(c.dataset.points) > 0) window.seen.first ??= performance.now();
      if (Number(c.dataset.total) >= 360_000) window.seen.all ??= performance.now();
    }).observe(document.body, { subtree: true, childList: true, attributes: true });
  });
  const times = [];
  for (let i = 0; i < 3; i++) {
    await page.evaluate(() => {
      window.seen = {};
      window.began = performance.now();
      location.hash = "#/live?topic=hour/power&range=1h";
    });
    await page.waitForFunction(() => window.seen.all, undefined, { timeout: 60_000 });
    times.push(await page.evaluate(() => [window.seen.first - window.began, window.seen.all - window.began].map(Math.round)));
    if (i === 2) break;
    await page.evaluate(() => (location.hash = "#/live"));
    await page.waitForFunction(() => !document.querySelector(".canvas"));
  }
  console.log("the first points after, all after (ms):", JSON.stringify(times));
  pump.send(Array.from({ length: 10 }, (_, i) => ["hour/power", `{"watts":${i},"n":${events + i}}`]), 1);
  await page.waitForFunction((n) => document.querySelector(".canvas").dataset.total === String(n), events + 10);
  const newest = await page.locator(".messages tbody tr").first().locator("td").last().textContent();
  assert.match(newest, /360009/);
  assert.deepEqual(page.problems, []);
  pump.end();
  await page.context().close();
});
