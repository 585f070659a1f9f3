// This file is the part of MQTT 5 that a reader of events needs: CONNECT, SUBSCRIBE, UNSUBSCRIBE,
// the answers, and the acknowledgements of QoS 1 and 2. A whole client library would be
// larger than the rest of the dashboard together.

export interface Publish {
  kind: "publish";
  topic: string;
  payload: Uint8Array; // a view of the socket's buffer: copy it to keep it
  qos: number;
  retain: boolean;
  dup: boolean;
  id: number; // packet identifier, 0 at QoS 0
  subs: number[]; // subscription identifiers
  seq: number; // 0 when the event is not in the journal
  time: string; // RFC 3339, "" if the bus did not send it
  source: string;
  originTime: string; // when another bus accepted it first; counts only if the source is of another bus
  gap: number; // events lost before this one
}

export interface Answer {
  kind: "connack" | "suback" | "unsuback" | "disconnect" | "pubrel" | "pingresp" | "other";
  id: number;
  codes: number[];
  reason: string;
}

export type Packet = Publish | Answer;

const utf8 = new TextDecoder();
const bytes = new TextEncoder();

// Widths of the values of properties [MQTT-2.2.2]: 1, 2, 4 bytes, v: variable integer, s: string or
// binary, p: pair of strings.
const widths: Record<number, 1 | 2 | 4 | "v" | "s" | "p"> = {
  0x01: 1, 0x02: 4, 0x03: "s", 0x08: "s", 0x09: "s", 0x0b: "v", 0x11: 4, 0x12: "s", 0x13: 2, 0x15: "s", 0x16: "s",
  0x17: 1, 0x18: 4, 0x19: 1, 0x1a: "s", 0x1c: "s", 0x1f: "s", 0x21: 2, 0x22: 2, 0x23: 2, 0x24: 1, 0x25: 1,
  0x26: "p", 0x27: 4, 0x28: 1, 0x29: 1, 0x2a: 1,
};

// Decoder splits a stream into packets. A packet may begin in one chunk and end in another.
export class Decoder {
  private chunk: Uint8Array = new Uint8Array(0);
  private at = 0;
  private end = 0; // of the packet that is read

  push(more: Uint8Array): void {
    const left = this.chunk.length - this.at;
    if (left === 0) {
      this.chunk = more;
    } else {
      const both = new Uint8Array(left + more.length);
      both.set(this.chunk.subarray(this.at));
      both.set(more, left);
      this.chunk = both;
    }
    this.at = 0;
  }

  // next returns the next complete packet, or null if more bytes are needed. It throws if the bytes are not MQTT.
  next(): Packet | null {
    const start = this.at;
    if (this.chunk.length - start < 2) return null;
    let size = 0;
    let p = start + 1;
    for (let shift = 0; ; shift += 7) {
      if (p >= this.chunk.length) return null;
      const b = this.chunk[p++]!;
      size |= (b & 0x7f) << shift;
      if (b < 0x80) break;
      if (shift === 21) throw new Error("not MQTT: a length without end");
    }
    if (p + size > this.chunk.length) return null;
    const first = this.chunk[start]!;
    this.at = p;
    this.end = p + size;
    const packet = this.body(first);
    this.at = this.end;
    return packet;
  }

  private body(first: number): Packet {
    const type = first >> 4;
    if (type === 3) return this.publish(first);
    const a: Answer = { kind: "other", id: 0, codes: [], reason: "" };
    switch (type) {
      case 2: // CONNACK
        a.kind = "connack";
        this.byte(); // session present: never, the session is clean
        a.codes.push(this.byte());
        if (this.at < this.end) this.properties(a, null);
        break;
      case 9: // SUBACK
      case 11: // UNSUBACK
        a.kind = type === 9 ? "suback" : "unsuback";
        a.id = this.short();
        this.properties(a, null);
        while (this.at < this.end) a.codes.push(this.byte());
        break;
      case 6: // PUBREL
        a.kind = "pubrel";
        a.id = this.short();
        break;
      case 13:
        a.kind = "pingresp";
        break;
      case 14: // DISCONNECT
        a.kind = "disconnect";
        a.codes.push(this.at < this.end ? this.byte() : 0);
        if (this.at < this.end) this.properties(a, null);
        break;
    }
    return a;
  }

  private publish(first: number): Publish {
    const m: Publish = { kind: "publish", topic: "", payload: this.chunk, qos: (first >> 1) & 3, retain: (first & 1) === 1, dup: (first & 8) !== 0,
      id: 0, subs: [], seq: 0, time: "", source: "", originTime: "", gap: 0 };
    m.topic = this.text();
    if (m.qos > 0) m.id = this.short();
    this.properties(null, m);
    m.payload = this.chunk.subarray(this.at, this.end);
    return m;
  }

