// This file is what a page goes through while events are published, the same for postbus and for what it is
// compared with. A page shows window.isOnline(), window.failures, and calls record() for each event handled.

import { launch, Log, sleep, until } from "./stage.mjs";

const online = (page, ms) => until(() => page.evaluate(() => window.isOnline?.()), "online again", ms);

export const scenarios = [
  {
    name: "nothing happens",
    run: () => sleep(2000),
  },
  {
    name: "the clock jumps an hour on, and nothing else",
    async run({ page }) {
      await page.evaluate(() => {
        const real = Date.now;
        Date.now = () => real() + 3_600_000;
      });
      await sleep(3000);
    },
  },
  {
    name: "offline for 30 s (network emulation)",
    async run({ page, context }) {
      await context.setOffline(true);
      await sleep(30_000);
      await context.setOffline(false);
      await online(page);
    },
  },
  {
    name: "the cable is out for 10 s, nobody is told",
    async run({ page, web }) {
      web.hang = web.cut = true;
      await sleep(10_000);
      web.drop();
      web.hang = web.cut = false;
      await online(page);
    },
  },
  {
    name: "reloaded in mid-stream, three times",
    async run({ page }) {
      for (let i = 0; i < 3; i++) {
        await page.reload();
        await online(page);
        await sleep(500);
      }
    },
  },
  {
    name: "a callback throws half way, then the page is reloaded",
    query: "&throw=100",
    async run({ page, url }) {
      await until(() => page.evaluate(() => window.failures > 0), "the callback threw");
      await page.goto(url.replace(/&throw=\d+/, ""));
      await online(page);
    },
  },
  {
    name: "the tab crashes and is opened again",
    query: "&id=kiosk",
    async run({ page, context, url }) {
      const cdp = await context.newCDPSession(page);
      const crashed = new Promise((r) => page.once("crash", r));
      cdp.send("Page.crash").catch(() => {});
      await crashed;
      await sleep(500);
      const next = await context.newPage();
      await next.goto(url);
      await online(next);
      return next;
    },
  },
  {
    name: "the server is killed with -9 and started, twice",
    async run({ page, server }) {
      for (let i = 0; i < 2; i++) {
        await server.kill();
        await sleep(1000);
        await server.start();
        await online(page);
        await sleep(700);
      }
    },
  },
  {
    name: "the machine sleeps: no timer runs, the clock jumps, the connection is dead",
    async run({ page, web }) {
      web.hang = true;
      await page.evaluate(() => {
        const real = Date.now;
        const end = performance.now() + 3000;
        while (performance.now() < end);
        Date.now = () => real() + 3_600_000;
      });
      web.hang = false;
      web.drop();
      await sleep(200);
      await online(page);
    },
  },
];

let number = 0;

/**
 * Runs a scenario in a new browser. target: {page, server, web, startPublisher(topic, rate)}. Answers with
 * what was lost and how often the page was right about what it missed.
 */
export async function play(scenario, target, rate = 200) {
  const context = await launch();
  const log = new Log();
  await log.attach(context);
  const errors = [];
  context.on("weberror", (e) => errors.push(e.error().message));
  let page = await context.newPage();
  const topic = `recovery/${++number}`;
  const url = `${target.web.url}/${target.page}?topic=${topic}${scenario.query ?? ""}`;
  await page.goto(url);
  await online(page);
  await sleep(300);
  const source = await target.startPublisher(topic, rate);
  await sleep(2000);
  page = (await scenario.run({ page, context, url, web: target.web, server: target.server })) ?? page;
  await sleep(2000);
  await source.stop();
  // Until all is there, or nothing has come for 3 s.
  for (let n = -1; log.numbers.size < source.sent && n !== log.entries.length; ) {
    n = log.entries.length;
    await sleep(3000);
  }
  await sleep(300);
  // What was on its way to the test when the page went is kept by the page.
  const kept = await page.evaluate((t) => Object.keys(localStorage).filter((k) => k.startsWith(`${t}/`)).map((k) => JSON.parse(localStorage[k])), topic);
  log.entries.push(...kept.filter((e) => !log.numbers.has(e.n)));
  log.entries.sort((a, b) => a.at - b.at);
  const { status, back, dialled } = await page.evaluate(() => ({ status: window.bus?.current, back: window.onlineAt, dialled: window.dialledAt }));
  // The truth: accepted by the server before the page was back, handled for the first time after it.
  const seen = new Set();
  let late = 0;
  // How busy the machine is decides when somebody gets to see what happened. What is certain: an event that was acknowledged
  // before the page began to connect was accepted before it was back, one that was sent after it was back was not.
  const certain = { least: 0, most: 0 };
  for (const e of log.entries) {
    if (!seen.has(e.n) && e.at >= back) {
      if (source.at[e.n] < back) late++;
      if (source.at[e.n] < dialled) certain.least++;
      if (source.sentAt?.[e.n] < back) certain.most++;
    }
    seen.add(e.n);
  }
  await context.close();
  return { name: scenario.name, ...log.judge(source.sent), missed: status?.missed, late, ...certain, errors };
}
