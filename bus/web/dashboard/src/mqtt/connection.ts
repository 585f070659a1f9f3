// This file is one MQTT connection over a WebSocket that reconnects by itself, and its subscriptions.
// Input is decoded in slices, so that a burst does not block the page.

import { acknowledge, connect, Decoder, goodbye, ping, subscribe, unsubscribe, type Filter, type Login, type Packet, type Publish } from "./codec";
import { reasonOf, wantsLogin } from "./reasons";

export type Link = "connecting" | "online" | "offline" | "refused";

export interface Subscription {
  filters: Filter[];
  since?: () => string | null; // asked at every connection; null: not now, again() will be called
  event?(m: Publish): void; // those that carry this subscription's identifier
  answered?(codes: number[], reason: string): void;
}

export interface ConnectionOptions {
  url: string;
  clientId: string;
  login(): Login | null;
  event?(m: Publish): void; // every event, once
  changed(state: Link, reason: string, login: boolean): void;
}

const keepAlive = 120; // seconds; a hidden tab's timers run once a minute
const pingEvery = 25_000;
const pongWithin = 8_000;
const slice = 6; // milliseconds of reading at a time

export class Connection {
  state: Link = "offline";
  private o: ConnectionOptions;
  private ws: WebSocket | null = null;
  private decoder = new Decoder();
  private queue: Uint8Array[] = [];
  private draining = false;
  private channel = new MessageChannel();
  private subs = new Map<number, Subscription>();
  private asked = new Map<number, number>(); // packet identifier of a SUBSCRIBE: its subscription
  private lastSub = 0;
  private lastId = 0;
  private tries = 0;
  private timer = 0;
  private pinger = 0;
  private silent = 0;
  private stopped = true;
  private acks: Uint8Array[] = [];

