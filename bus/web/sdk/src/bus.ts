// This file is the Bus: it connects the parts and reports the status.
//
//	connection ─▶ link ─▶ inbox ─▶ callbacks
//	                ▲ └─▶ subscriptions
//	emit ─▶ outbox ─┘

import { Absence } from "./absence";
import { Connection } from "./connection";
import { ofPublish, payloadOf, type Publish } from "./event";
import { Http, type Login } from "./http";
import { Inbox } from "./inbox";
import type { Link, PublishOptions } from "./link";
import { Outbox } from "./outbox";
import { Requests } from "./request";
import { openStore } from "./store";
import { Subscriptions } from "./subscriptions";
import { claimTab, storage, type Tab } from "./tab";
import { checkFilter, checkTopic } from "./topic";
import type { Bus, BusEvent, Callback, EmitOptions, Failure, HistoryOptions, OnOptions, Options, Status, Value } from "./types";
import { addresses } from "./where";

const week = 7 * 24 * 3600;
const firstTry = 5000; // how long connect() waits for the first connection
const noneAsked = 30_000; // if the page never calls on(), events are held for this long
const tokenWithin = 20_000; // how long a token function may take
const dead = 30_000; // interval of looking for outboxes of closed tabs
const statusEvery = 100;

export class PostBus implements Bus {
  private tab!: Tab;
  private outbox!: Outbox;
  private subscriptions!: Subscriptions;
  private connection!: Connection;
  private readonly inbox: Inbox;
  private readonly absence = new Absence();
  private readonly http: Http;
  private readonly requests: Requests;
  private readonly base: string;
  private readonly listeners = new Set<(s: Status) => void>();
  private readonly onErrors = new Set<(f: Failure) => "skip" | void>();
  private state: Status["state"] = "connecting";
  private since = new Date();
  private reason: string | undefined;
  private epoch: string | undefined;
  private epochChanged = false;
  private lastSeq = 0;
  private wasOnline = false;
  private graceTimer: ReturnType<typeof setTimeout> | undefined;
  private asked = false; // the page has called on()
  private telling: ReturnType<typeof setTimeout> | undefined;
  private chores: ReturnType<typeof setInterval> | undefined;
  private settle: ((e?: Error) => void) | undefined;
  private tokenTried = false;
  private told = "";
  private lastLogin: Promise<Login> | undefined;

  constructor(private o: Options) {
    const { ws, base } = addresses(o.url);
    this.base = base;
    this.ws = ws;
    this.http = new Http(base, (fresh) => (fresh ? this.login() : (this.lastLogin ?? this.login())));
    this.inbox = new Inbox({
      wanting: (topic) => this.subscriptions.wanting(topic),
      unheard: (topic) => this.subscriptions.unheard(topic),
      failed: (f) => this.failed(f),
      handled: (e) => {
        if (e.seq > this.lastSeq) this.lastSeq = e.seq;
        this.absence.handled(e, this.subscriptions.covered(e.topic));
        this.changed();
      },
    });
    this.requests = new Requests({
      id: () => this.id,
      on: (f, c, options) => this.on(f, c, options),
      stands: (f) => this.subscriptions.stands(f),
      publish: (t, p, options) => this.outbox.add(t, p, options),
      withdraw: (options) => this.outbox.withdraw(options),
    });
  }
  private readonly ws: string;

