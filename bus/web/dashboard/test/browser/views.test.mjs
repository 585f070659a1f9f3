// This file looks at the views Plugins, Sessions and Bus, at the keyboard, and at how it all looks.

import assert from "node:assert/strict";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import net from "node:net";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { Bus, closeAll, open, row, shots, sleep } from "./kit.mjs";

let bus;
const good = `description: the clock
source: {timer: {every: 500ms}}
publish:
  - topic: home/clock
    payload: "\${date(event.time).Second()}"
    retain: true
`;
const bad = good.replace("event.time", "evnt.time");
const write = (name, text) => writeFileSync(join(bus.plugins, name), text);

before(async () => {
  bus = await Bus.start();
  write("clock.yaml", good);
});
after(() => closeAll(bus));

const fine = (page) => assert.deepEqual(page.problems, []);

test("a plugin file that is broken shows its error, and loses it when mended", async () => {
  const page = await open(bus, "#/plugins");
  await page.locator(".plugin", { hasText: "clock" }).getByText("running").waitFor();
  await page.locator(".plugin", { hasText: "clock" }).click();
  await page.locator(".counters").waitFor();
  let from = Date.now();
  write("clock.yaml", bad);
  const error = page.locator(".error pre");
  await error.waitFor();
  const shown = Date.now() - from;
  const text = await error.textContent();
  assert.match(text, /clock\.yaml:\d+:\d+/, "the position");
  assert.match(text, /evnt/, "the reason");
  await page.locator(".error pre", { hasText: 'payload: "${date(evnt.time).Second()}"' }).filter({ hasText: "^" }).waitFor(); // to an administrator, as everybody is here
  assert.equal(await page.locator(".plugin .state").textContent(), "stale");
  await page.getByRole("tab", { name: /Plugins/ }).getByText("1!").waitFor();
  await page.screenshot({ path: `${shots}/plugins-error.png` });
  from = Date.now();
  write("clock.yaml", good);
  await error.waitFor({ state: "detached" });
  const gone = Date.now() - from;
  console.log(`# error shown after ${shown} ms, gone after ${gone} ms`);
  fine(page);
  await page.context().close();
});

test("what caused an event is shown, back to the source", async () => {
  write("chain.yaml", "source: {mqtt: {topics: [home/clock]}}\npublish:\n  - {topic: home/chain, payload: last}\n");
  const page = await open(bus, "#/live?topic=home/chain");
  await page.getByRole("button", { name: "what caused it?" }).click();
  const chain = page.getByRole("list", { name: "What caused it" });
  await chain.getByText("by plugin chain, publish[0] (line 3)").waitFor();
  await chain.getByText("by plugin clock, publish[0] (line 4)").waitFor();
  await chain.getByText("because of an event of its source timer, which is not in the journal").waitFor();
  assert.equal(await chain.locator("li").count(), 3);
  await page.screenshot({ path: `${shots}/live-causes.png` });
  await chain.getByRole("link", { name: "home/clock" }).click();
  await page.getByRole("heading", { name: "home/clock" }).waitFor();
  await chain.waitFor({ state: "detached" });
  rmSync(join(bus.plugins, "chain.yaml"));
  fine(page);
  await page.context().close();
});

test("a mistake is read without scrolling: its sentences are wrapped, its place is not", async () => {
  write("hint.yaml", "description: nothing comes in\npublish: [{topic: x}]\n"); // its hint has more than a hundred characters
  const page = await open(bus, "#/plugins?plugin=hint");
  await page.locator(".error pre .wrap").first().waitFor();
  const cut = await page.locator(".error pre .wrap").evaluateAll((all) => all.filter((e) => e.scrollWidth > e.clientWidth || e.getBoundingClientRect().right > e.closest(".error").getBoundingClientRect().right).length);
  assert.equal(cut, 0);
  assert.ok((await page.locator(".error pre .wrap", { hasText: "hint:" }).count()) > 0);
  for (const pre of await page.locator(".error pre").all()) assert.ok(await pre.evaluate((e) => e.scrollWidth <= e.clientWidth), "nothing to scroll at 1280 px");
  await page.screenshot({ path: `${shots}/plugins-hint.png` });
  fine(page);
  await page.context().close();
  rmSync(join(bus.plugins, "hint.yaml"));
});

