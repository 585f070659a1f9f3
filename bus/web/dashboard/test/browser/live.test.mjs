// This file looks at the view Live in a real browser, over a real bus.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { isDeepStrictEqual } from "node:util";
import { Bus, closeAll, open, row, shots, sleep } from "./kit.mjs";

let bus;
before(async () => (bus = await Bus.start()));
after(() => closeAll(bus));

const fine = (page) => assert.deepEqual(page.problems, []);

test("an empty bus says what to do, and the box does it", async () => {
  const page = await open(bus);
  await page.getByText("No events yet.").waitFor();
  await page.getByText("postbus pub -t home/door -m open").waitFor();
  await page.getByRole("button", { name: "Send" }).click();
  await page.getByText(/durable: event \d+, after/).waitFor();
  await row(page, "door").getByText("open").waitFor();
  await page.getByText("No events yet.").waitFor({ state: "hidden" });
  fine(page);
  await page.context().close();
});

test("events appear and change, and their tree opens and closes", async () => {
  await bus.publish("home/kitchen/temperature", "21.5");
  const page = await open(bus);
  await sleep(300);
  for (let i = 0; i < 5; i++) await bus.publish("home/kitchen/temperature", (20 + i / 2).toFixed(1));
  await row(page, "temperature").getByText("22.0").waitFor();
  assert.match(await row(page, "temperature").locator("path").getAttribute("d"), /^M/);
  await row(page, "kitchen").locator(".caret").click();
  await row(page, "temperature").waitFor({ state: "detached" }).catch(() => row(page, "temperature").waitFor({ state: "hidden" }));
  await row(page, "kitchen").getByText("(1)").waitFor();
  assert.equal(await row(page, "$SYS").getAttribute("aria-expanded"), "false");
  fine(page);
  await page.context().close();
});

test("a retained event has a badge, and is cleared after asking", async () => {
  await bus.publish("home/lamp", "on", { retain: true });
  const page = await open(bus);
  await row(page, "lamp").locator(".badge").getByText("R").click();
  const ask = page.getByRole("dialog");
  await ask.getByText("Clear the retained event?").waitFor();
  await page.keyboard.press("Escape");
  assert.equal((await (await fetch(`${bus.url}/api/v1/topics?filter=home/lamp`)).json()).length, 1, "Escape clears nothing");
  await row(page, "lamp").locator(".badge").click();
  await ask.getByRole("button", { name: "Clear" }).click();
  await row(page, "lamp").locator(".badge:empty").waitFor({ state: "attached" });
  assert.equal((await (await fetch(`${bus.url}/api/v1/topics?filter=home/lamp`)).json()).length, 0);
  fine(page);
  await page.context().close();
});

test("publishing says why it was refused", async () => {
  const page = await open(bus);
  await page.getByRole("textbox", { name: "topic" }).fill("home/+/x");
  await page.getByRole("button", { name: "Send" }).click();
  await page.locator(".result", { hasText: "topic:" }).waitFor();
  assert.equal(await page.locator(".result").getAttribute("data-ok"), "false");
  fine(page);
  await page.context().close();
});

test("no time below the plot is cut at the edge, at any width", async () => {
  for (let i = 0; i < 3; i++) await bus.publish("home/axis", String(20 + i));
  for (const width of [360, 500, 700, 1280]) {
    const page = await open(bus, "", { viewport: { width, height: 800 } });
    await page.addInitScript(() => {
      // A time that is written stands right at the edge.
      const every = { "10m": 300, "1h": 1800, "24h": 43_200 }[new URLSearchParams(location.hash.split("?")[1]).get("range")] * 1000;
      const clock = Date.now;
      const local = clock() - new Date().getTimezoneOffset() * 60_000;
      const ahead = every - (local % every) + 1000;
      Date.now = () => clock() + ahead;
      window.cut = [];
      window.times = 0;
      const draw = CanvasRenderingContext2D.prototype.fillText;
      CanvasRenderingContext2D.prototype.fillText = function (text, x, y, ...more) {
        const at = this.getTransform().transformPoint({ x, y });
        const half = (this.measureText(text).width * this.getTransform().a) / 2;
        if (/^\d\d:\d\d/.test(text)) {
          window.times++;
          if (at.x + half > this.canvas.width || at.x - half < 0) window.cut.push(`${text} at ${Math.round(at.x)} of ${this.canvas.width}`);
        }
        return draw.call(this, text, x, y, ...more);
      };
    });
    for (const range of ["10m", "1h", "24h"]) {
      await page.goto(`${bus.url}/#/live?topic=home/axis&range=${range}`);
      await page.reload();
      await page.locator(".canvas canvas").waitFor();
      await page.waitForFunction(() => window.times > 0);
      for (let i = 0; i < 4; i++) {
        await bus.publish("home/axis", String(i));
        await sleep(150);
      }
      assert.deepEqual(await page.evaluate(() => window.cut), [], `${width} px, ${range}`);
    }
    await page.screenshot({ path: `${shots}/plot-${width}.png` });
    await page.context().close();
  }
});

