// This file is an application with users of its own: its issuer, made with jose, gives each person a token, and
// the rules give each person the topics below user/<name>/. Two people are in two browsers, side by side.

import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import mqtt from "mqtt";
import { env, launch, program, scratch, startBus, startWeb, until } from "./stage.mjs";

const ended = [];
let bus, token, app;

before(async () => {
  const issuer = spawn(process.execPath, [fileURLToPath(new URL("../../../../../cmd/postbus/testdata/jose/issuer.js", import.meta.url))], { stdio: ["pipe", "pipe", "inherit"] });
  const lines = createInterface({ input: issuer.stdout })[Symbol.asyncIterator]();
  const line = async () => {
    const { value, done } = await lines.next();
    if (done) throw new Error("the issuer does not start: run `npm ci` in cmd/postbus/testdata/jose");
    return value;
  };
  ended.push(() => issuer.stdin.end());
  const keys = await line();
  let last = Promise.resolve(); // the issuer answers one line with one line
  token = (sub) => (last = last.then(() => (issuer.stdin.write(JSON.stringify({ alg: "ES256", sub }) + "\n"), line())));
  const config = join(scratch, "peruser.yaml");
  writeFileSync(
    config,
    `anonymous: off
jwt:
  - {issuer: "https://jose.example", audience: postbus, keys: "${keys}", client_id: "\${user}-*", publish: ["user/\${claims.sub}/#"], subscribe: ["user/\${claims.sub}/#"]}
`,
  );
  execFileSync(program(), ["user", "add", "app", "--config", config, "--publish", "user/#", "--subscribe", "user/#"], { input: "secret\n", env });
  bus = await startBus("peruser", ["--config", config]);
  ended.push(() => bus.stop());
  app = await mqtt.connectAsync(`mqtt://127.0.0.1:${bus.mqttPort}`, { protocolVersion: 5, username: "app", password: "secret" });
  ended.push(() => app.endAsync(true));
});
after(async () => {
  for (const f of ended.reverse()) await f();
});

/** A person's browser, whose connection is the person's own. */
async function person(name, sub = name) {
  const web = await startWeb(bus);
  const context = await launch();
  ended.push(() => web.close(), () => context.close());
  const page = await context.newPage();
  await page.exposeFunction("login", () => token(sub));
  const open = async () => {
    await page.goto(`${web.url}/blank.html`);
    await until(() => page.evaluate(() => !!window.postbus), "the module");
    await page.evaluate(
      async ([name, sub]) => {
        window.got = [];
        window.failures = [];
        window.bus = await postbus.connect({ id: `${name}-page`, token: login });
        bus.onError((f) => void failures.push(f.error.message));
        bus.on(`user/${sub}/#`, (e) => void got.push(`${e.topic}=${e.text}`));
      },
      [name, sub],
    );
  };
  await open();
  return { page, web, open, got: () => page.evaluate(() => got), state: () => page.evaluate(() => bus.current.state) };
}
const publish = (topic, text) => app.publishAsync(topic, text, { qos: 1 });

