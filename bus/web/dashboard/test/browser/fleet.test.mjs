// This file looks at what a bus shows of its fleet: the card on the view Bus, and the origin of an event.

import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { Bus, closeAll, open, shots, sleep } from "./kit.mjs";

let bus;
before(async () => {
  const config = join(tmpdir(), `postbus-dash-fleet-${process.pid}.yaml`);
  writeFileSync(config, 'fleet: [{name: home, bus: kitchen, hub: ["nats://127.0.0.1:1"], share: [{filter: home/#}], take: [{filter: home/#}]}]\n');
  bus = await Bus.start(config);
});
after(() => closeAll(bus));

const fine = (page) => assert.deepEqual(page.problems, []);
const card = (page) => page.locator(".card", { has: page.getByRole("heading", { name: "fleet", exact: true }) });

// answer is what the API says of a fleet with two hubs; the time is that of the newest event of attic.
const answer = (last) => [
  { fleet: "home", bus: "kitchen", hub: ["tls://hub.example.org:4222", "tls://hub2.example.org:4222"], state: "online", sent: 12, sent_bytes: 3456, waiting: 7, received: 34, behind: 2,
    peers: { cellar: { events: 5, repeats: 0, lost: 0, expired: 0, refused: 0 }, attic: { events: 1234, repeats: 1, lost: 3, expired: 4, refused: 1, last, problem: "topic: 300 levels" } } },
  { fleet: "shops", bus: "kitchen", hub: ["nats://127.0.0.1:4222"], state: "conflict", error: "another bus has this name: kitchen is connected to the hub", hint: "give it another name", sent: 0, sent_bytes: 0, waiting: 0, received: 0, behind: 0, peers: {} },
];
const faked = async (page, list) => {
  await page.route("**/api/v1/fleet", (r) => r.fulfill({ json: list }));
  await page.reload();
};

test("a hub that can't be reached: state, error and hint", async () => {
  await bus.publish("home/x", "1");
  const page = await open(bus, "#/bus");
  await card(page).getByText("offline").waitFor();
  const text = await card(page).textContent();
  assert.match(text, /home: offline as kitchen at nats:\/\/127\.0\.0\.1:1/);
  assert.match(text, /not connected to the hub: .*refused/);
  assert.match(text, /check that the hub runs/);
  assert.match(text, /[1-9]\d* to send/);
  await card(page).getByText("No event of another bus yet.").waitFor();
  await page.screenshot({ path: `${shots}/fleet-offline.png` });
  fine(page);
  await page.context().close();
});

test("each hub and each other bus, those with losses first", async () => {
  const page = await open(bus, "#/bus");
  await faked(page, answer(new Date(Date.now() - 120_000).toISOString()));
  await card(page).getByText("home: online").waitFor();
  const entries = card(page).locator(".fleet");
  assert.equal(await entries.count(), 2);
  const texts = async (row) => (await row.locator("th, td").allTextContents()).map((t) => t.trim());
  const rows = entries.first().locator("tbody tr");
  assert.deepEqual(await texts(rows.nth(0)), ["attictopic: 300 levels", "2 min ago", "1,234", "▲ 3", "4", "▲ 1"]);
  assert.deepEqual(await texts(rows.nth(1)), ["cellar", "–", "5", "0", "0", "0"]);
  assert.match(await entries.first().locator(".counters").textContent(), /7 to send2 to read12 sent34 received/);
  assert.match(await entries.last().textContent(), /shops: another bus has this name as kitchen at nats:\/\/127\.0\.0\.1:4222another bus has this name: kitchen is connected to the hubgive it another name/);
  assert.equal(await entries.last().locator(".state-line").getAttribute("class"), "state-line g2");
  await page.locator(".page.bus").focus(); // by keyboard: the view, then the table
  await page.keyboard.press("Tab");
  assert.match(await page.evaluate(() => document.activeElement?.getAttribute("aria-label") ?? ""), /Other buses of the fleet home/);
  fine(page);
  await page.context().close();
});

test("ten thousand buses: a hundred are listed", async () => {
  const page = await open(bus, "#/bus");
  const list = answer(new Date().toISOString()).slice(0, 1);
  list[0].peers = Object.fromEntries(Array.from({ length: 10_000 }, (_, i) => [`shop-${i}`, { events: 1, repeats: 0, lost: i === 9_999 ? 1 : 0, expired: 0, refused: 0 }]));
  await faked(page, list);
  await card(page).getByText("and 9,900 other buses").waitFor();
  assert.equal(await card(page).locator("tbody tr").count(), 100);
  assert.match(await card(page).locator("tbody tr").first().textContent(), /^shop-9999/);
  fine(page);
  await page.context().close();
});

test("a bus in no fleet has no card", async () => {
  const page = await open(bus, "#/bus");
  await card(page).waitFor();
  await faked(page, []);
  await page.getByRole("heading", { name: "last warnings" }).waitFor();
  await sleep(300);
  assert.equal(await card(page).count(), 0);
  fine(page);
  await page.context().close();
});

test("an event of another bus: who published it, at which bus and when it was accepted there", async () => {
  await bus.publish("home/attic/temp", "20");
  const page = await open(bus);
  const there = new Date(Date.now() - 3_600_000);
  await page.route("**/api/v1/events?*", async (r) => {
    const lines = (await (await r.fetch()).text()).trim().split("\n").map((l) => JSON.parse(l));
    for (const e of lines) if (e.seq) Object.assign(e, { source: "@fleet/attic/lamp", origin: { bus: "attic", time: there.toISOString() } });
    await r.fulfill({ body: lines.map((l) => JSON.stringify(l) + "\n").join(""), contentType: "application/x-ndjson" });
  });
  await page.evaluate(() => (location.hash = "#/live?topic=home/attic/temp"));
  await page.getByText("published by lamp at attic, accepted there 1 h ago").waitFor();
  const cell = page.locator(".messages .who-cell").first();
  assert.equal(await cell.textContent(), "lamp at attic");
  assert.match(await cell.getAttribute("title"), /^@fleet\/attic\/lamp, accepted there \d{4}-/);
  fine(page);
  await page.context().close();
});

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

for (const [name, options] of [["light", { colorScheme: "light" }], ["dark", { colorScheme: "dark" }], ["phone", { viewport: { width: 360, height: 740 }, hasTouch: true, isMobile: true }], ["small", { viewport: { width: 320, height: 640 } }]]) {
  test(`axe finds nothing serious and nothing is wider than the screen: ${name}`, async () => {
    const page = await open(bus, "#/bus", { bypassCSP: true, ...options });
    await faked(page, answer(new Date().toISOString()));
    await card(page).getByText("home: online").waitFor();
    await sleep(500);
    assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), options.viewport?.width ?? 1280);
    await page.evaluate(axe);
    const found = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
    assert.deepEqual(found.violations.filter((v) => /serious|critical/.test(v.impact)).map((v) => `${v.id}: ${v.nodes.map((n) => n.html.slice(0, 160)).join(" | ")}`), []);
    await card(page).scrollIntoViewIfNeeded();
    await page.screenshot({ path: `${shots}/fleet-${name}.png` });
    fine(page);
    await page.context().close();
  });
}