test("the plot begins in the past and goes on live, with no gap and no repeat at the seam", async () => {
  for (let i = 0; i < 200; i++) await bus.publish("seam/power", i);
  // Events keep coming while the page subscribes.
  let stop = false;
  let n = 200;
  const more = (async () => {
    while (!stop) await bus.publish("seam/power", n++);
  })();
  const page = await open(bus, "#/live?topic=seam/power");
  await page.locator(".canvas[data-points]").waitFor();
  for (const range of ["1h", "10m", "24h", "10m"]) {
    await page.getByRole("button", { name: range }).click();
    await sleep(150);
  }
  await sleep(1200);
  stop = true;
  await more;
  await page.waitForFunction((want) => document.querySelector(".canvas")?.dataset.points === String(want), n, { timeout: 20_000 }).catch(() => undefined);
  assert.equal(Number(await page.locator(".canvas").getAttribute("data-points")), n);
  const seqs = (await page.locator(".messages tbody tr td:first-child").allTextContents()).map(Number);
  const values = (await page.locator(".messages tbody tr td:last-child").allTextContents()).map(Number);
  assert.equal(values[0], n - 1);
  for (let i = 1; i < values.length; i++) {
    assert.equal(values[i], values[i - 1] - 1);
    assert.ok(seqs[i] < seqs[i - 1]);
  }
  fine(page);
  await page.context().close();
});

test("payloads: JSON is formatted, bytes are hex, images are seen, a member can be chosen", async () => {
  await bus.publish("p/json", '{"celsius":21.5,"humidity":40}', { retain: true });
  await bus.publish("p/bytes", new Uint8Array([0, 1, 2, 254]), { retain: true });
  await bus.publish("p/image", Buffer.from("iVBORw0KGgoAAAANSUhEUgAAAAoAAAAKCAIAAAACUFjqAAAAEklEQVR4nGP8z4APMOGVHbHSAEEsAROxCnMTAAAAAElFTkSuQmCC", "base64"), { retain: true });
  const page = await open(bus, "#/live?topic=p/json");
  await page.locator("pre.json", { hasText: '"humidity": 40' }).waitFor();
  await page.getByLabel("Number that is plotted").selectOption("humidity");
  await page.locator(".big", { hasText: "40" }).waitFor();
  assert.match(page.url(), /member=humidity/);
  await row(page, "bytes").click();
  await page.locator("pre.binary", { hasText: "00 01 02 fe" }).waitFor();
  await row(page, "image").click();
  await page.locator("img.payload").waitFor();
  await page.waitForFunction(() => document.querySelector("img.payload").naturalWidth === 10);
  fine(page);
  await page.context().close();
});

test("a topic without events says who would publish it", async () => {
  const page = await open(bus, "#/live?topic=nobody/here");
  await page.getByText("No event of this topic yet.").waitFor();
  await page.getByText("postbus pub -t nobody/here -m test").waitFor();
  fine(page);
  await page.context().close();
});

test("a filter completes, says what is wrong, and is kept in the address", async () => {
  await bus.publish("home/hall/temperature", "19", { retain: true });
  await bus.publish("garden/soil", "30", { retain: true });
  const page = await open(bus);
  await row(page, "soil").waitFor();
  await page.keyboard.press("/");
  const box = page.getByLabel("filter", { exact: true });
  await box.pressSequentially("home/+/#x");
  await page.getByText("# stands for whole levels").waitFor();
  await box.fill("");
  await box.pressSequentially("hom");
  await page.getByRole("option", { name: "home" }).waitFor();
  await page.keyboard.press("ArrowDown");
  await page.keyboard.press("Enter");
  await box.pressSequentially("/+/tem");
  await page.getByRole("option", { name: "home/+/temperature" }).click();
  await page.waitForFunction(() => location.hash.includes("filter=home/%2B/temperature"));
  await row(page, "soil").waitFor({ state: "detached" }).catch(() => row(page, "soil").waitFor({ state: "hidden" }));
  await row(page, "temperature").getByText("19").waitFor();
  const again = await open(bus, new URL(page.url()).hash);
  await row(again, "temperature").getByText("19").waitFor();
  assert.equal(await again.getByLabel("filter", { exact: true }).inputValue(), "home/+/temperature");
  fine(page);
  await page.context().close();
  await again.context().close();
});

test("the bus is killed and comes back: a bar, the count of what was missed, and nothing moved", async () => {
  await bus.publish("crash/a", "1", { retain: true });
  const page = await open(bus, "#/live?topic=crash/a");
  await row(page, "a").getByText("1", { exact: true }).waitFor();
  // The page is complete when the detail has its events and the tree stays where it is.
  await page.waitForFunction(() => document.querySelector(".messages tbody tr td:last-child")?.textContent === "1");
  const place = () => page.locator(".tree").evaluate((e) => [e.scrollTop, e.getBoundingClientRect().top]);
  let before = await place();
  for (let now; ; before = now) {
    await page.waitForTimeout(200);
    if (isDeepStrictEqual((now = await place()), before)) break;
  }
  await bus.kill();
  await page.getByText(/Connection lost at/).waitFor();
  await page.locator(".health", { hasText: "offline" }).waitFor();
  await page.screenshot({ path: `${shots}/offline.png` });
  // The page stays away while the bus is back and events come.
  await page.context().setOffline(true);
  await bus.up();
  for (let i = 0; i < 37; i++) await bus.publish("crash/a", 100 + i);
  await page.context().setOffline(false);
  await page.locator("[data-missed='37']", { hasText: "37 missed events were loaded" }).waitFor({ timeout: 30_000 });
  await row(page, "a").getByText("136").waitFor();
  await page.screenshot({ path: `${shots}/back.png` });
  assert.deepEqual(await place(), before);
  // The detail has them too, each once.
  const values = async () => (await page.locator(".messages tbody tr td:last-child").allTextContents()).slice(0, 3);
  await page.waitForFunction(() => document.querySelector(".messages tbody tr td:last-child")?.textContent === "136");
  assert.deepEqual(await values(), ["136", "135", "134"]);
  await bus.publish("crash/a", "137");
  await row(page, "a").getByText("137").waitFor();
  fine(page);
  await page.context().close();
});