  private properties(a: Answer | null, m: Publish | null): void {
    const size = this.variable();
    const end = this.at + size;
    if (end > this.end) throw new Error("not MQTT: properties beyond the packet");
    while (this.at < end) {
      const name = this.byte();
      const width = widths[name];
      if (name === 0x26) {
        this.user(m);
      } else if (name === 0x0b) {
        const v = this.variable();
        m?.subs.push(v);
      } else if (name === 0x1f && a) {
        a.reason = this.text();
      } else if (width === "s") {
        const n = this.short();
        this.at += n;
      } else if (width === "v") {
        this.variable();
      } else if (typeof width === "number") {
        this.at += width;
      } else {
        throw new Error(`not MQTT: property ${name}`);
      }
    }
    this.at = end;
  }

  // user reads one user property. Those of the bus follow those of the publisher, so the last one counts.
  private user(m: Publish | null): void {
    const key = this.text();
    const value = this.text();
    if (!m) return;
    switch (key) {
      case "seq":
        m.seq = Number(value) || 0;
        break;
      case "time":
        m.time = value;
        break;
      case "source":
        m.source = value;
        break;
      case "origin-time":
        m.originTime = value;
        break;
      case "gap":
        m.gap = Number(value) || 0;
    }
  }

  private byte(): number {
    if (this.at >= this.end) throw new Error("not MQTT: a packet too short");
    return this.chunk[this.at++]!;
  }

  private short(): number {
    return (this.byte() << 8) | this.byte();
  }

  private variable(): number {
    let v = 0;
    for (let shift = 0; shift < 28; shift += 7) {
      const b = this.byte();
      v |= (b & 0x7f) << shift;
      if (b < 0x80) return v;
    }
    throw new Error("not MQTT: a number without end");
  }

  private text(): string {
    const n = this.short();
    const from = this.at;
    this.at += n;
    if (this.at > this.end) throw new Error("not MQTT: a text beyond the packet");
    return n === 0 ? "" : utf8.decode(this.chunk.subarray(from, this.at));
  }
}

// Encoding. Packets are small, so arrays of numbers suffice.

function text(s: string): number[] {
  const b = bytes.encode(s);
  return [b.length >> 8, b.length & 0xff, ...b];
}

function variable(n: number): number[] {
  const out: number[] = [];
  do {
    out.push(n > 0x7f ? (n & 0x7f) | 0x80 : n);
    n >>= 7;
  } while (n > 0);
  return out;
}

function packet(first: number, body: number[]): Uint8Array {
  return new Uint8Array([first, ...variable(body.length), ...body]);
}

export interface Login {
  user: string;
  password: string;
}

// The bus forgets a client with this user property when its connection ends.
const transient = [0x26, ...text("transient"), ...text("1")];

// connect begins a clean session that ends with its connection.
export function connect(clientId: string, keepAlive: number, login: Login | null): Uint8Array {
  const flags = 0x02 | (login ? 0xc0 : 0);
  return packet(0x10, [...text("MQTT"), 5, flags, keepAlive >> 8, keepAlive & 0xff, transient.length, ...transient, ...text(clientId),
    ...(login ? [...text(login.user), ...text(login.password)] : [])]);
}

export interface Filter {
  filter: string;
  qos: 0 | 1 | 2;
}

// subscribe asks for events with their seq, time and source, and with the retain flag that they were
// published with. A subscription with history gets no retained messages in addition.
export function subscribe(id: number, sub: number, filters: Filter[], since: string): Uint8Array {
  const props = [0x0b, ...variable(sub), 0x26, ...text("meta"), ...text("1")];
  if (since) props.push(0x26, ...text("since"), ...text(since));
  const body = [id >> 8, id & 0xff, ...variable(props.length), ...props];
  for (const f of filters) body.push(...text(f.filter), f.qos | 0x08 | (since ? 0x20 : 0));
  return packet(0x82, body);
}

export function unsubscribe(id: number, filters: string[]): Uint8Array {
  return packet(0xa2, [id >> 8, id & 0xff, 0, ...filters.flatMap(text)]);
}

// The acknowledgements of a delivery: PUBACK, PUBREC, PUBCOMP, all alike.
export function acknowledge(type: 4 | 5 | 7, id: number): Uint8Array {
  return new Uint8Array([type << 4, 2, id >> 8, id & 0xff]);
}

export const ping = new Uint8Array([0xc0, 0]);
export const goodbye = new Uint8Array([0xe0, 0]);
