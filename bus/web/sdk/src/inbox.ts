// This file is the inbox: events wait in one queue, each is passed to every matching callback, and only
// then acknowledged.
//
//	offer ─▶ row ─▶ callback, callback ─▶ acknowledge ─▶ the next
//	                   └─ failed: wait, try the same event again; the others wait too, for the order
//
// An event without a callback is held while hold is true: after a reload the bus sends missed events
// before the page has called on().

import type { Received } from "./event";
import type { Callback, Failure } from "./types";

/** One on(): a filter and its callback. */
export interface Registration {
  id: number;
  filter: string;
  matches: (topic: string) => boolean;
  callback: Callback;
  active: boolean;
  upTo: number; // the highest sequence that it has got
}

interface Waiting {
  event: Received;
  acks: (() => void)[]; // of the current connection; empty while there is none
  done: Set<number>; // registrations that have got it
  attempt: number;
}

export interface InboxOptions {
  /** The registrations that match the topic, in the order of their on(). */
  wanting(topic: string): Registration[];
  /** No callback matches the topic, but one may be added. */
  unheard(topic: string): boolean;
  /** A callback failed; "skip" drops the event. */
  failed(f: Failure): "skip" | void;
  /** An event was handled for the first time. */
  handled?(event: Received): void;
  /** Milliseconds before a try; tests shorten it. */
  backoff?(attempt: number): number;
}

const remembered = 10_000; // events whose repetition is recognised
const maxUnacked = 1_000; // QoS 0 that may wait; the bus bounds the rest by Receive Maximum
const busyFor = 8; // milliseconds before the page gets a turn

export class Inbox {
  hold = true;
  private row: Waiting[] = [];
  private byKey = new Map<string, Waiting>();
  private had = new Map<string, number[]>(); // by key: the registrations that have got it
  private unacked = 0;
  private dropped = 0;
  private running = false;
  private closed = false;
  private wake: (() => void) | undefined; // ends the wait before another try
  private turn = 0;

  constructor(private o: InboxOptions) {}

  get waiting(): number {
    return this.row.length;
  }

  /** Adds an event from the bus. ack is undefined at QoS 0. */
  offer(event: Received, ack?: () => void): void {
    if (this.closed) return;
    const key = event.key;
    const had = this.had.get(key);
    const done = new Set(had);
    if (key !== "" && ack) {
      const same = this.byKey.get(key);
      if (same) {
        same.acks.push(ack);
        return;
      }
      const wanting = had ? this.o.wanting(event.topic) : [];
      // A callback that was added later and has already got newer events does not get the repetition.
      if (event.redelivered) for (const r of wanting) if (r.upTo > event.seq) done.add(r.id);
      if (had && wanting.every((r) => done.has(r.id))) {
        ack();
        return;
      }
    }
    if (!ack) {
      if (this.unacked >= maxUnacked) {
        this.dropped++;
        return;
      }
      this.unacked++;
    }
    event.missed += this.dropped;
    this.dropped = 0;
    const w: Waiting = { event, acks: ack ? [ack] : [], done, attempt: 0 };
    this.row.push(w);
    if (key !== "") this.byKey.set(key, w);
    this.kick();
  }

  /** The connection ended: the bus redelivers its unacknowledged events. */
  disconnected(): void {
    for (const w of this.row) w.acks = [];
  }

  /** Something changed that may let the first event pass. */
  kick(): void {
    this.wake?.();
    if (!this.running && !this.closed) void this.run();
  }

  close(): void {
    this.closed = true;
    this.row = [];
    this.byKey.clear();
    this.wake?.();
  }

  private async run(): Promise<void> {
    this.running = true;
    this.turn = performance.now();
    while (this.row.length > 0 && !this.closed) {
      const w = this.row[0]!;
      if (!(await this.handle(w)) || this.closed) break;
      this.row.shift();
      this.finish(w);
      if (performance.now() - this.turn > busyFor) {
        await pause();
        this.turn = performance.now();
      }
    }
    this.running = false;
  }

  private finish(w: Waiting): void {
    const { key } = w.event;
    if (!w.acks.length && w.event.qos === 0) this.unacked--;
    if (key !== "") {
      if (this.byKey.get(key) === w) this.byKey.delete(key);
      this.had.delete(key); // so that it goes to the end
      this.had.set(key, [...w.done]);
      if (this.had.size > remembered) this.had.delete(this.had.keys().next().value!);
    }
    for (const ack of w.acks) ack();
  }

  /** False: it has to wait for a matching callback. */
  private async handle(w: Waiting): Promise<boolean> {
    const news = w.done.size === 0;
    for (;;) {
      const wanting = this.o.wanting(w.event.topic);
      if (wanting.length === 0 && w.done.size === 0 && this.hold && this.o.unheard(w.event.topic)) return false;
      const r = wanting.find((r) => !w.done.has(r.id));
      if (!r) {
        if (news && w.done.size > 0) this.o.handled?.(w.event);
        return true;
      }
      try {
        await r.callback(w.event);
        w.done.add(r.id);
        r.upTo = Math.max(r.upTo, w.event.seq);
      } catch (e) {
        if (this.closed) return false;
        if (!r.active) continue; // it was removed meanwhile
        const error = e instanceof Error ? e : new Error(String(e));
        w.attempt++;
        if (this.o.failed({ error, event: w.event, attempt: w.attempt, filter: r.filter }) === "skip") {
          w.done.add(r.id);
          continue;
        }
        w.event.redelivered = true;
        await this.later((this.o.backoff ?? backoff)(w.attempt));
      }
      if (this.closed) return false;
    }
  }

  private later(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(done, ms);
      const self = this;
      function done() {
        clearTimeout(timer);
        self.wake = undefined;
        resolve();
      }
      // Only close ends it early: another event does not make the failed one succeed.
      this.wake = () => {
        if (this.closed) done();
      };
    });
  }
}

/** 100 ms, doubled up to 30 s. */
export function backoff(attempt: number): number {
  return Math.min(30_000, 100 * 2 ** Math.min(attempt - 1, 16));
}

/** A turn for the page. A message is not throttled in a hidden tab, a timer is. */
function pause(): Promise<void> {
  return new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      resolve();
    };
    port2.postMessage(0);
  });
}
