// This file is what the browser tests stand on: a bus of their own, a web server in front of it that can cut
// its connections, a publisher that is not a browser, and Chromium.

import { execFileSync, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, existsSync } from "node:fs";
import http from "node:http";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import mqtt from "mqtt";
import { chromium } from "playwright-core";

export const sleep = (ms) => new Promise((r) => setTimeout(r, ms));
const root = fileURLToPath(new URL("../../", import.meta.url));

/** Waits until f is truthy. */
export async function until(f, what, ms = 20_000) {
  for (const end = Date.now() + ms; ; await sleep(50)) {
    const v = await f();
    if (v) return v;
    if (Date.now() > end) throw new Error(`${what}: not within ${ms} ms`);
  }
}

export const freePort = () =>
  new Promise((resolve) => {
    const s = net.createServer().listen(0, "127.0.0.1", () => {
      const { port } = s.address();
      s.close(() => resolve(port));
    });
  });

export const scratch = mkdtempSync(join(tmpdir(), "postbus-sdk-"));
process.on("exit", () => rmSync(scratch, { recursive: true, force: true }));

// The program refuses variables that are not its own.
const { POSTBUS_BIN, ...ours } = process.env;
export const env = ours;
let binary = POSTBUS_BIN;
export function program() {
  if (!binary) {
    binary = join(scratch, "postbus");
    execFileSync("go", ["build", "-o", binary, "./cmd/postbus"], { cwd: join(root, "../../.."), stdio: "inherit" });
  }
  return binary;
}

/** A bus with a data directory of its own; kill() is kill -9, start() again keeps ports and data. */
export async function startBus(name = "bus", args = []) {
  const dir = join(scratch, name);
  const bus = { mqttPort: await freePort(), httpPort: await freePort(), data: join(dir, "data") };
  bus.start = async () => {
    bus.process = spawn(
      program(),
      ["run", "--data-dir", bus.data, "--plugins-dir", join(dir, "plugins"), "--mqtt", `tcp://127.0.0.1:${bus.mqttPort}`, "--http", `127.0.0.1:${bus.httpPort}`, "--log-level", "warn", ...args],
      { env, stdio: ["ignore", process.env.VERBOSE ? "inherit" : "ignore", process.env.VERBOSE ? "inherit" : "ignore"] },
    );
    await until(() => fetch(`http://127.0.0.1:${bus.httpPort}/readyz`).then((r) => r.ok, () => false), "the bus is ready");
  };
  bus.stop = (signal = "SIGTERM") =>
    new Promise((resolve) => {
      bus.process.once("exit", resolve);
      bus.process.kill(signal);
    });
  bus.kill = () => bus.stop("SIGKILL");
  process.on("exit", () => bus.process.kill("SIGKILL")); // also when a test gave up
  await bus.start();
  return bus;
}

// A bus on loopback answers only to loopback's names; a proxy that gives it another says so itself.
const here = (header) => header.replace("pi.local", "127.0.0.1");

const csp = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'";
const types = { js: "text/javascript", html: "text/html", css: "text/css" };

