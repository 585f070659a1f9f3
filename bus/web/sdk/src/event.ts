// This file is an event: made of an MQTT PUBLISH or of a line of /api/v1/events, and values made into bytes.

import { formatJSON, parseJSON } from "./json";
import type { BusEvent, Origin, Properties, Value } from "./types";

const encoder = new TextEncoder();
const decoder = new TextDecoder();
const notRead = Symbol();

/** Bytes of a value: anything but bytes and strings is encoded as JSON. */
export function bytesOf(value: Value): Uint8Array {
  if (value instanceof Uint8Array) return value;
  if (value instanceof ArrayBuffer) return new Uint8Array(value);
  if (value === undefined || value === null) return new Uint8Array(0);
  if (typeof value === "string") return encoder.encode(value);
  if (typeof value === "number" && !Number.isFinite(value)) throw new TypeError(`${value} cannot be encoded as JSON`);
  const text = formatJSON(value);
  if (text === undefined) throw new TypeError(`${typeof value} cannot be encoded as JSON`);
  return encoder.encode(text);
}

/** bytesOf what is published: an absent value does not delete a retained one, "" does. */
export function payloadOf(topic: string, value: Value, retain: boolean | undefined): Uint8Array {
  if (retain && (value === undefined || value === null)) {
    throw new TypeError(`${topic}: ${value} as a retained value would delete the stored value; use "" for that`);
  }
  return bytesOf(value);
}

type Parts = Pick<BusEvent, "topic" | "payload" | "time" | "seq" | "source" | "origin" | "retain" | "qos" | "missed" | "properties"> & {
  redelivered: boolean;
  /** Identifies an event: the sequence is unique in its journal, and with the time everywhere. Empty: not identifiable. */
  key: string;
};

/** text and json are made when they are asked for. */
export class Received implements BusEvent {
  declare readonly topic: string;
  declare readonly payload: Uint8Array;
  declare readonly time: Date;
  declare readonly seq: number;
  declare readonly source: string;
  declare readonly origin: Origin | undefined;
  declare readonly retain: boolean;
  declare readonly qos: 0 | 1;
  declare missed: number;
  declare redelivered: boolean;
  declare readonly properties: Properties;
  declare readonly key: string;
  #text: string | undefined;
  #json: unknown = notRead;

  constructor(parts: Parts) {
    Object.assign(this, parts);
  }

  get text(): string {
    return (this.#text ??= decoder.decode(this.payload));
  }

  get json(): any {
    if (this.#json === notRead) {
      try {
        this.#json = parseJSON(this.text);
      } catch {
        this.#json = undefined;
      }
    }
    return this.#json;
  }
}

/** The part of an MQTT.js PUBLISH that is used here. */
export interface Publish {
  topic: string;
  payload: Uint8Array | string;
  qos: 0 | 1 | 2;
  retain: boolean;
  dup: boolean;
  messageId?: number;
  properties?: {
    contentType?: string;
    responseTopic?: string;
    correlationData?: Uint8Array;
    messageExpiryInterval?: number;
    userProperties?: Record<string, string | string[]>;
  };
}

// The bus's user properties follow those of the publisher.
function last(v: string | string[] | undefined): string {
  return (Array.isArray(v) ? v[v.length - 1] : v) ?? "";
}

export function ofPublish(p: Publish): Received {
  const user = { ...p.properties?.userProperties };
  const [seq, time, source, gap] = [last(user.seq), last(user.time), last(user.source), last(user.gap)];
  const properties: Properties = { user };
  const from = p.properties;
  if (from?.contentType !== undefined) properties.contentType = from.contentType;
  if (from?.responseTopic !== undefined) properties.responseTopic = from.responseTopic;
  if (from?.correlationData !== undefined) properties.correlationData = from.correlationData;
  if (from?.messageExpiryInterval !== undefined) properties.expiry = from.messageExpiryInterval;
  return new Received({
    topic: p.topic,
    payload: bytesOf(p.payload),
    time: dateOf(time),
    seq: Number(seq) || 0,
    source,
    origin: originOf(source, last(user.origin), last(user["origin-time"])),
    retain: p.retain,
    qos: p.qos === 0 ? 0 : 1,
    missed: Number(gap) || 0,
    redelivered: p.dup,
    properties,
    key: Number(seq) > 0 ? `${seq}@${time}` : "",
  });
}

/** An event as /api/v1/events has it. */
export interface Shown {
  seq: number;
  time: string;
  topic: string;
  payload?: string;
  payload_base64?: string;
  qos: number;
  retain: boolean;
  source: string;
  origin?: { bus: string; time?: string };
}

export function ofHistory(s: Shown): Received {
  return new Received({
    topic: s.topic,
    payload: s.payload_base64 === undefined ? encoder.encode(s.payload ?? "") : Uint8Array.from(atob(s.payload_base64), (c) => c.charCodeAt(0)),
    time: dateOf(s.time),
    seq: s.seq,
    source: s.source,
    origin: originOf(s.source, s.origin?.bus, s.origin?.time),
    retain: s.retain,
    qos: s.qos === 0 ? 0 : 1,
    missed: 0,
    redelivered: false,
    properties: { user: {} },
    key: `${s.seq}@${s.time}`,
  });
}

// No client's source begins so: a publisher may set properties of these names, but not this.
const ofFleet = "@fleet/";

function originOf(source: string, bus: string | undefined, time: string | undefined): Origin | undefined {
  if (!source.startsWith(ofFleet) || !bus) return undefined;
  const at = new Date(time ?? "");
  return { bus, time: Number.isNaN(at.getTime()) ? undefined : at };
}

function dateOf(text: string): Date {
  const d = new Date(text);
  return Number.isNaN(d.getTime()) ? new Date() : d;
}
