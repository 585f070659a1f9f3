// This file is one connection to the bus, made with MQTT.js. It is used once: what outlives a connection
// (subscriptions, outbox, acknowledgements) is kept by other parts, which get a new link.

import { Buffer } from "buffer";
import MqttClient from "mqtt/lib/client";
import { openSocket, streamOf } from "./socket";
import type { Publish } from "./event";
import type { EmitOptions, OnOptions } from "./types";

/** The bus refused, with an MQTT reason code. */
export class Refused extends Error {
  constructor(
    message: string,
    readonly code: number,
  ) {
    super(message);
    this.name = "Refused";
  }
}

export interface LinkOptions {
  url: string;
  clientId: string;
  username?: string | undefined;
  password?: string | undefined;
  sessionExpiry: number;
  inflight: number;
  meta: boolean;
  will?: { topic: string; payload: Uint8Array; qos: 0 | 1; retain: boolean; delay: number } | undefined;
}

export interface PublishOptions extends EmitOptions {
  responseTopic?: string | undefined;
  correlationData?: Uint8Array | undefined;
  user?: Record<string, string> | undefined;
}

/** The journal's last sequence when the client connected; empty for other brokers. */
export interface Place {
  epoch?: string | undefined;
  seq?: number | undefined;
}

export interface Link {
  /** The bus had the session. */
  readonly present: boolean;
  /** How many unacknowledged publishes it accepts. */
  readonly window: number;
  /** The largest packet that it accepts, in bytes. */
  readonly largest: number;
  readonly place: Place;
  alive: boolean;
  /** performance.now() of the last input. */
  heard: number;
  /** Resolves when it is acknowledged; rejects with Refused, or when the connection ends before. */
  publish(topic: string, payload: Uint8Array, options: PublishOptions): Promise<void>;
  subscribe(filter: string, options: OnOptions): Promise<void>;
  unsubscribe(filter: string): Promise<void>;
  acknowledge(id: number): void;
  ping(): void;
  /** Drops the connection without DISCONNECT. */
  drop(reason: string): void;
  /** Sends DISCONNECT. */
  end(forget: boolean): Promise<void>;
}

export interface LinkEvents {
  publish(p: Publish): void;
  /** The link ended. code is the bus's reason code, if it sent one. */
  down(reason: string, code: number): void;
}

const connectTimeout = 10_000;
const keepAlive = 60; // seconds; a hidden page's timers run once a minute

const retainHandling = { new: 1, always: 0, never: 2 } as const;