test("two people side by side have their own topics, and nothing of each other", async () => {
  const [ann, bob] = [await person("ann"), await person("bob")];
  await ann.page.evaluate(() => bus.emit("user/ann/note", "mine"));
  await bob.page.evaluate(() => bus.emit("user/bob/note", "mine too"));
  await publish("user/ann/hello", "ann");
  await publish("user/bob/hello", "bob");
  await until(async () => (await ann.got()).length >= 2 && (await bob.got()).length >= 2, "their own events");
  const tries = await ann.page.evaluate(async () => {
    const refused = (p) => p.then(() => "", (e) => e.message);
    const filters = ["user/bob/#", "+/bob/#", "$share/x/user/bob/#", "$replay/1h/user/bob/#", "$bus/#"];
    // The second list is filters that cover ann's topics too: what they deliver is ann's only.
    for (const f of [...filters, "user/+/hello", "user/#", "#"]) bus.on(f, (e) => void (e.topic.startsWith("user/ann/") || got.push(`stolen ${e.topic}`)));
    const answers = {};
    for (const topic of ["user/bob/note", "user/annx", "other"]) answers[`emit ${topic}`] = await refused(bus.emit(topic, "x"));
    answers["history"] = await refused(bus.history("user/bob/#"));
    const own = {};
    for (const f of ["user/ann/#", "user/#", "#"]) own[f] = (await bus.history(f)).map((e) => `${e.topic}=${e.text}`);
    return { filters, answers, own };
  });
  for (const [what, message] of Object.entries(tries.answers)) assert.match(message, /may not publish|not allowed/, what);
  for (const [f, events] of Object.entries(tries.own)) assert.deepEqual(events, ["user/ann/note=mine", "user/ann/hello=ann"], f);
  const failures = await until(async () => {
    const list = await ann.page.evaluate(() => failures);
    return list.length >= tries.filters.length && list;
  }, "each filter is refused");
  for (const f of tries.filters) assert.ok(failures.some((m) => m.includes(f)), `${f}: ${failures.join("; ")}`);
  await publish("user/bob/hello", "again");
  await until(async () => (await bob.got()).length >= 3, "bob's event");
  await publish("user/ann/hello", "again");
  await until(async () => (await ann.got()).length >= 3, "ann's event, after those that are not ann's");
  assert.deepEqual(await ann.got(), ["user/ann/note=mine", "user/ann/hello=ann", "user/ann/hello=again"]);
  assert.deepEqual(await bob.got(), ["user/bob/note=mine too", "user/bob/hello=bob", "user/bob/hello=again"]);
  const other = await bob.page.evaluate(() => postbus.connect({ id: "ann-page", token: login }).then(() => "", (e) => e.message));
  assert.match(other, /client identifier/, "bob takes ann's session");
});

test("who was offline gets the missed events afterwards, while another works on", async () => {
  const [cat, dan] = [await person("cat"), await person("dan")];
  await publish("user/cat/n", "0");
  await until(async () => (await cat.got()).length === 1, "the first");
  cat.web.cut = true;
  cat.web.drop();
  await until(async () => (await cat.state()) === "offline", "offline");
  await cat.page.evaluate(() => void bus.emit("user/cat/written", "offline")); // waits in the page
  for (let i = 1; i <= 50; i++) await Promise.all([publish("user/cat/n", `${i}`), publish("user/dan/n", `${i}`)]);
  await until(async () => (await dan.got()).length === 50, "dan's events");
  assert.equal((await cat.got()).length, 1);
  cat.web.cut = false;
  await cat.page.evaluate(() => window.dispatchEvent(new Event("online")));
  await until(async () => (await cat.got()).length >= 52, "the missed ones and the own one");
  const got = await cat.got();
  assert.deepEqual(got.filter((e) => e.startsWith("user/cat/n=")), Array.from({ length: 51 }, (_, i) => `user/cat/n=${i}`));
  assert.equal(got.filter((e) => e === "user/cat/written=offline").length, 1);
  assert.equal(await cat.page.evaluate(() => bus.current.lost), 0);
  // A page that is closed, and opened again later, is the same.
  await cat.page.goto("about:blank");
  for (let i = 51; i <= 60; i++) await publish("user/cat/n", `${i}`);
  await cat.open();
  await until(async () => (await cat.got()).length >= 10, "those of the time without a page");
  assert.deepEqual(await cat.got(), Array.from({ length: 10 }, (_, i) => `user/cat/n=${i + 51}`));
});

test("a person whose name is a wildcard has no rights by it", async () => {
  for (const name of ["+", "#", "ann/..", "\u0000"]) {
    const answer = await fetch(`http://127.0.0.1:${bus.httpPort}/api/v1/topics?filter=user/%23`, { headers: { authorization: `Bearer ${await token(name)}` } });
    assert.ok([401, 403].includes(answer.status), `${name}: ${answer.status}`);
    const client = await mqtt.connectAsync(`mqtt://127.0.0.1:${bus.mqttPort}`, { protocolVersion: 5, clientId: `${name}-1`, password: await token(name), username: "", reconnectPeriod: 0 }).catch((e) => e);
    if (client instanceof Error) continue; // its client identifier was refused
    for (const f of ["user/#", "user/+/#", "user/ann/#"]) await assert.rejects(client.subscribeAsync(f, { qos: 1 }), f);
    await client.endAsync(true);
  }
});
