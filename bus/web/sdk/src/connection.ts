// This file keeps the page connected: one link after the other, with a growing pause between attempts, and
// without a pause when the network or the machine seems to be back.

import type { Login } from "./http";
import { connectLink, Refused, type Link, type LinkEvents, type LinkOptions } from "./link";

/** Full jitter between 0.5 s and a bound that doubles up to 15 s. */
export function pauseBefore(attempt: number, random = Math.random()): number {
  const most = Math.min(15_000, 1000 * 2 ** Math.min(attempt, 10));
  return 500 + random * (most - 500);
}

const tick = 1000;
const sleptFor = 4000; // a timer that is so late was not throttled to once a second: the machine slept
const quietFor = 20_000; // without input for this long: send a ping
const answerWithin = 4000;
const renewAgain = 5000; // when there was no new token yet
const answerAtOnce = 2000; // when there is a reason to doubt

export interface ConnectionOptions {
  /** Called before every attempt, so that the token is new. */
  login(): Promise<Login>;
  /** login may give another token each time. */
  renews: boolean;
  link: Omit<LinkOptions, "username" | "password" | "clientId">;
  clientId(): string;
  /** Called at once when a link is up, before any event of it. */
  up(link: Link): void;
  publish: LinkEvents["publish"];
  down(reason: string, code: number): void;
  /** An attempt failed, or the state changed otherwise. */
  failed(reason: string, final: boolean): void;
  /** Another client took the session over; true: continue, because there is a new name. */
  takenOver(): Promise<boolean>;
}

const takenOver = 0x8e;

export class Connection {
  link: Link | undefined;
  private attempt = 0;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private ticker: ReturnType<typeof setInterval> | undefined;
  private renewal: ReturnType<typeof setTimeout> | undefined;
  private trying = false;
  private closed = false;
  private parked = false; // another client has the session: wait until this page is visible
  private lastTick = Date.now();
  private asked = 0; // performance.now() of an unanswered ping; 0: none
  private patience = answerWithin;
  private stop = new AbortController();

  constructor(private o: ConnectionOptions) {}

  start(): void {
    const page = { signal: this.stop.signal };
    globalThis.addEventListener?.("online", () => this.nudge(), page);
    globalThis.addEventListener?.("offline", () => this.doubt(), page);
    globalThis.addEventListener?.("pageshow", (e) => (e as PageTransitionEvent).persisted && this.nudge(), page);
    globalThis.document?.addEventListener("visibilitychange", () => document.visibilityState === "visible" && this.nudge(), page);
    this.ticker = setInterval(() => this.watch(), tick);
    void this.connect();
  }

  /** The network may work again: connect at once, or test the link. */
  nudge(): void {
    if (this.closed) return;
    this.parked = false;
    if (this.link) this.doubt();
    else if (!this.trying) {
      this.attempt = 0;
      void this.connect();
    }
  }

  async close(forget: boolean): Promise<void> {
    this.closed = true;
    this.stop.abort();
    clearInterval(this.ticker);
    clearTimeout(this.timer);
    clearTimeout(this.renewal);
    const { link } = this;
    this.link = undefined;
    await link?.end(forget);
  }

  /** renewed: the token was already requested. */
  private async connect(renewed?: Login): Promise<void> {
    clearTimeout(this.timer);
    if (this.trying || this.closed || this.link || this.parked) return;
    this.trying = true;
    try {
      const login = renewed ?? (await this.o.login());
      let gone: [string, number] | undefined;
      let mine: Link | undefined;
      const early: Parameters<LinkEvents["publish"]>[0][] = [];
      const link = await connectLink(
        { ...this.o.link, ...login, clientId: this.o.clientId() },
        {
          publish: (p) => (mine ? this.o.publish(p) : early.push(p)),
          down: (reason, code) => {
            if (mine) this.lost(mine, reason, code);
            else gone = [reason, code];
          },
        },
      );
      this.trying = false;
      if (this.closed) return void link.end(false);
      this.link = mine = link;
      this.attempt = 0;
      this.asked = 0;
      this.renewAtExpiry(login.password);
      this.o.up(link);
      for (const p of early) this.o.publish(p);
      if (gone) this.lost(link, ...gone);
    } catch (e) {
      this.trying = false;
      if (this.closed) return;
      const error = e instanceof Error ? e : new Error(String(e));
      this.o.failed(error.message, error instanceof Refused && isFinal(error.code));
      this.again();
    }
  }

