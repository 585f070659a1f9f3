// This file is the dashboard under load: ten thousand topics, a thousand events a second.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Bus, closeAll, open, sleep } from "./kit.mjs";

const topics = 10_000;
const perSecond = 1000;
const seconds = Number(process.env.LOAD_SECONDS ?? 20);

let bus;
before(async () => (bus = await Bus.start()));
after(() => closeAll(bus));

const name = (i) => `house/floor-${i % 10}/room-${Math.floor(i / 10) % 100}/sensor-${Math.floor(i / 1000)}`;
const heap = async (page) => {
  const cdp = await page.context().newCDPSession(page);
  await cdp.send("HeapProfiler.collectGarbage");
  const { usedSize } = await cdp.send("Runtime.getHeapUsage");
  await cdp.detach();
  return usedSize;
};

test("10,000 topics and 1,000 updates a second do not make it stutter", async () => {
  const pump = await bus.pump();
  for (let from = 0; from < topics; from += 500) {
    pump.send(Array.from({ length: 500 }, (_, i) => [name(from + i), from + i]), 1, true);
    await sleep(30);
  }
  for (let i = 0; i < 100; i++) {
    const list = await (await fetch(`${bus.url}/api/v1/bus`)).json();
    if (list.retained >= topics) break;
    await sleep(100);
  }
  const page = await open(bus, "#/live?topic=house/floor-0/room-0/sensor-0");
  await page.waitForFunction((n) => Number(/([\d,]+) topic/.exec(document.querySelector(".foot").textContent)?.[1].replaceAll(",", "")) >= n, topics);
  // Everything open: the whole list scrolls.
  await page.keyboard.press("/");
  await page.keyboard.type("house/#");
  await page.keyboard.press("Enter");
  await page.keyboard.press("Escape");
  await sleep(1500);
  await page.evaluate(() => {
    window.long = [];
    window.frames = [];
    new PerformanceObserver((l) => window.long.push(...l.getEntries().map((e) => Math.round(e.duration)))).observe({ type: "longtask" });
    // What a long frame was spent on, where the browser tells.
    window.blame = [];
    new PerformanceObserver((l) => {
      for (const e of l.getEntries()) if (e.blockingDuration > 0) window.blame.push(`${Math.round(e.duration)} ms: ${e.scripts.map((s) => `${s.invoker} ${s.sourceFunctionName} ${Math.round(s.duration)}`).join(", ")}`);
    }).observe({ type: "long-animation-frame" });
    let last = performance.now();
    const tick = (now) => {
      window.frames.push(now - last);
      last = now;
      requestAnimationFrame(tick);
    };
    requestAnimationFrame(tick);
  });
  let x = 0;
  const run = async (s) => {
    const end = Date.now() + s * 1000;
    const from = Date.now();
    let sent = 0;
    while (Date.now() < end) {
      const due = Math.floor(((Date.now() - from) / 1000) * perSecond) - sent;
      if (due > 0) pump.send(Array.from({ length: due }, () => [name((x++ * 7919) % topics), (20 + Math.random()).toFixed(2)]));
      sent += Math.max(due, 0);
      await sleep(20);
    }
    return sent;
  };
  await run(4); // until the first numbers are there
  await page.evaluate(() => (window.long = [], window.frames = [], window.blame = []));
  const before = await heap(page);
  const scroll = setInterval(() => page.locator(".tree").evaluate((e) => e.scrollBy(0, 200)).catch(() => {}), 250);
  const sent = await run(seconds);
  clearInterval(scroll);
  await sleep(500);
  const { long, frames, blame } = await page.evaluate(() => ({ long: window.long, frames: window.frames, blame: window.blame }));
  const after = await heap(page);
  frames.sort((a, b) => a - b);
  const rows = await page.locator(".row:visible").count();
  const at = (q) => frames[Math.floor(frames.length * q)]?.toFixed(1);
  console.log(`# ${sent} events in ${seconds} s over ${topics} topics: ${long.length} long tasks ${JSON.stringify(long)}, frames p50 ${at(0.5)} ms p99 ${at(0.99)} ms, heap ${(before / 1e6).toFixed(1)} -> ${(after / 1e6).toFixed(1)} MB, ${rows} rows drawn`);
  for (const b of blame) console.log(`# ${b}`);
  assert.ok(rows > 10 && rows < 60, `${rows} rows`);
  assert.ok(long.length <= 3, `long tasks: ${long}`);
  assert.ok(after - before < 8e6, "the heap grows");
  assert.deepEqual(page.problems, []);
  pump.end();
});