/** Serves dist/, test/browser/pages/ and the example pages, and hands the rest to the bus, as a reverse proxy would. */
export async function startWeb(bus) {
  const sockets = new Set();
  const files = { "/postbus.js": join(root, "dist/postbus.js"), "/postbus.global.js": join(root, "dist/postbus.global.js") };
  const web = { cut: false, hang: false };
  const server = http.createServer((req, res) => {
    const path = req.url.split("?")[0];
    if (path === "/favicon.ico") return res.writeHead(204).end();
    const file = files[path] ?? join(root, path.startsWith("/examples/") ? "../../../docs" : "test/browser/pages", path);
    if (/^(\/examples)?\/[\w.-]+$/.test(path) && existsSync(file)) {
      res.writeHead(200, { "content-type": types[path.split(".").pop()] ?? "application/octet-stream", "content-security-policy": csp, "cache-control": "no-store" });
      return res.end(readFileSync(file));
    }
    if (web.cut) return req.socket.destroy();
    const up = http.request({ host: "127.0.0.1", port: bus.httpPort, path: req.url, method: req.method, headers: { ...req.headers, host: here(req.headers.host) } }, (r) => {
      res.writeHead(r.statusCode, r.headers);
      r.pipe(res);
    });
    up.on("error", () => res.writeHead(502).end());
    req.pipe(up);
  });
  server.on("upgrade", (req, socket, head) => {
    if (web.cut) return socket.destroy();
    const up = net.connect(bus.httpPort, "127.0.0.1", () => {
      const lines = [`GET ${req.url} HTTP/1.1`];
      for (let i = 0; i < req.rawHeaders.length; i += 2) lines.push(`${req.rawHeaders[i]}: ${here(req.rawHeaders[i + 1])}`);
      up.write(lines.join("\r\n") + "\r\n\r\n");
      up.write(head);
      // hang: the cable is out, and neither side is told.
      up.on("data", (d) => web.hang || socket.write(d));
      socket.on("data", (d) => web.hang || up.write(d));
    });
    const end = () => (up.destroy(), socket.destroy(), sockets.delete(socket));
    for (const s of [up, socket]) s.on("error", end).on("close", end);
    sockets.add(socket);
  });
  web.drop = () => sockets.forEach((s) => s.destroy());
  await new Promise((r) => server.listen(0, "127.0.0.1", r));
  web.url = `http://127.0.0.1:${server.address().port}`;
  web.close = () => (web.drop(), server.closeAllConnections(), server.close());
  return web;
}

/** Publishes {"n": 1}, {"n": 2}… at a steady rate, and keeps when each was acknowledged. */
export async function startPublisher(bus, topic, rate = 200) {
  const client = await mqtt.connectAsync(`mqtt://127.0.0.1:${bus.mqttPort}`, { protocolVersion: 5, clientId: `source-${Math.random().toString(16).slice(2)}`, clean: false, properties: { sessionExpiryInterval: 3600 }, reconnectPeriod: 100 });
  client.on("error", () => {});
  const p = { sent: 0, acked: 0, sentAt: [], at: [] };
  const began = performance.now();
  const timer = setInterval(() => {
    for (const due = ((performance.now() - began) / 1000) * rate; p.sent < due; ) {
      const n = ++p.sent;
      p.sentAt[n] = performance.timeOrigin + performance.now();
      client.publish(topic, JSON.stringify({ n }), { qos: 1 }, (e) => {
        if (e) throw e;
        p.acked++;
        p.at[n] = performance.timeOrigin + performance.now();
      });
    }
  }, 5);
  p.stop = async () => {
    clearInterval(timer);
    await until(() => p.acked === p.sent, "the publisher's acknowledgements");
    await client.endAsync(true);
  };
  return p;
}

export const flags = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];

export function launch(options = {}) {
  return chromium.launchPersistentContext(mkdtempSync(join(scratch, "profile-")), {
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: flags,
    ...options,
  });
}

/** What pages have handled, over reloads and crashes: each call of record() leaves the page at once. */
export class Log {
  entries = [];
  async attach(context) {
    await context.exposeBinding("record", (_source, entry) => void this.entries.push(entry));
  }
  get numbers() {
    return new Set(this.entries.map((e) => e.n));
  }
  /** What is wrong with 1..last: lost, out of order at the first coming, repeated. */
  judge(last, entries = this.entries) {
    const first = [...new Set(entries.map((e) => e.n))];
    const have = new Set(first);
    const lost = [];
    for (let n = 1; n <= last; n++) if (!have.has(n)) lost.push(n);
    return { published: last, lost: lost.length, disorder: first.filter((n, i) => i > 0 && n < first[i - 1]).length, repeats: entries.length - first.length };
  }
}
