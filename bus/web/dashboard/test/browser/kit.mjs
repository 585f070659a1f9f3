// This file is what the browser tests stand on: a bus of their own, a page, and events to look at.

import { execFileSync, spawn } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { chromium } from "playwright-core";
import { serve } from "./serve.mjs";

export { sleep };

const here = new URL("../..", import.meta.url).pathname;
export const shots = process.env.SHOTS ?? join(tmpdir(), "postbus-dashboard-shots");
mkdirSync(shots, { recursive: true });

let binary = process.env.POSTBUS_BIN ?? "";
// binaryPath is POSTBUS_BIN, or what go build makes of the source.
export function binaryPath() {
  if (binary && existsSync(binary)) return binary;
  binary = join(mkdtempSync(join(tmpdir(), "postbus-bin-")), "postbus");
  execFileSync("go", ["build", "-o", binary, "./cmd/postbus"], { cwd: join(here, "../../.."), stdio: "inherit" });
  return binary;
}

function freePort() {
  return new Promise((resolve) => {
    const s = net.createServer().listen(0, "127.0.0.1", () => {
      const { port } = s.address();
      s.close(() => resolve(port));
    });
  });
}

// Bus is a postbus on fixed ports, so that it can be killed and started again.
export class Bus {
  static async start(config = "") {
    const b = new Bus();
    b.dir = mkdtempSync(join(tmpdir(), "postbus-dash-"));
    b.plugins = join(b.dir, "plugins");
    mkdirSync(b.plugins);
    b.httpPort = await freePort();
    b.mqttPort = await freePort();
    b.config = config;
    await b.up();
    return b;
  }

  get url() {
    return `http://127.0.0.1:${this.httpPort}`;
  }

  async up() {
    const args = ["run", "--data-dir", join(this.dir, "data"), "--plugins-dir", this.plugins, "--mqtt", `tcp://127.0.0.1:${this.mqttPort}`, "--http", `127.0.0.1:${this.httpPort}`];
    if (this.config) args.push("--config", this.config);
    this.log = "";
    // The bus reads POSTBUS_… as its config, and refuses what it does not know.
    const env = Object.fromEntries(Object.entries(process.env).filter(([k]) => !k.startsWith("POSTBUS_")));
    this.process = spawn(binaryPath(), args, { env, stdio: ["ignore", "pipe", "pipe"] });
    for (const s of [this.process.stdout, this.process.stderr]) s.on("data", (d) => (this.log = (this.log + d).slice(-20_000)));
    for (let i = 0; i < 200; i++) {
      if (await fetch(this.url + "/readyz").then((a) => a.ok, () => false)) return;
      await sleep(50);
    }
    throw new Error("the bus did not start:\n" + this.log);
  }

  async kill() {
    const gone = new Promise((done) => this.process.once("exit", done));
    this.process.kill("SIGKILL");
    await gone;
  }

  async stop() {
    await this.kill();
    rmSync(this.dir, { recursive: true, force: true });
  }

  async publish(topic, payload, more = {}) {
    const body = payload instanceof Uint8Array ? { payload_base64: Buffer.from(payload).toString("base64") } : { payload: String(payload) };
    const a = await fetch(this.url + "/api/v1/publish", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ topic, ...body, ...more }) });
    if (!a.ok) throw new Error(await a.text());
    return (await a.json()).seq;
  }

  // pump opens one raw MQTT 3.1.1 connection that publishes at QoS 0 or 1 as fast as it is told.
  async pump(name = "pump") {
    const s = net.connect(this.mqttPort, "127.0.0.1");
    await new Promise((done, bad) => s.once("connect", done).once("error", bad));
    const text = (t) => Buffer.concat([Buffer.from([t.length >> 8, t.length & 255]), Buffer.from(t)]);
    const packet = (first, ...parts) => {
      const body = Buffer.concat(parts);
      const size = [];
      let n = body.length;
      do {
        size.push(n > 127 ? (n & 127) | 128 : n);
        n >>= 7;
      } while (n > 0);
      return Buffer.concat([Buffer.from([first, ...size]), body]);
    };
    s.write(packet(0x10, text("MQTT"), Buffer.from([4, 2, 0, 0]), text(name)));
    await new Promise((done) => s.once("data", done));
    s.on("data", () => {});
    s.on("error", () => {});
    let id = 0;
    return {
      send(list, qos = 0, retain = false) {
        s.write(Buffer.concat(list.map(([t, p]) => packet(0x30 | (qos << 1) | (retain ? 1 : 0), text(t), ...(qos ? [Buffer.from([(id = (id % 65535) + 1) >> 8, id & 255])] : []), Buffer.from(String(p))))));
      },
      end: () => s.destroy(),
    };
  }
}

// page opens the dashboard of a bus: its own, or dist/ in front of it.
let browser;
export async function open(bus, hash = "", options = {}) {
  browser ??= await chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--enable-precise-memory-info"],
  });
  let base = bus.url + "/";
  const own = (await fetch(base)).headers.get("content-type")?.includes("html");
  if (!own || process.env.FROM_DIST) {
    bus.front ??= await serve(join(here, "dist"), bus.httpPort);
    base = bus.front.url;
  }
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...options });
  const page = await context.newPage();
  page.problems = [];
  page.on("pageerror", (e) => page.problems.push(String(e)));
  page.on("console", (m) => {
    // A bus that is killed makes the browser say so.
    if (m.type() === "error" && !/ERR_|WebSocket|Failed to load resource/.test(m.text())) page.problems.push(m.text());
  });
  await page.goto(base + hash);
  return page;
}

export async function closeAll(bus) {
  await browser?.close();
  browser = undefined;
  await bus?.front?.close();
  await bus?.stop();
}

export const row = (page, name) => page.locator(".row:visible", { has: page.locator(`.name:text-is("${name}")`) }).first();