test("the error is the one of the command line, word for word", async () => {
  write("clock.yaml", bad);
  const page = await open(bus, "#/plugins?plugin=clock");
  const shown = (await page.locator(".error pre", { hasText: "^" }).textContent()).trim(); // with the line, once the API has answered
  const list = await (await fetch(bus.url + "/api/v1/plugins/clock")).json();
  assert.equal(shown, list.errors[0].text.trim());
  write("clock.yaml", good);
  await page.locator(".error").waitFor({ state: "detached" });
  await page.context().close();
});

test("the trace reads as sentences, only while it is open; a topic leads to its plugin", async () => {
  const page = await open(bus, "#/live?topic=home/clock");
  await page.getByText("published by plugin").waitFor();
  await page.getByRole("link", { name: "→ trace" }).click();
  await page.locator(".verdict", { hasText: "published to home/clock" }).first().waitFor();
  const audience = async () => (await (await fetch(bus.url + "/api/v1/sessions")).json()).flatMap((s) => s.filters ?? []).filter((f) => f.endsWith("/trace"));
  await page.getByRole("button", { name: /^trace/ }).click();
  await page.locator(".trace").waitFor({ state: "detached" });
  for (let i = 0; i < 100 && (await audience()).length > 0; i++) await sleep(100);
  assert.deepEqual(await audience(), []);
  await page.getByRole("link", { name: "history of home/clock" }).click();
  await page.locator(".canvas").waitFor();
  fine(page);
  await page.context().close();
});

test("without plugins it says what to do; a plugin that waits says how to approve it", async () => {
  rmSync(join(bus.plugins, "clock.yaml"));
  const page = await open(bus, "#/plugins");
  await page.getByText("No plugins yet.").waitFor();
  write("lock.yaml", "source: {timer: {every: 1h}}\nactions:\n  - exec: {command: [/bin/true]}\n");
  await page.locator(".plugin", { hasText: "lock" }).click();
  await page.getByText("postbus plugin approve lock", { exact: true }).waitFor();
  await page.screenshot({ path: `${shots}/plugins-approve.png` });
  rmSync(join(bus.plugins, "lock.yaml"));
  await page.locator(".plugin", { hasText: "lock" }).waitFor({ state: "detached" });
  write("clock.yaml", good);
  fine(page);
  await page.context().close();
});

// stays is a connected client; its socket says when the bus ends it.
async function stays(name) {
  const s = net.connect(bus.mqttPort, "127.0.0.1");
  await new Promise((done) => s.once("connect", done));
  const t = (x) => Buffer.concat([Buffer.from([0, x.length]), Buffer.from(x)]);
  const connect = Buffer.concat([t("MQTT"), Buffer.from([4, 0, 0, 60]), t(name)]);
  s.write(Buffer.concat([Buffer.from([0x10, connect.length]), connect]));
  await new Promise((done) => s.once("data", done));
  return s;
}

// away leaves a persistent session behind that lags.
async function away(name) {
  const s = await stays(name);
  const t = (x) => Buffer.concat([Buffer.from([0, x.length]), Buffer.from(x)]);
  const sub = Buffer.concat([Buffer.from([0, 1]), t("lag/#"), Buffer.from([1])]);
  s.write(Buffer.concat([Buffer.from([0x82, sub.length]), sub]));
  await new Promise((done) => s.once("data", done));
  s.destroy();
  await sleep(100);
  for (let i = 0; i < 12; i++) await bus.publish("lag/x", i);
}

test("a client is disconnected after asking", async () => {
  const socket = await stays("lamp/1");
  const ended = new Promise((done) => socket.once("close", done));
  const page = await open(bus, "#/sessions");
  const line = page.locator("tr", { hasText: "lamp/1" });
  await line.getByText("online").waitFor();
  await line.getByRole("button", { name: /disconnect/ }).click();
  await page.getByText("nothing is lost").waitFor();
  await page.getByRole("button", { name: "Cancel" }).click();
  assert.equal(socket.closed, false);
  await line.getByRole("button", { name: /disconnect/ }).click();
  await page.getByRole("button", { name: "Disconnect", exact: true }).click();
  await ended;
  await line.getByText(/offline/).waitFor();
  await line.getByRole("button", { name: /drop/ }).waitFor();
  fine(page);
  await page.context().close();
});

