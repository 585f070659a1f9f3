// This file plays the scenarios with postbus and with Socket.IO and its connection state recovery, in one run,
// and prints what each lost. Run `npm ci` in test/compare first. --long adds an absence of more than the two
// minutes that Socket.IO remembers; --only=TEXT plays the scenarios whose name has it.

import { spawn } from "node:child_process";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import { play, scenarios } from "./browser/scenarios.mjs";
import { freePort, launch, sleep, startBus, startPublisher, startWeb, until } from "./browser/stage.mjs";

const rate = 200;
const require = createRequire(new URL("./compare/", import.meta.url));
const { io } = require("socket.io-client");

async function startSocketIO() {
  const server = { httpPort: await freePort() };
  server.start = async () => {
    server.process = spawn(process.execPath, [fileURLToPath(new URL("./compare/server.mjs", import.meta.url)), String(server.httpPort)], { stdio: "inherit" });
    await until(() => fetch(`http://127.0.0.1:${server.httpPort}/`).then((r) => r.ok, () => false), "the Socket.IO server");
  };
  server.kill = () =>
    new Promise((resolve) => {
      server.process.once("exit", resolve);
      server.process.kill("SIGKILL");
    });
  await server.start();
  return server;
}

/** As startPublisher: the same rate, acknowledged and tried again until it is. */
async function socketIOPublisher(server, topic) {
  const socket = io(`http://127.0.0.1:${server.httpPort}`, { transports: ["websocket"], retries: 1000, ackTimeout: 500, reconnectionDelay: 50, reconnectionDelayMax: 100 });
  await until(() => socket.connected, "the publisher is connected");
  const p = { sent: 0, acked: 0, at: [] };
  const began = performance.now();
  const timer = setInterval(() => {
    for (const due = ((performance.now() - began) / 1000) * rate; p.sent < due; ) {
      const n = ++p.sent;
      socket.emit("publish", topic, { n }, () => {
        p.acked++;
        p.at[n] = performance.timeOrigin + performance.now();
      });
    }
  }, 5);
  p.stop = async () => {
    clearInterval(timer);
    await until(() => p.acked === p.sent, "the publisher's acknowledgements", 60_000);
    socket.close();
  };
  return p;
}

/** 50 emits of an offline page that is then closed and opened again: how many arrive. */
async function closed(target, count) {
  const context = await launch();
  await context.exposeBinding("record", () => {});
  let page = await context.newPage();
  const url = `${target.web.url}/${target.page}?topic=closed/in`;
  await page.goto(url);
  await until(() => page.evaluate(() => window.isOnline?.()), "online");
  target.web.cut = true;
  target.web.drop();
  await until(() => page.evaluate(() => !window.isOnline()), "offline");
  await page.evaluate(() => {
    for (let n = 1; n <= 50; n++) {
      if (window.bus) bus.emit("closed/out", { n }).catch(() => {});
      else socket.emit("publish", "closed/out", { n }, () => {});
    }
  });
  await sleep(500);
  await page.close();
  target.web.cut = false;
  page = await context.newPage();
  await page.goto(url);
  await until(() => page.evaluate(() => window.isOnline?.()), "online");
  await sleep(2000);
  const arrived = await count();
  await context.close();
  return arrived;
}

const bus = await startBus("compared");
const sio = await startSocketIO();
const targets = {
  postbus: { page: "stream.html", server: bus, web: await startWeb(bus), startPublisher: (t) => startPublisher(bus, t, rate) },
  "Socket.IO": { page: "socketio.html", server: sio, web: await startWeb(sio), startPublisher: (t) => socketIOPublisher(sio, t) },
};

const long = {
  name: "offline for 130 s",
  async run({ page, web }) {
    web.cut = true;
    web.drop();
    await sleep(130_000);
    web.cut = false;
    await until(() => page.evaluate(() => window.isOnline()), "online again");
  },
};
const only = process.argv.find((a) => a.startsWith("--only="))?.slice(7) ?? "";
const played = [...scenarios, ...(process.argv.includes("--long") ? [long] : [])].filter((s) => s.name.includes(only));

const rows = [];
for (const scenario of played) {
  const row = [scenario.name];
  for (const [name, target] of Object.entries(targets)) {
    const r = await play(scenario, target, rate);
    row.push(`${r.lost} of ${r.published}`, r.disorder, r.repeats, name === "postbus" ? `${r.missed} (${r.late})` : "not told");
    console.error(name, JSON.stringify(r));
  }
  rows.push(row);
}

const seen = { postbus: new Set(), "Socket.IO": new Set() };
const listener = io(`http://127.0.0.1:${sio.httpPort}`, { transports: ["websocket"], auth: { topic: "closed/out" } });
listener.on("event", (e) => seen["Socket.IO"].add(e.n));
await until(() => listener.connected, "the listener");
const events = async () => new Set((await (await fetch(`http://127.0.0.1:${bus.httpPort}/api/v1/events?filter=closed/out`)).json()).events.map((e) => JSON.parse(e.payload).n)).size;
const arrived = [await closed(targets.postbus, events), await closed(targets["Socket.IO"], async () => seen["Socket.IO"].size)];
rows.push(["50 emits of an offline page, closed and opened again", ...arrived.flatMap((n) => [`${50 - n} of 50`, "", "", ""])]);

console.log(`| ${rate} events a second | postbus lost | disorder | repeats | told missed (true) | Socket.IO lost | disorder | repeats | told missed |`);
console.log("|---|---|---|---|---|---|---|---|---|");
for (const r of rows) console.log(`| ${r.join(" | ")} |`);

listener.close();
for (const t of Object.values(targets)) t.web.close();
await bus.stop();
await sio.kill();