  private again(): void {
    if (this.closed || this.parked) return;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => void this.connect(), pauseBefore(this.attempt++));
  }

  private lost(link: Link, reason: string, code: number): void {
    if (this.link !== link) return;
    this.link = undefined;
    clearTimeout(this.renewal);
    this.o.down(reason, code);
    if (code === takenOver) {
      this.parked = true;
      void this.o.takenOver().then((renamed) => {
        if (renamed) this.nudge();
      });
      return;
    }
    // The first attempt is immediate, with jitter.
    clearTimeout(this.timer);
    this.timer = setTimeout(() => void this.connect(), Math.random() * 300);
  }

  /** Tests the link, with a short time limit. */
  private doubt(): void {
    if (!this.link) return;
    this.patience = answerAtOnce;
    if (this.asked === 0) this.asked = performance.now();
    this.link.ping();
    setTimeout(() => this.judge(), answerAtOnce + 50);
  }

  private judge(): void {
    const { link } = this;
    if (!link || this.asked === 0) return;
    if (link.heard > this.asked) {
      this.asked = 0;
      this.patience = answerWithin;
    } else if (performance.now() - this.asked >= this.patience) {
      link.drop("the bus does not answer");
      link.alive = false;
      this.lost(link, "the bus does not answer", 0);
    }
  }

  private watch(): void {
    const now = Date.now();
    const jump = now - this.lastTick;
    this.lastTick = now;
    if (jump > sleptFor || jump < -tick) {
      if (this.link) this.doubt();
      else this.nudge();
      return;
    }
    this.judge();
    if (this.link && this.asked === 0 && performance.now() - this.link.heard > quietFor) {
      this.asked = performance.now();
      this.link.ping();
    }
  }

  /** Requests a new token shortly before a JSON Web Token expires. If that is too late, the bus ends the link with a reason. */
  private renewAtExpiry(password: string | undefined): void {
    clearTimeout(this.renewal);
    const wait = this.o.renews ? renewalIn(password, Date.now()) : undefined;
    if (wait !== undefined) this.renewal = setTimeout(() => void this.renew(password), wait);
  }

  /** Reconnects with a new token; the old link is used until then. */
  private async renew(old: string | undefined): Promise<void> {
    const { link } = this;
    if (!link) return;
    const login = await this.o.login().catch(() => undefined);
    if (this.link !== link) return;
    if (login === undefined || login.password === old) {
      this.renewal = setTimeout(() => void this.renew(old), renewAgain);
      return;
    }
    this.link = undefined;
    this.trying = true;
    this.o.down("a new token", 0);
    // DISCONNECT, so that events in flight are acknowledged first, and no last will is published.
    await link.end(false);
    this.trying = false;
    void this.connect(login);
  }
}

/** Retrying with the same login does not help: bad login, not authorized, bad identifier, banned, protocol. */
function isFinal(code: number): boolean {
  return [0x81, 0x82, 0x84, 0x85, 0x86, 0x87, 0x8a, 0x8c].includes(code);
}

/**
 * Milliseconds to wait before a JSON Web Token is renewed: at nine tenths of what is left, at most 30 s before its end. The page's
 * clock may be wrong, so that no more than the token's life is left, and no less than a tenth of it: the bus took it just now.
 */
export function renewalIn(token: string | undefined, now: number): number | undefined {
  const body = token?.split(".")[1];
  if (!body) return undefined;
  try {
    const { exp, iat } = JSON.parse(atob(body.replace(/-/g, "+").replace(/_/g, "/"))) as { exp?: unknown; iat?: unknown };
    if (typeof exp !== "number") return undefined;
    const life = typeof iat === "number" ? (exp - iat) * 1000 : exp * 1000 - now;
    const left = Math.min(life, exp * 1000 - now);
    const wait = Math.max(1000, life / 10, left - Math.min(30_000, left / 10));
    return wait <= 2 ** 31 - 1 ? wait : undefined; // a timer's longest
  } catch {
    return undefined;
  }
}
