// This file checks the MQTT of ours against mqtt-packet, which others wrote.

import mqtt from "mqtt-packet";
import { describe, expect, test } from "vitest";
import { acknowledge, connect, Decoder, goodbye, ping, subscribe, unsubscribe, type Packet } from "../../src/mqtt/codec";

function parse(bytes: Uint8Array): any {
  let got: any;
  const p = mqtt.parser({ protocolVersion: 5 } as any);
  p.on("packet", (x: any) => (got = x));
  p.on("error", (e: any) => {
    throw e;
  });
  p.parse(Buffer.from(bytes));
  return got;
}

const generate = (p: any) => new Uint8Array(mqtt.generate(p, { protocolVersion: 5 } as any));

function all(d: Decoder): Packet[] {
  const out: Packet[] = [];
  for (let p = d.next(); p; p = d.next()) out.push(p);
  return out;
}

describe("what is sent", () => {
  test("CONNECT, with and without a login", () => {
    const c = parse(connect("dashboard-1", 120, { user: "jörg", password: "pässword" }));
    expect(c).toMatchObject({ cmd: "connect", protocolVersion: 5, clean: true, clientId: "dashboard-1", keepalive: 120, username: "jörg",
      properties: { userProperties: { transient: "1" } } });
    expect(String(c.password)).toBe("pässword");
    expect(parse(connect("x", 60, null)).username).toBeUndefined();
  });
  test("SUBSCRIBE asks for meta, and for the past without retained events", () => {
    const s = parse(subscribe(7, 300, [{ filter: "home/#", qos: 2 }], "10m"));
    expect(s).toMatchObject({ cmd: "subscribe", messageId: 7, properties: { subscriptionIdentifier: 300, userProperties: { meta: "1", since: "10m" } } });
    expect(s.subscriptions[0]).toMatchObject({ topic: "home/#", qos: 2, rap: true, rh: 2 });
    const plain = parse(subscribe(8, 1, [{ filter: "#", qos: 0 }, { filter: "$bus/state", qos: 0 }], ""));
    expect(plain.subscriptions.map((x: any) => [x.topic, x.rh])).toEqual([["#", 0], ["$bus/state", 0]]);
  });
  test("the rest", () => {
    expect(parse(unsubscribe(9, ["a/+", "b"]))).toMatchObject({ cmd: "unsubscribe", messageId: 9, unsubscriptions: ["a/+", "b"] });
    expect(parse(acknowledge(4, 513))).toMatchObject({ cmd: "puback", messageId: 513 });
    expect(parse(acknowledge(5, 1))).toMatchObject({ cmd: "pubrec", messageId: 1 });
    expect(parse(acknowledge(7, 65535))).toMatchObject({ cmd: "pubcomp", messageId: 65535 });
    expect(parse(ping).cmd).toBe("pingreq");
    expect(parse(goodbye).cmd).toBe("disconnect");
  });
});

describe("what is read", () => {
  const event = generate({
    cmd: "publish", topic: "home/küche", payload: "21.5", qos: 2, messageId: 4711, retain: true, dup: true,
    properties: { messageExpiryInterval: 60, contentType: "text/plain", correlationData: Buffer.from([1, 2]), subscriptionIdentifier: [1, 300],
      userProperties: { seq: "42", time: "2026-01-31T12:00:00.5Z", source: "plugin:cpu", gap: "3", other: "x" } },
  });
  test("PUBLISH with the bus's properties", () => {
    const d = new Decoder();
    d.push(event);
    const [p] = all(d);
    expect(p).toMatchObject({ kind: "publish", topic: "home/küche", qos: 2, id: 4711, retain: true, dup: true, subs: [1, 300], seq: 42, time: "2026-01-31T12:00:00.5Z", source: "plugin:cpu", gap: 3 });
    expect(p!.kind === "publish" && new TextDecoder().decode(p.payload)).toBe("21.5");
  });
  test("a publisher's property of the same name does not count", () => {
    const d = new Decoder();
    d.push(generate({ cmd: "publish", topic: "a", payload: "", qos: 0, properties: { userProperties: { source: ["me", "bus"], "origin-time": ["mine", "2026-01-31T12:00:00Z"] } } }));
    expect(all(d)[0]).toMatchObject({ source: "bus", originTime: "2026-01-31T12:00:00Z" });
  });
  test("packets in pieces, many in one piece", () => {
    const stream = new Uint8Array([...event, ...generate({ cmd: "suback", messageId: 2, granted: [0, 135], properties: { reasonString: "no" } }), ...event, ...generate({ cmd: "pingresp" })]);
    for (const size of [1, 2, 3, 7, 50, stream.length]) {
      const d = new Decoder();
      const got: Packet[] = [];
      for (let i = 0; i < stream.length; i += size) {
        d.push(stream.slice(i, i + size));
        got.push(...all(d));
      }
      expect(got.map((p) => p.kind)).toEqual(["publish", "suback", "publish", "pingresp"]);
      expect(got[1]).toMatchObject({ id: 2, codes: [0, 135], reason: "no" });
    }
  });
  test("CONNACK and DISCONNECT say why", () => {
    const d = new Decoder();
    d.push(generate({ cmd: "connack", reasonCode: 134, sessionPresent: false, properties: { reasonString: "wrong password", receiveMaximum: 10, assignedClientIdentifier: "x", serverKeepAlive: 5 } }));
    d.push(generate({ cmd: "disconnect", reasonCode: 142, properties: { reasonString: "taken over" } }));
    d.push(generate({ cmd: "pubrel", messageId: 9, reasonCode: 0 }));
    expect(all(d)).toMatchObject([{ kind: "connack", codes: [134], reason: "wrong password" }, { kind: "disconnect", codes: [142], reason: "taken over" }, { kind: "pubrel", id: 9 }]);
  });
  test("what is not MQTT throws, and nothing is read beyond a packet", () => {
    for (const bad of [[0x30, 0xff, 0xff, 0xff, 0xff, 0x7f], [0x30, 0x02, 0x00, 0x05], [0x30, 0x04, 0x00, 0x01, 0x61, 0x7f], [0x30, 0x06, 0, 1, 0x61, 2, 0x77, 0]]) {
      const d = new Decoder();
      d.push(new Uint8Array(bad));
      expect(() => d.next()).toThrow(/not MQTT/);
    }
  });
  test("random bytes never hang and never read on behind the end", () => {
    let x = 1;
    for (let round = 0; round < 3000; round++) {
      const d = new Decoder();
      d.push(Uint8Array.from({ length: 40 }, () => (x = (x * 1103515245 + 12345) & 0x7fffffff) & 255));
      try {
        all(d);
      } catch (e) {
        expect(String(e)).toMatch(/not MQTT/);
      }
    }
  });
});
