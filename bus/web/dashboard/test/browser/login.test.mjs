// This file is a bus that wants a login.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { appendFileSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { Bus, binaryPath, closeAll, open, row, shots, sleep } from "./kit.mjs";

let bus;
before(async () => {
  const config = join(mkdtempSync(join(tmpdir(), "postbus-login-")), "postbus.yaml");
  writeFileSync(config, "anonymous: {publish: [], subscribe: []}\n");
  const env = Object.fromEntries(Object.entries(process.env).filter(([k]) => !k.startsWith("POSTBUS_")));
  const add = (name, password, ...rules) => execFileSync(binaryPath(), ["user", "add", name, "--config", config, ...rules], { input: password + "\n", env });
  add("pi", "berry", "--publish", "#", "--subscribe", "#", "--subscribe", "$bus/#", "--subscribe", "$SYS/#");
  add("kid", "toys", "--publish", "home/#", "--subscribe", "home/#");
  add("somebody-with-a-long-name-for-a-phone", "long", "--publish", "#", "--subscribe", "#", "--subscribe", "$bus/#");
  bus = await Bus.start(config);
});
after(() => closeAll(bus));

const login = async (page, user, password) => {
  await page.getByLabel("user").fill(user);
  await page.getByLabel("password").fill(password);
  await page.getByRole("button", { name: "Log in" }).click();
};

test("a wrong password is told, the right one opens everything, and stays in this tab", async () => {
  const page = await open(bus);
  await page.getByRole("heading", { name: "Log in" }).waitFor();
  await login(page, "pi", "wrong");
  await page.locator(".login .bad").waitFor();
  await login(page, "pi", "berry");
  await page.getByRole("heading", { name: "Log in" }).waitFor({ state: "detached" });
  await page.locator(".health", { hasText: "online" }).waitFor();
  await page.getByText(/topics?$/).first().waitFor();
  await page.getByLabel("topic", { exact: true }).fill("home/x");
  await page.getByRole("button", { name: "Send" }).click();
  await page.getByText(/durable: event/).waitFor();
  await row(page, "x").waitFor();
  await page.reload();
  await page.locator(".health", { hasText: "online" }).waitFor();
  assert.equal(await page.getByRole("heading", { name: "Log in" }).count(), 0);
  await page.getByRole("button", { name: "log out pi" }).click();
  await page.getByRole("heading", { name: "Log in" }).waitFor();
  assert.deepEqual(page.problems, []);
  await page.context().close();
});

test("a bus for nobody without a name says so, with blanks between the words for who hears it", async () => {
  const config = join(mkdtempSync(join(tmpdir(), "postbus-login-")), "postbus.yaml");
  writeFileSync(config, "");
  const env = Object.fromEntries(Object.entries(process.env).filter(([k]) => !k.startsWith("POSTBUS_")));
  execFileSync(binaryPath(), ["user", "add", "pi", "--config", config], { input: "berry\n", env });
  appendFileSync(config, "anonymous: off\n");
  const closed = await Bus.start(config);
  try {
    const page = await open(closed);
    const health = page.locator(".health", { hasText: "not logged in" });
    await health.waitFor();
    assert.match(await health.evaluate((e) => e.textContent), /not logged in [a-z]/);
    await page.context().close();
  } finally {
    await closed.stop();
  }
});

test("who may see a part sees that part, and is told about the rest", async () => {
  const page = await open(bus);
  await login(page, "kid", "toys");
  await page.locator(".health", { hasText: "online" }).waitFor();
  await page.getByRole("button", { name: "log out kid" }).waitFor();
  await page.getByLabel("filter", { exact: true }).fill("$SYS/#");
  await page.locator(".filter .bad", { hasText: /not authorized/ }).waitFor();
  await page.getByLabel("filter", { exact: true }).fill("home/#");
  await page.locator(".filter .bad").waitFor({ state: "detached" });
  await page.getByLabel("topic", { exact: true }).fill("home/y");
  await page.getByRole("button", { name: "Send" }).click();
  await row(page, "y").waitFor();
  await page.getByLabel("topic", { exact: true }).fill("garden/y");
  await page.getByRole("button", { name: "Send" }).click();
  await page.locator('.result[data-ok="false"]', { hasText: "is not allowed" }).waitFor();
  await page.getByRole("tab", { name: "Bus" }).click();
  await page.getByText(/the state of the bus: only users who may/).waitFor();
  await page.getByRole("tab", { name: "Plugins" }).click();
  await page.getByText(/plugins: only users who may subscribe to \$bus\/#/).waitFor();
  await sleep(600);
  assert.equal(await page.getByText("No plugins yet").count(), 0);
  await page.screenshot({ path: `${shots}/plugins-refused.png` });
  assert.deepEqual(page.problems, []);
  await page.context().close();
});

// WCAG 2.1, 1.4.10: 320 pixels. Trouble makes the tabs wider, a login brings a button more.
for (const colorScheme of ["light", "dark"]) {
  for (const user of [["pi", "berry"], ["somebody-with-a-long-name-for-a-phone", "long"]]) {
    test(`320 pixels, ${colorScheme}: every control of ${user[0]}'s header can be reached, with plugins in trouble`, async () => {
      const broken = Array.from({ length: 12 }, (_, i) => join(bus.plugins, `broken-${i}.yaml`));
      for (const f of broken) writeFileSync(f, "nonsense: [\n");
      const page = await open(bus, "#/live", { viewport: { width: 320, height: 568 }, hasTouch: true, isMobile: true, colorScheme });
      await login(page, ...user);
      await page.locator(".trouble", { hasText: "12!" }).waitFor();
      await page.getByRole("button", { name: /log out/ }).waitFor();
      await page.screenshot({ path: `${shots}/320-login-${colorScheme}-${user[0]}.png` });
      const covered = await page.evaluate(() => {
        const bad = [];
        for (const e of document.querySelectorAll(".top a, .top button")) {
          const b = e.getBoundingClientRect();
          if (b.left < 0 || b.right > 320) bad.push(`${e.textContent} is off the screen: ${b.left}..${b.right}`);
          for (const x of [b.left + 2, (b.left + b.right) / 2, b.right - 2])
            for (const y of [b.top + 2, (b.top + b.bottom) / 2, b.bottom - 2]) {
              const top = document.elementFromPoint(x, y);
              if (!e.contains(top)) bad.push(`${e.textContent} lies under ${top?.textContent?.slice(0, 30)} at ${x},${y}`);
            }
        }
        return bad;
      });
      assert.deepEqual(covered, []);
      assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), 320);
      for (const name of ["Plugins", "Sessions", "Bus", "Live"]) {
        await page.getByRole("tab", { name }).tap({ timeout: 5000 });
        await page.locator(`[role="tab"][aria-selected="true"]`, { hasText: name }).waitFor();
      }
      for (const f of broken) rmSync(f);
      await page.context().close();
    });
  }
}
