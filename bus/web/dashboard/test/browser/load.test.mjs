// This file is the dashboard under load: ten thousand topics, a thousand events a second.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Bus, closeAll, open, sleep } from "./kit.mjs";

const topics = 10_000;
const perSecond = 1000;
const seconds = Number(process.env.LOAD_SECONDS ?? 20);
const traced = Math.min(seconds, 20); // the last of them: a longer trace fits into no string

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

// busy lists the tasks of the page's own thread, by the processor time that each took, in milliseconds:
// on a machine that others use, the time that passed says little.
function busy(trace) {
  const threads = trace.filter((e) => e.name === "thread_name" && e.args.name === "CrRendererMain");
  const of = (t) => trace.filter((e) => e.pid === t.pid && e.tid === t.tid && e.ph === "X" && e.name.includes("RunTask"));
  const tasks = threads.map(of).sort((a, b) => b.length - a.length)[0];
  return tasks.map((e) => (e.tdur ?? 0) / 1000).sort((a, b) => b - a);
}

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
  await page.evaluate(() => (window.long = [], window.frames = []));
  const before = await heap(page);
  const heaps = [];
  for (let left = seconds - traced; left > 0; left -= 60) {
    await run(Math.min(left, 60));
    heaps.push(await heap(page));
  }
  if (heaps.length) console.log(`# heap, minute by minute: ${heaps.map((h) => (h / 1e6).toFixed(1)).join(", ")} MB`);
  await page.evaluate(() => (window.long = [], window.frames = []));
  const browser = page.context().browser();
  await browser.startTracing(page, { categories: ["toplevel", "devtools.timeline", "disabled-by-default-devtools.timeline"] });
  const scroll = setInterval(() => page.locator(".tree").evaluate((e) => e.scrollBy(0, 200)).catch(() => {}), 250);
  const sent = await run(traced);
  clearInterval(scroll);
  const tasks = busy(JSON.parse((await browser.stopTracing()).toString()).traceEvents);
  const { long, frames } = await page.evaluate(() => ({ long: window.long, frames: window.frames }));
  const after = await heap(page);
  frames.sort((a, b) => a - b);
  const rows = await page.locator(".row:visible").count();
  const at = (q) => frames[Math.floor(frames.length * q)]?.toFixed(1);
  console.log(`# ${sent} events in ${traced} s over ${topics} topics: the largest tasks took ${tasks.slice(0, 5).map((t) => t.toFixed(0)).join(", ")} ms of processor time, ${long.length} lasted over 50 ms ${JSON.stringify(long)}, frames p50 ${at(0.5)} ms p99 ${at(0.99)} ms, heap ${(before / 1e6).toFixed(1)} -> ${(after / 1e6).toFixed(1)} MB, ${rows} rows drawn`);
  assert.ok(rows > 10 && rows < 60, `${rows} rows`);
  assert.ok(tasks[0] < 50, `a task of ${tasks[0]} ms`);
  assert.ok(long.length <= 1 + traced / 5, `long tasks: ${long}`);
  assert.ok(after - before < 8e6, "the heap grows");
  assert.deepEqual(page.problems, []);
  pump.end();
});