  /** Resolves when connected, or when connecting takes longer; rejects when the bus refuses the client. */
  async start(): Promise<void> {
    const { o } = this;
    const scope = `postbus:${this.base}`;
    this.tab = await claimTab(scope);
    const failed = (error: Error) => void this.failed({ error });
    this.outbox = new Outbox(() => this.tab.id, {
      store: await openStore(scope, failed),
      entries: o.outbox?.entries ?? 10_000,
      bytes: o.outbox?.bytes ?? 16 << 20,
      changed: () => this.changed(),
      failed,
    });
    await this.outbox.load();
    const memory = storage(o.id === undefined ? "sessionStorage" : "localStorage");
    const filters = () => `${scope}/${this.id}/filters`;
    this.subscriptions = new Subscriptions({
      load: () => {
        try {
          return JSON.parse(memory?.getItem(filters()) ?? "[]") as [string, boolean][];
        } catch {
          return [];
        }
      },
      save: (f) => {
        try {
          memory?.setItem(filters(), JSON.stringify(f));
        } catch {
          // The page's storage is full. After a reload, unused subscriptions are not removed.
        }
      },
      refused: (filter, error) => void this.failed({ error: new Error(`${filter}: ${error.message}`), filter }),
    });
    this.connection = new Connection({
      login: () => this.login(),
      renews: typeof o.token === "function",
      clientId: () => this.id,
      link: {
        url: this.ws,
        sessionExpiry: o.sessionExpiry ?? week,
        inflight: o.inflight ?? 100,
        meta: o.meta ?? true,
        will: o.will && { topic: o.will.topic, payload: payloadOf(o.will.topic, o.will.value, o.will.retain), qos: o.will.qos ?? 1, retain: o.will.retain ?? false, delay: o.will.delay ?? 0 },
      },
      up: (link) => this.up(link),
      publish: (p) => this.take(p),
      down: (reason, code) => this.down(reason, code),
      failed: (reason, final) => this.tryFailed(reason, final),
      takenOver: async () => {
        if (o.id !== undefined) return false;
        await this.tab.rename();
        return true;
      },
    });
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(() => this.settle?.(), firstTry);
      this.settle = (e) => {
        this.settle = undefined;
        clearTimeout(timer);
        if (e) reject(e);
        else resolve();
      };
      this.connection.start();
    });
    this.chores = setInterval(() => {
      if (this.connection.link) void this.outbox.adopt((owner) => this.tab.alive(owner));
    }, dead);
    this.startGrace();
  }

  get id(): string {
    return this.o.id ?? this.tab.id;
  }

  get current(): Status {
    return {
      state: this.state,
      since: this.since,
      missed: this.absence.missed,
      lost: this.absence.lost,
      queued: this.outbox?.size ?? 0,
      ...(this.reason !== undefined && { reason: this.reason }),
      ...(this.epoch !== undefined && { epoch: this.epoch }),
      epochChanged: this.epochChanged,
    };
  }

  on(filter: string, callback: Callback, options: OnOptions = {}): () => void {
    checkFilter(filter);
    if (typeof callback !== "function") throw new TypeError("on() needs a function as its callback");
    const r = this.subscriptions.add(filter, callback, options);
    if (!this.asked) {
      this.asked = true;
      this.startGrace();
    }
    this.inbox.kick();
    return () => {
      this.subscriptions.remove(filter, (x) => x === r);
    };
  }

  once(filter: string, callback: Callback, options: OnOptions = {}): () => void {
    const off = this.on(
      filter,
      async (e) => {
        await callback(e);
        off();
      },
      options,
    );
    return off;
  }

  off(filter: string, callback?: Callback): void {
    this.subscriptions.remove(filter, (r) => callback === undefined || r.callback === callback);
  }

  async emit(topic: string, value?: Value, options: EmitOptions = {}): Promise<void> {
    checkTopic(topic);
    const payload = payloadOf(topic, value, options.retain).slice(); // the caller may change its own buffer afterwards
    const { qos, retain, expiry } = options;
    const publish: PublishOptions = { ...(retain && { retain }), ...(expiry !== undefined && { expiry }) };
    if (qos !== 0) return this.outbox.add(topic, payload, publish);
    const { link } = this.connection;
    if (!link) throw new Error("offline: an event of QoS 0 is not stored");
    await link.publish(topic, payload, { ...publish, qos: 0 });
  }

  request(topic: string, value?: Value, options: { timeout?: number } = {}): Promise<BusEvent> {
    try {
      checkTopic(topic);
      return this.requests.request(topic, value, options.timeout);
    } catch (e) {
      return Promise.reject(e);
    }
  }

  respond(filter: string, callback: (event: BusEvent) => Value | Promise<Value>): () => void {
    return this.requests.respond(filter, callback);
  }

  async history(filter: string, options: HistoryOptions = {}): Promise<BusEvent[]> {
    checkFilter(filter);
    return this.http.history(filter, options);
  }

  status(callback: (s: Status) => void): () => void {
    this.listeners.add(callback);
    callback(this.current);
    return () => void this.listeners.delete(callback);
  }

  onError(callback: (f: Failure) => "skip" | void): () => void {
    this.onErrors.add(callback);
    return () => void this.onErrors.delete(callback);
  }

  async close(options: { forget?: boolean } = {}): Promise<void> {
    clearInterval(this.chores);
    clearTimeout(this.graceTimer);
    this.inbox.close();
    await this.connection.close(options.forget ?? false);
    await this.outbox.close();
    this.tab.release();
    this.tell("offline", "closed");
  }

  private login(): Promise<Login> {
    const { user, password, token } = this.o;
    const ask = async () => (token === undefined ? { username: user, password } : { username: user ?? "", password: typeof token === "function" ? await answered(token) : token });
    const login = ask();
    login.then(() => (this.lastLogin = login)).catch(() => {});
    return login;
  }

  private up(link: Link): void {
    const lost = !link.present;
    const { epoch, seq } = link.place;
    this.absence.returned(!lost, seq);
    // A lost session continues from the last handled event, if the journal is the same.
    const before = this.epoch;
    const last = this.lastSeq;
    if (epoch !== undefined) {
      this.epochChanged = before !== undefined && epoch !== before;
      if (this.epochChanged) this.lastSeq = 0;
      this.epoch = epoch;
    }
    const resume = epoch !== undefined && epoch === before && last > 0 ? String(last + 1) : undefined;
    this.subscriptions.connected(link, lost, this.wasOnline, resume);
    this.wasOnline = true;
    this.tokenTried = false;
    this.outbox.connected(link);
    void this.outbox.adopt((owner) => this.tab.alive(owner));
    this.tell("online");
    this.settle?.();
  }

  private take(p: Publish): void {
    const link = this.connection.link;
    const event = ofPublish(p);
    const id = p.messageId;
    this.absence.came(event);
    this.inbox.offer(event, p.qos === 0 || id === undefined ? undefined : () => link?.acknowledge(id));
  }

  private down(reason: string, code: number): void {
    this.inbox.disconnected();
    this.outbox.disconnected(reason, code);
    this.subscriptions.disconnected();
    this.tell("offline", reason);
  }

  private tryFailed(reason: string, final: boolean): void {
    this.tell(this.wasOnline || !final ? "offline" : "connecting", reason);
    if (!this.settle) return;
    if (final && typeof this.o.token === "function" && !this.tokenTried) {
      this.tokenTried = true; // the next attempt requests a new one
      return;
    }
    if (!final) return this.settle();
    void this.connection.close(false).then(() => this.outbox.close());
    this.tab.release();
    this.settle(new Error(reason));
  }

  /** Limits, from now on, how long unmatched events are held. */
  private startGrace(): void {
    clearTimeout(this.graceTimer);
    if (!this.inbox.hold) return;
    this.graceTimer = setTimeout(
      () => {
        this.inbox.hold = false;
        this.subscriptions.tidy();
        this.inbox.kick();
      },
      this.asked ? (this.o.grace ?? 2) * 1000 : noneAsked,
    );
  }

  private failed(f: Failure): "skip" | void {
    let answer: "skip" | undefined;
    if (this.onErrors.size === 0) console.error("postbus:", f.error, f.event?.topic ?? "");
    for (const callback of this.onErrors) if (safely(() => callback(f)) === "skip") answer = "skip";
    return answer;
  }

  private tell(state: Status["state"], reason?: string): void {
    if (state !== this.state) this.since = new Date();
    this.state = state;
    this.reason = reason;
    clearTimeout(this.telling);
    this.telling = undefined;
    const s = this.current;
    this.told = JSON.stringify(s);
    for (const l of [...this.listeners]) safely(() => l(s));
  }

  /** Something other than the state changed: reported a few times a second. */
  private changed(): void {
    if (this.telling !== undefined || this.listeners.size === 0) return;
    this.telling = setTimeout(() => {
      this.telling = undefined;
      if (JSON.stringify(this.current) !== this.told) this.tell(this.state, this.reason);
    }, statusEvery);
  }
}

/** A token function that does not answer must cause an error. */
function answered(token: () => string | Promise<string>): Promise<string> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`the token function did not answer within ${tokenWithin / 1000} s`)), tokenWithin);
    Promise.resolve()
      .then(token)
      .then(resolve, reject)
      .finally(() => clearTimeout(timer));
  });
}

/** An error of a status callback must not stop the bus. */
function safely<T>(f: () => T): T | undefined {
  try {
    return f();
  } catch (e) {
    console.error("postbus:", e);
    return undefined;
  }
}
