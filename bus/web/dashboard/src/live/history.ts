// This file follows one topic from its history on: first the journal's events as a stream over HTTP, which is
// several times as fast as single deliveries, then a second session that continues where the stream ended. No event
// is shown twice, also after a lost connection.

import { Connection } from "../mqtt/connection";
import type { Publish } from "../mqtt/codec";
import { reasonOf } from "../mqtt/reasons";
import { farOf } from "../model/format";
import { numberIn } from "../model/numeric";
import { Points } from "../model/points";
import { eventLines, payloadOf, type ShownEvent } from "../state/api";
import { clientId, socketURL } from "../state/feed";
import { login } from "../state/login";

export interface Message {
  seq: number;
  time: number; // milliseconds
  qos: number;
  size: number;
  retain: boolean;
  source: string;
  there?: number; // when another bus accepted it first, in milliseconds
  payload: Uint8Array; // cut at keptPayload
}

const keptMessages = 50;
const keptPayload = 512 * 1024;
const numberUpTo = 16 * 1024; // bytes of a payload that are searched for a number

export const ranges: Record<string, number> = { "10m": 600, "1h": 3600, "24h": 86_400 };

const utf8 = new TextDecoder();

export function timeOf(text: string | undefined): number | undefined {
  return (text && Date.parse(text)) || undefined;
}

export class History {
  topic = "";
  range = "10m";
  member = "";
  messages: Message[] = []; // the newest first
  points = new Points();
  texts = 0; // messages without a number
  total = 0; // messages since from
  from = 0; // milliseconds
  reason = ""; // why there are none
  standing = false; // the subscription was answered
  version = 0;
  changed: () => void = () => {};
  private connection: Connection | null = null;
  private sub = 0;
  private lastSeq = 0;
  private reading: AbortController | null = null;

  // show selects another topic or range. The first call connects.
  show(topic: string, range: string, member: string): void {
    if (topic === this.topic && range === this.range && member === this.member && (this.sub || this.reading)) return;
    this.topic = topic;
    this.range = range;
    this.member = member;
    this.from = Date.now() - (ranges[range] ?? 0) * 1000;
    this.lastSeq = 0;
    this.messages = [];
    this.points = new Points();
    this.texts = this.total = 0;
    this.reason = "";
    this.standing = false;
    this.touch();
    if (this.sub) this.connection?.unsubscribe(this.sub);
    this.sub = 0;
    this.reading?.abort();
    const reading = (this.reading = new AbortController());
    void eventLines(topic, range, (events) => !reading.signal.aborted && this.past(events), reading.signal)
      .then(
        (next) => {
          if (next && !reading.signal.aborted) this.lastSeq = Math.max(this.lastSeq, next - 1);
        },
        () => undefined, // an incomplete answer: the session delivers the remaining events
      )
      .then(() => {
        if (reading.signal.aborted) return;
        this.reading = null;
        this.follow(topic, range);
      });
  }

  // follow subscribes from the last known event on.
  private follow(topic: string, range: string): void {
    if (!this.connection) {
      this.connection = new Connection({ url: socketURL.href, clientId: clientId + "-detail", login, changed: () => this.touch() });
      this.connection.start();
    }
    const lasts = () => (this.lastSeq ? String(this.lastSeq + 1) : range);
    this.sub = this.connection.subscribe({
      filters: [{ filter: topic, qos: 2 }],
      since: lasts,
      event: (m) => this.take(m),
      answered: (codes, reason) => {
        const code = codes[0] ?? 0x80;
        this.reason = code < 0x80 ? "" : reasonOf(code, reason);
        this.standing = true;
        this.touch();
      },
    });
  }

  // hide ends the subscription and the connection.
  hide(): void {
    this.reading?.abort();
    this.reading = null;
    this.connection?.stop();
    this.connection = null;
    this.sub = 0;
    this.topic = "";
    this.messages = [];
    this.points = new Points();
  }

  // past adds events of the journal; only the newest keep their whole payload.
  private past(events: ShownEvent[]): void {
    for (const e of events) {
      this.lastSeq = e.seq;
      this.number(Date.parse(e.time), e.payload ?? "");
    }
    for (const e of events.slice(-keptMessages)) {
      const payload = payloadOf(e);
      this.keep({ seq: e.seq, time: Date.parse(e.time), qos: e.qos, size: payload.length, retain: e.retain, source: e.source, there: timeOf(e.origin?.time), payload: payload.slice(0, keptPayload) });
    }
    this.touch();
  }

  private number(time: number, text: string): void {
    this.total++;
    const y = text.length <= numberUpTo ? numberIn(text, this.member) : NaN;
    if (Number.isNaN(y)) this.texts++;
    else this.points.push(time / 1000, y);
  }

  private keep(m: Message): void {
    this.messages.unshift(m);
    if (this.messages.length > keptMessages) this.messages.length = keptMessages;
  }

  private take(m: Publish): void {
    const seq = m.topic.startsWith("$") ? 0 : m.seq;
    if (seq && seq <= this.lastSeq) return;
    if (seq) this.lastSeq = seq;
    const time = m.time ? Date.parse(m.time) : Date.now();
    this.keep({ seq, time, qos: m.qos, size: m.payload.length, retain: m.retain, source: m.source, there: farOf(m.source) ? timeOf(m.originTime) : undefined, payload: m.payload.slice(0, keptPayload) });
    this.number(time, m.payload.length <= numberUpTo ? utf8.decode(m.payload) : "");
    this.touch();
  }

  private touch(): void {
    this.version++;
    this.changed();
  }
}