  constructor(o: ConnectionOptions) {
    this.o = o;
    this.channel.port1.onmessage = () => this.drain();
    addEventListener("online", () => this.retry());
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden) this.retry();
    });
  }

  start(): void {
    this.stopped = false;
    this.tries = 0;
    this.open();
  }

  stop(): void {
    this.stopped = true;
    clearTimeout(this.timer);
    if (this.state === "online") this.send(goodbye);
    this.close();
  }

  // retry connects at once; if a connection exists, it sends a ping.
  retry(): void {
    if (this.stopped || this.state === "refused") return;
    if (this.state === "online") {
      this.ping();
    } else if (!this.ws) {
      this.tries = Math.min(this.tries, 1);
      this.open();
    }
  }

  subscribe(s: Subscription): number {
    const sub = ++this.lastSub;
    this.subs.set(sub, s);
    if (this.state === "online") this.ask(sub, s);
    return sub;
  }

  unsubscribe(sub: number): void {
    const s = this.subs.get(sub);
    if (!s) return;
    this.subs.delete(sub);
    const others = [...this.subs.values()].flatMap((o) => o.filters.map((f) => f.filter));
    const gone = s.filters.map((f) => f.filter).filter((f) => !others.includes(f));
    if (this.state === "online" && gone.length > 0) this.send(unsubscribe(this.nextId(), gone));
  }

  // again subscribes once more, for the retained messages, or for the history from since.
  again(sub: number): void {
    const s = this.subs.get(sub);
    if (s && this.state === "online") this.ask(sub, s);
  }

  private nextId(): number {
    this.lastId = (this.lastId % 0xffff) + 1;
    return this.lastId;
  }

  private ask(sub: number, s: Subscription): void {
    const since = s.since ? s.since() : "";
    if (since === null) return;
    const id = this.nextId();
    this.asked.set(id, sub);
    this.send(subscribe(id, sub, s.filters, since));
  }

  private open(): void {
    clearTimeout(this.timer);
    this.decoder = new Decoder();
    this.queue = [];
    this.asked.clear();
    this.acks = [];
    this.set("connecting", "");
    const ws = new WebSocket(this.o.url, "mqtt");
    this.ws = ws;
    ws.binaryType = "arraybuffer";
    ws.onopen = () => ws.send(connect(this.o.clientId, keepAlive, this.o.login()));
    ws.onmessage = (e) => {
      if (ws !== this.ws) return;
      this.queue.push(new Uint8Array(e.data as ArrayBuffer));
      if (!this.draining) this.drain();
    };
    ws.onclose = () => {
      if (ws === this.ws) this.lost("the connection ended");
    };
    this.timer = window.setTimeout(() => {
      if (ws === this.ws && this.state === "connecting") this.lost("no answer");
    }, pongWithin);
  }

  private close(): void {
    const ws = this.ws;
    this.ws = null;
    clearInterval(this.pinger);
    clearTimeout(this.silent);
    this.silent = 0;
    if (ws) {
      ws.onclose = ws.onmessage = null;
      ws.close();
    }
  }

  // lost closes and reconnects: soon at first, later every few seconds, with jitter.
  private lost(reason: string): void {
    this.close();
    if (this.stopped || this.state === "refused") return;
    this.set("offline", reason);
    const wait = Math.min(250 * 1.7 ** this.tries++, 5000) * (0.75 + Math.random() / 2);
    clearTimeout(this.timer);
    this.timer = window.setTimeout(() => this.open(), wait);
  }

  private set(state: Link, reason: string, login = false): void {
    // While it reconnects, the state is still offline.
    if (state === "connecting" && this.tries > 0) state = "offline";
    if (state === this.state && state !== "refused") return;
    this.state = state;
    this.o.changed(state, reason, login);
  }

  private send(p: Uint8Array): void {
    if (this.ws?.readyState === WebSocket.OPEN) this.ws.send(p as Uint8Array<ArrayBuffer>);
  }

  private ping(): void {
    if (this.silent) return;
    this.send(ping);
    this.silent = window.setTimeout(() => this.lost("no answer"), pongWithin);
  }

  private drain(): void {
    const until = performance.now() + slice;
    this.draining = true;
    for (let n = 0; ; n++) {
      let p: Packet | null;
      try {
        p = this.decoder.next();
      } catch (e) {
        this.draining = false;
        this.lost(String(e));
        return;
      }
      if (!p) {
        const chunk = this.queue.shift();
        if (!chunk) break;
        this.decoder.push(chunk);
        continue;
      }
      this.take(p);
      if (n % 32 === 31 && !document.hidden && performance.now() > until) {
        this.flush();
        this.channel.port2.postMessage(0);
        return;
      }
    }
    this.draining = false;
    this.flush();
  }

  // flush sends the acknowledgements of a slice as one message.
  private flush(): void {
    if (this.acks.length === 0) return;
    const all = new Uint8Array(this.acks.length * 4);
    this.acks.forEach((a, i) => all.set(a, i * 4));
    this.acks = [];
    this.send(all);
  }

  private take(p: Packet): void {
    switch (p.kind) {
      case "publish":
        this.o.event?.(p);
        for (const sub of p.subs) this.subs.get(sub)?.event?.(p);
        if (p.qos > 0) this.acks.push(acknowledge(p.qos === 1 ? 4 : 5, p.id));
        break;
      case "pubrel":
        this.acks.push(acknowledge(7, p.id));
        break;
      case "connack":
        this.welcomed(p.codes[0] ?? 0x80, p.reason);
        break;
      case "suback": {
        const sub = this.asked.get(p.id);
        this.asked.delete(p.id);
        if (sub !== undefined) this.subs.get(sub)?.answered?.(p.codes, p.reason);
        break;
      }
      case "pingresp":
        clearTimeout(this.silent);
        this.silent = 0;
        break;
      case "disconnect":
        this.lost(reasonOf(p.codes[0] ?? 0x80, p.reason));
    }
  }

  private welcomed(code: number, reason: string): void {
    clearTimeout(this.timer);
    if (code >= 0x80) {
      const text = reasonOf(code, reason);
      if (wantsLogin(code)) {
        this.close();
        this.set("refused", text, true);
      } else {
        this.lost(text);
      }
      return;
    }
    this.tries = 0;
    this.pinger = window.setInterval(() => this.ping(), pingEvery);
    this.set("online", "");
    for (const [sub, s] of this.subs) this.ask(sub, s);
  }
}