test("a session that is away shows its lag and is dropped after asking", async () => {
  await away("kiosk/1");
  const page = await open(bus, "#/sessions");
  const line = page.locator("tr", { hasText: "kiosk/1" });
  await line.getByText("12").waitFor();
  await line.getByText(/offline/).waitFor();
  await page.screenshot({ path: `${shots}/sessions.png` });
  await line.getByRole("button", { name: /drop/ }).click();
  await page.getByText("12 events in its backlog are lost").waitFor();
  await page.getByRole("button", { name: "Cancel" }).click();
  await sleep(100);
  assert.equal(await line.count(), 1);
  await line.getByRole("button", { name: /drop/ }).click();
  await page.getByRole("button", { name: "Drop", exact: true }).click();
  await line.waitFor({ state: "detached" });
  await page.locator(".figures li.g1", { hasText: "12 lost" }).waitFor();
  fine(page);
  await page.context().close();

  // An hour later it is no news, for a page that opens then as well; the view Bus keeps the total.
  const later = await open(bus, "#/bus");
  await later.route("**/api/v1/bus", async (r) => {
    const answer = await r.fetch();
    await r.fulfill({ response: answer, json: { ...(await answer.json()), lost_last_hour: 0 } });
  });
  await later.reload();
  await later.getByText(/12 session dropped/).waitFor();
  const now = later.locator(".figures li", { hasText: "lost" });
  assert.equal(await now.textContent(), "0 lost");
  assert.equal(await now.getAttribute("class"), "");
  assert.match(await now.getAttribute("title"), /^0 lost in the last hour; since the start: 12 /);
  await later.context().close();
});

test("the bus shows its figures and its last warnings", async () => {
  const page = await open(bus, "#/bus");
  for (const t of ["syncs per event", "written per event", "acknowledgement", "disk sync", "damaged", "missing", "memory", "last warnings"]) await page.getByText(t, { exact: true }).waitFor();
  await page.locator(".warnings li").first().waitFor(); // the broken file above
  await page.screenshot({ path: `${shots}/bus.png` });
  fine(page);
  await page.context().close();
});

test("by keyboard alone: every view, a topic, the filter, search, a dialog", async () => {
  await bus.publish("keys/a", "1", { retain: true });
  await bus.publish("keys/b", '{"x":1,"y":2}', { retain: true });
  const page = await open(bus);
  await row(page, "a").waitFor();
  const focused = () => page.evaluate(() => document.activeElement?.textContent ?? "");
  const press = async (...keys) => {
    for (const k of keys) await page.keyboard.press(k);
  };
  await press("Tab"); // the tabs
  assert.equal(await focused(), "Live");
  for (const view of ["Plugins", "Sessions", "Bus", "Live"]) {
    await press("ArrowRight");
    await page.locator("[role=tab][aria-selected=true]", { hasText: view }).waitFor();
    assert.match(await focused(), new RegExp(view));
  }
  await press("Tab", "Tab", "Tab"); // search, filter, tree
  await press("Home");
  assert.match(await focused(), /home/);
  await press("ArrowLeft");
  assert.equal(await page.locator(".row:focus").getAttribute("aria-expanded"), "false");
  await press("ArrowRight", "ArrowDown");
  await page.locator(".row:focus").waitFor();
  await press("End");
  assert.match(await focused(), /\$SYS/);
  await press("Home");
  for (let i = 0; i < 20 && !(await focused()).includes("keys"); i++) await press("ArrowDown");
  await press("ArrowDown", "Enter");
  await page.getByRole("heading", { name: "keys/a" }).waitFor();
  await press("Delete");
  await page.getByText("Clear the retained event?").waitFor();
  await press("Escape");
  await page.getByRole("dialog").waitFor({ state: "detached" });
  await press("Escape");
  await page.getByRole("heading", { name: "keys/a" }).waitFor({ state: "detached" });
  assert.match(await focused(), /^.?a/, "the focus is back in the tree");
  await press("/");
  await page.keyboard.type("keys/b");
  await press("Enter", "Escape", "Escape");
  await press("Control+k");
  await page.getByRole("dialog", { name: "Search" }).waitFor();
  await page.keyboard.type("clock");
  await page.getByRole("option", { name: /^plugin clock/ }).waitFor();
  await press("Enter");
  await page.getByRole("heading", { name: "clock" }).waitFor();
  await press("Escape");
  await page.getByRole("heading", { name: "clock" }).waitFor({ state: "detached" });
  assert.match(await focused(), /clock/);
  fine(page);
  await page.context().close();
});

