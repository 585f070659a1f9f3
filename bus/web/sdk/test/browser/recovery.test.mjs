// This file tests that after each scenario every event was handled at least once, in order at its first
// handling, and that the page's count of missed events is right.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { play, scenarios } from "./scenarios.mjs";
import { startBus, startPublisher, startWeb } from "./stage.mjs";

const rate = 200;
let bus, web;
const report = [];

before(async () => {
  bus = await startBus();
  web = await startWeb(bus);
});
after(async () => {
  web.close();
  await bus.stop();
  console.table(report);
});

for (const scenario of scenarios) {
  test(scenario.name, async () => {
    const r = await play(scenario, { page: "stream.html", server: bus, web, startPublisher: (topic) => startPublisher(bus, topic, rate) }, rate);
    const { errors, ...row } = r;
    report.push(row);
    assert.deepEqual(errors, []);
    assert.equal(r.lost, 0, "lost");
    assert.equal(r.disorder, 0, "out of order");
    assert.ok(r.missed >= r.least && r.missed <= r.most, `missed says ${r.missed}, the truth is from ${r.least} to ${r.most}`);
    if (/nothing/.test(scenario.name)) assert.equal(r.missed, 0);
    const away = Number(/ (\d+) s/.exec(scenario.name)?.[1] ?? 0);
    assert.ok(r.most >= 0.8 * away * rate, `only ${r.most} were missed in ${away} s`);
  });
}
