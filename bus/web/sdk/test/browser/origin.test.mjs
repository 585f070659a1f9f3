// This file is a page of another server that imports the SDK from the bus: it finds its way there by the
// script's own address, if the bus names the page's origin; and otherwise it gets nothing.

import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import http from "node:http";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { freePort, launch, scratch, startBus, until } from "./stage.mjs";

let bus, server, context, port;
const page = (script) => `<!doctype html><meta charset="utf-8"><title>elsewhere</title><script type="module">${script}</script>`;

before(async () => {
  port = await freePort();
  const config = join(scratch, "origin.yaml");
  writeFileSync(config, `listen: {origins: ["http://127.0.0.1:${port}"]}\n`);
  bus = await startBus("origin", ["--config", config]);
  server = http
    .createServer((_req, res) => {
      res.writeHead(200, { "content-type": "text/html" });
      res.end(page(`
        window.failed = undefined;
        try {
          const { connect } = await import("http://127.0.0.1:${bus.httpPort}/postbus.js");
          window.bus = await connect();
        } catch (e) { window.failed = String(e); }`));
    })
    .listen(port, "127.0.0.1");
  context = await launch();
});
after(async () => {
  await context.close();
  server.closeAllConnections();
  server.close();
  await bus.stop();
});

test("an origin that the bus names", async () => {
  const p = await context.newPage();
  await p.goto(`http://127.0.0.1:${port}/`);
  await until(() => p.evaluate(() => window.bus?.current.state === "online"), "online");
  const r = await p.evaluate(async () => {
    const heard = new Promise((resolve) => window.bus.on("far/away", (e) => resolve(e.text)));
    await window.bus.emit("far/away", "hello");
    return [await heard, (await window.bus.history("far/#")).map((e) => e.text)];
  });
  assert.deepEqual(r, ["hello", ["hello"]]);
  await until(() => p.evaluate(() => window.bus.current.epoch), "the epoch");
  await p.close();
});

test("an origin that it does not", async () => {
  const p = await context.newPage();
  await p.goto(`http://localhost:${port}/`);
  await until(() => p.evaluate(() => window.failed), "refused");
  assert.match(await p.evaluate(() => window.failed), /Failed to fetch/);
  await p.close();
});