test("an Escape in the moment that a plugin is seen closes it", async () => {
  const page = await open(bus, "#/plugins");
  await page.locator("a[data-id=clock]").waitFor();
  await page.evaluate(() => {
    new MutationObserver((_, o) => {
      if (document.querySelector(".detail h2")?.textContent !== "clock") return;
      o.disconnect();
      dispatchEvent(new KeyboardEvent("keydown", { key: "Escape" }));
    }).observe(document.body, { childList: true, subtree: true, characterData: true });
    document.querySelector("a[data-id=clock]").click();
  });
  await page.waitForURL(/#\/plugins$/);
  await page.getByRole("heading", { name: "clock" }).waitFor({ state: "detached" });
  fine(page);
  await page.context().close();
});

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

for (const colorScheme of ["light", "dark"]) {
  test(`axe finds nothing serious on any view, ${colorScheme}`, async () => {
    await bus.publish("axe/a", '{"celsius":21,"x":1}', { retain: true });
    await away("absent");
    write("broken.yaml", bad);
    await sleep(700);
    for (const [name, hash] of [["live", "#/live"], ["topic", "#/live?topic=axe/a"], ["branch", "#/live?topic=axe"], ["plugins", "#/plugins?plugin=broken"], ["trace", "#/plugins?plugin=clock&trace=1"], ["sessions", "#/sessions"], ["bus", "#/bus"], ["search", "#/live"], ["dialog", "#/sessions"], ["phone", "#/live"]]) {
      const page = await open(bus, hash, { colorScheme, bypassCSP: true, ...(name === "phone" ? { viewport: { width: 360, height: 740 } } : {}) });
      await page.locator(".figures").waitFor();
      await sleep(1300);
      if (name === "search") await page.keyboard.press("Control+k").then(() => page.keyboard.type("a"));
      if (name === "dialog") await page.getByRole("button", { name: /drop the session/ }).first().click();
      await page.evaluate(axe);
      const found = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
      const list = found.violations.map((v) => `${v.impact} ${v.id}: ${v.nodes.map((n) => n.html.slice(0, 160)).slice(0, 3).join(" | ")}`);
      const serious = list.filter((v) => /^(serious|critical)/.test(v));
      if (list.length) console.log(`# ${colorScheme} ${name}: ${list.join("; ")}`);
      await page.screenshot({ path: `${shots}/${name}-${colorScheme}.png` });
      assert.deepEqual(serious, [], `${name}, ${colorScheme}`);
      fine(page);
      await page.context().close();
    }
    rmSync(join(bus.plugins, "broken.yaml"));
    await fetch(`${bus.url}/api/v1/sessions/absent`, { method: "DELETE" });
  });
}

test("360 pixels: one column, nothing wider than the screen, a topic and back", async () => {
  await bus.publish("home/a-rather-long-name/with-some-levels/below/temperature", "21.5", { retain: true });
  const other = await open(bus, "#/live?topic=home/a-rather-long-name/with-some-levels/below/temperature"); // another screen's sessions
  for (const hash of ["#/live", "#/live?topic=axe/a", "#/plugins", "#/plugins?plugin=clock", "#/sessions", "#/bus"]) {
    const page = await open(bus, hash, { viewport: { width: 360, height: 740 }, hasTouch: true, isMobile: true });
    await page.locator(".figures").waitFor();
    await sleep(600);
    assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), 360, hash);
    await page.screenshot({ path: `${shots}/360-${hash.replace(/\W+/g, "-")}.png` });
    fine(page);
    await page.context().close();
  }
  await other.context().close();
  const page = await open(bus, "#/live", { viewport: { width: 360, height: 740 }, hasTouch: true, isMobile: true });
  for (let i = 0; i < 2; i++) await row(page, "home").tap(); // closed, open: the tree stays
  await row(page, "clock").tap();
  await page.getByRole("heading", { name: "home/clock" }).waitFor();
  assert.equal(await page.locator(".tree").isVisible(), false);
  await page.goBack();
  await row(page, "clock").waitFor();
  await page.context().close();
});
