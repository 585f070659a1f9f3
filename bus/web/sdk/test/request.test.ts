// This file tests where answers are heard, for users whose rules differ.
import assert from "node:assert/strict";
import { test } from "node:test";
import { bytesOf, ofPublish } from "../src/event";
import type { PublishOptions } from "../src/link";
import { Requests, type Asking } from "../src/request";
import type { BusEvent, Callback } from "../src/types";

/** A bus that lets the user subscribe where may says so, and answers each request by what it was asked. */
function bus(may: (filter: string) => boolean) {
  const heard = new Map<string, Callback>();
  const asked: string[] = [];
  const b: Asking = {
    id: () => "web-1",
    on: (filter, callback) => {
      heard.set(filter, callback);
      return () => void heard.delete(filter);
    },
    stands: async (filter) => {
      if (!may(filter)) throw new Error("not authorized");
    },
    publish: async (topic: string, payload: Uint8Array, o: PublishOptions) => {
      asked.push(`${topic} ${o.responseTopic}`);
      const answer = ofPublish({ topic: o.responseTopic!, payload, qos: 1, retain: false, dup: false, properties: { correlationData: o.correlationData! } });
      queueMicrotask(() => void heard.get(o.responseTopic!)?.(answer as BusEvent));
    },
    withdraw: () => {},
  };
  return { requests: new Requests(b), asked, heard };
}

test("answers come to reply/, or below the topic for a user without that rule", async () => {
  const all = bus(() => true);
  assert.equal((await all.requests.request("home/lamp/set", "on")).text, "on");
  assert.deepEqual(all.asked, ["home/lamp/set reply/web-1"]);
  const home = bus((f) => f.startsWith("home/")); // as the users in the documentation
  for (const n of [1, 2]) assert.equal((await home.requests.request("home/lamp/set", n)).json, n);
  assert.deepEqual(await Promise.all([3, 4].map(async (n) => (await home.requests.request("home/lamp/set", n)).json)), [3, 4]);
  assert.equal(home.asked[0], "home/lamp/set home/lamp/set/reply/web-1");
  assert.deepEqual([...home.heard.keys()], ["home/lamp/set/reply/web-1"]);
});

test("a user who could hear no answer is told so at once, and the topic is not blamed", async () => {
  const b = bus(() => false);
  await assert.rejects(b.requests.request("home/lamp/set", "on"), /^Error: the request to home\/lamp\/set was not sent: this user may subscribe to neither reply\/web-1 nor home\/lamp\/set\/reply\/web-1, .* --subscribe 'reply\/#'$/);
  assert.deepEqual([b.asked, b.heard.size], [[], 0]);
  assert.deepEqual(bytesOf("x").length, 1);
});