/** Connects; rejects with Refused, or with an Error if there is no answer. */
export async function connectLink(o: LinkOptions, on: LinkEvents): Promise<Link> {
  const ws = await openSocket(o.url, connectTimeout);
  const link = { alive: false, heard: performance.now() };
  const stream = streamOf(ws, () => (link.heard = performance.now()));
  const client = new MqttClient(() => stream as never, {
    protocolVersion: 5,
    protocolId: "MQTT",
    clientId: o.clientId,
    ...(o.username !== undefined && { username: o.username }),
    // MQTT.js asks for a string, its encoder takes bytes too: a password need not be ASCII.
    ...(o.password !== undefined && { password: Buffer.from(o.password) as never }),
    clean: false,
    keepalive: keepAlive,
    timerVariant: "native", // the other one is a worker from a blob, which a strict CSP forbids
    reconnectPeriod: 0,
    connectTimeout,
    resubscribe: false,
    queueQoSZero: false,
    properties: { sessionExpiryInterval: o.sessionExpiry, receiveMaximum: o.inflight, userProperties: { meta: "1" } },
    ...(o.will && {
      will: {
        topic: o.will.topic,
        payload: Buffer.from(o.will.payload),
        qos: o.will.qos,
        retain: o.will.retain,
        properties: { willDelayInterval: o.will.delay },
      },
    }),
  });
  // An error means: no PUBACK now. It is sent when the page has handled the event, and until then
  // other packets are read.
  client.handleMessage = (packet, done) => {
    if (link.alive || early) on.publish(packet as unknown as Publish);
    done(packet.qos > 0 ? later : undefined);
  };
  let early = true; // events may arrive before the caller knows that it is connected
  let up = false; // down has to be called at the end
  let why = "";
  let code = 0;
  const send = (packet: object) => (client as unknown as { _sendPacket(p: object): void })._sendPacket(packet);
  const waiting = new Set<(e: Error) => void>();
  const asked = <T>(ask: (done: (e: Error | null | undefined, v?: T) => void) => void): Promise<T> =>
    new Promise((resolve, reject) => {
      if (!link.alive) return reject(new Error("not connected"));
      waiting.add(reject);
      ask((e, v) => {
        waiting.delete(reject);
        if (e) reject(refusal(e, v));
        else resolve(v as T);
      });
    });

  const connack = await new Promise<{ sessionPresent: boolean; properties?: { receiveMaximum?: number; maximumPacketSize?: number; userProperties?: UserProperties } }>((resolve, reject) => {
    client.on("connect", (p) => resolve(p as never));
    client.on("error", (e: Error & { code?: unknown }) => {
      link.alive = false; // before MQTT.js fails publishes in flight: they were not refused, only interrupted
      why = e.message;
      if (typeof e.code === "number") code = e.code;
      const said = (client as unknown as { _serverProperties?: Answer["properties"] })._serverProperties?.reasonString;
      reject(code ? new Refused(said ?? e.message, code) : e);
      client.end(true); // MQTT.js reports here why a connection ends: a protocol error, a refusal, a timeout
    });
    client.on("disconnect", (p) => {
      link.alive = false;
      code = p.reasonCode ?? 0;
      why = p.properties?.reasonString ?? `the bus ended the connection (0x${code.toString(16)})`;
    });
    client.on("close", () => {
      const lost = new Error(why || "connection lost");
      reject(lost);
      client.end(true);
      early = false;
      for (const r of waiting) r(lost);
      waiting.clear();
      link.alive = false;
      if (up) on.down(why || "connection lost", code);
      up = false;
    });
  });
  link.alive = up = true;
  early = false;

  return Object.assign(link, {
    present: connack.sessionPresent,
    window: connack.properties?.receiveMaximum ?? 65535,
    largest: connack.properties?.maximumPacketSize ?? Infinity,
    place: placeOf(connack.properties?.userProperties),
    async publish(topic: string, payload: Uint8Array, p: PublishOptions) {
      await asked<unknown>((done) =>
        client.publish(
          topic,
          Buffer.from(payload.buffer, payload.byteOffset, payload.byteLength),
          {
            qos: p.qos ?? 1,
            retain: p.retain ?? false,
            properties: {
              ...(p.expiry !== undefined && { messageExpiryInterval: p.expiry }),
              ...(p.responseTopic !== undefined && { responseTopic: p.responseTopic }),
              ...(p.correlationData && { correlationData: Buffer.from(p.correlationData) }),
              ...(p.user && { userProperties: p.user }),
            },
          },
          done,
        ),
      );
    },
    async subscribe(filter: string, s: OnOptions) {
      const user: Record<string, string> = {};
      if (o.meta) user.meta = "1";
      if (s.since !== undefined) user.since = sinceText(s.since);
      await asked<unknown>((done) =>
        client.subscribe(
          filter,
          { qos: s.qos ?? 1, rh: retainHandling[s.retained ?? "new"], properties: { userProperties: user } },
          (e, _granted, packet) => done(e, packet),
        ),
      );
    },
    async unsubscribe(filter: string) {
      await asked<unknown>((done) => client.unsubscribe(filter, done));
    },
    acknowledge(id: number) {
      if (link.alive) send({ cmd: "puback", messageId: id, reasonCode: 0 });
    },
    ping() {
      if (link.alive) send({ cmd: "pingreq" });
    },
    drop(reason: string) {
      why ||= reason;
      stream.destroy();
      // On a dead network a WebSocket takes a minute to close; do not wait for that.
      ws.onmessage = ws.onclose = null;
    },
    end(forget: boolean) {
      link.alive = up = false;
      return new Promise<void>((resolve) => {
        const timer = setTimeout(done, 1000);
        function done() {
          clearTimeout(timer);
          stream.destroy();
          resolve();
        }
        client.end(false, { reasonCode: 0, ...(forget && { properties: { sessionExpiryInterval: 0 } }) } as never, done);
      });
    },
  });
}

const later = new Error("acknowledged later");

type UserProperties = Record<string, string | string[]>;

function placeOf(user: UserProperties = {}): Place {
  const seq = user.seq === undefined ? NaN : Number(user.seq);
  return { epoch: user.epoch?.toString(), seq: Number.isFinite(seq) ? seq : undefined };
}

interface Answer {
  granted?: number[];
  properties?: { reasonString?: string };
}

/** An error with the bus's reason string, if it sent one. */
function refusal(e: Error & { code?: unknown; packet?: Answer }, packet: unknown): Error {
  const answer = (packet ?? e.packet) as Answer | undefined;
  const code = answer?.granted?.find((c) => c >= 0x80) ?? e.code;
  if (typeof code !== "number") return e;
  return new Refused(answer?.properties?.reasonString ?? e.message, code);
}

/** The form of the user property `since`. */
export function sinceText(since: string | number | Date): string {
  return since instanceof Date ? since.toISOString() : String(since);
}
