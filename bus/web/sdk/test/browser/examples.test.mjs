// This file uses the example pages as a reader would.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { launch, startBus, startWeb, until } from "./stage.mjs";

let bus, web, context;
const complaints = [];

before(async () => {
  bus = await startBus();
  web = await startWeb(bus);
  context = await launch();
  context.on("weberror", (e) => complaints.push(String(e.error())));
  context.on("console", (m) => m.type() === "error" && complaints.push(m.text()));
});
after(async () => {
  await context.close();
  web.close();
  await bus.stop();
});

async function open(name) {
  const page = await context.newPage();
  await page.goto(`${web.url}/examples/${name}`);
  await until(() => page.textContent("#state"), "connected");
  return page;
}
const publish = (topic, payload) =>
  fetch(`http://127.0.0.1:${bus.httpPort}/api/v1/publish`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ topic, payload, qos: 1 }) }).then(async (r) => assert.ok(r.ok, await r.text()));
const shows = (page, selector, want) => until(async () => want.test(await page.textContent(selector)), `${selector} shows ${want}`);

test("thermometer", async () => {
  await publish("home/kitchen/temperature", "19.5");
  const page = await open("thermometer.html");
  await shows(page, "#now", /19\.5 °C/);
  await publish("home/kitchen/temperature", "20.5");
  await shows(page, "#now", /20\.5 °C/);
  await page.locator("#be").fill("33.3");
  await shows(page, "#now", /33\.3 °C/);
  assert.equal((await page.getAttribute("#line", "points")).split(" ").length, 3);
  await page.reload();
  await shows(page, "#now", /33\.3 °C/);
});

test("switch", async () => {
  const [a, b] = [await open("switch.html"), await context.newPage()];
  await b.goto(`${web.url}/examples/switch.html`);
  await a.click("#switch");
  await shows(a, "#answer", /no answer/);
  await b.check("#lamp");
  await until(async () => {
    await a.click("#switch");
    return until(async () => /the lamp says/.test(await a.textContent("#answer")), "an answer", 1000).catch(() => false);
  }, "the lamp answers");
  await shows(a, "#switch", /on/);
  await shows(b, "#switch", /on/);
  await a.reload();
  await shows(a, "#switch", /on/);
});

test("chat", async () => {
  const [a, b] = [await open("chat.html"), await open("chat.html")];
  await a.fill("#text", "hello");
  await a.press("#text", "Enter");
  await shows(b, "#said", /web-\w+: hello/);
  await shows(a, "#said", /you: hello/);
  await b.goto("about:blank");
  await a.fill("#text", "are you there?");
  await a.press("#text", "Enter");
  await b.goBack();
  await shows(b, "#said", /hello.*are you there/s);
  assert.equal(await b.locator("#said li").count(), 2);
});

test("nothing broke the CSP, and no page had an error", () => assert.deepEqual(complaints, []));
