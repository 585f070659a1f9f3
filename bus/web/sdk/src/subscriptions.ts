// This file is what the page has asked for: its callbacks by filter, and how that becomes subscriptions of
// the session. The session outlives the page, so a list of what it has is kept beside the client id; what
// nobody wants after a reload is given up when the grace is over.

import { matcher } from "./topic";
import type { Registration } from "./inbox";
import type { Link } from "./link";
import type { Callback, OnOptions } from "./types";

interface Wanted {
  options: OnOptions;
  registrations: Registration[];
}

export interface SubscriptionOptions {
  /** The filters that the session is known to have; false: it was asked for, and no answer came. */
  load(): [filter: string, sure: boolean][];
  save(filters: [filter: string, sure: boolean][]): void;
  refused(filter: string, error: Error): void;
}

export class Subscriptions {
  private wanted = new Map<string, Wanted>();
  private all: Registration[] = [];
  private cache = new Map<string, Registration[]>(); // by topic
  private made = new Map<string, string>(); // filters this page has subscribed, as what
  private standing: Map<string, boolean>; // filters of the session; false: perhaps
  private link: Link | undefined;
  private ids = 0;
  private syncing = false;
  private again = false;
  private tidying = false;

  constructor(private o: SubscriptionOptions) {
    this.standing = new Map(o.load());
  }

  /** Who wants the topic, in the order of their on(). */
  wanting(topic: string): Registration[] {
    let found = this.cache.get(topic);
    if (!found) {
      found = this.all.filter((r) => r.matches(topic));
      if (this.cache.size > 2000) this.cache.clear();
      this.cache.set(topic, found);
    }
    return found;
  }

  add(filter: string, callback: Callback, options: OnOptions): Registration {
    const r: Registration = { id: ++this.ids, filter, matches: matcher(filter), callback, active: true };
    this.all.push(r);
    this.cache.clear();
    const w = this.wanted.get(filter);
    if (w) {
      w.registrations.push(r);
      if ((options.qos ?? 1) > (w.options.qos ?? 1)) w.options = { ...w.options, qos: 1 };
    } else {
      this.wanted.set(filter, { options, registrations: [r] });
    }
    void this.sync();
    return r;
  }

  remove(filter: string, match: (r: Registration) => boolean): void {
    const w = this.wanted.get(filter);
    if (!w) return;
    const gone = w.registrations.filter(match);
    for (const r of gone) r.active = false;
    w.registrations = w.registrations.filter((r) => r.active);
    this.all = this.all.filter((r) => r.active);
    this.cache.clear();
    if (w.registrations.length === 0) this.wanted.delete(filter);
    void this.sync();
  }

  /** Some filter that is wanted. */
  first(): string | undefined {
    return this.wanted.keys().next().value;
  }

  /** True when the filter is one that the session had before this connection. */
  covered(topic: string): boolean {
    return this.old.some((m) => m(topic));
  }
  private old: ((topic: string) => boolean)[] = [];

  /** A new link. lost: the bus has no session any more; resume says from where to go on. */
  connected(link: Link, lost: boolean, resume?: () => Promise<string | undefined>): void {
    this.link = link;
    this.old = lost ? [] : [...this.standing.keys()].map(matcher);
    if (lost) {
      const before = new Set(this.made.keys());
      this.made.clear();
      this.standing.clear();
      this.o.save([]);
      if (resume && before.size > 0) {
        this.resume = { before, from: resume() };
        this.old = [...before].map(matcher);
      }
    }
    void this.sync();
  }
  private resume: { before: Set<string>; from: Promise<string | undefined> } | undefined;

  disconnected(): void {
    this.link = undefined;
  }

  /** Gives up what the session has and nobody wants. */
  tidy(): void {
    this.tidying = true;
    void this.sync();
  }

  /** Makes the session have what is wanted. Waits a turn, so that off() and on() in one go cost nothing. */
  private async sync(): Promise<void> {
    this.again = true;
    if (this.syncing) return;
    this.syncing = true;
    await Promise.resolve();
    while (this.again && this.link?.alive) {
      this.again = false;
      await this.pass(this.link);
    }
    this.syncing = false;
  }

  private async pass(link: Link): Promise<void> {
    const from = this.resume && { before: this.resume.before, seq: await this.resume.from };
    this.resume = undefined;
    if (this.link !== link) return;
    const asks: Promise<void>[] = [];
    for (const [filter, w] of this.wanted) {
      const as = String(w.options.qos ?? 1);
      if (this.made.get(filter) === as) continue;
      const options = { ...w.options };
      // A filter that the session has is not served from the past again.
      const stood = this.standing.get(filter);
      if (stood) delete options.since;
      if (from?.seq !== undefined && from.before.has(filter)) options.since = from.seq;
      this.made.set(filter, as);
      this.standing.set(filter, stood ?? false);
      asks.push(
        link.subscribe(filter, options).then(
          () => void this.standing.set(filter, true),
          (e: Error) => {
            if (!link.alive) {
              if (this.made.get(filter) === as) this.made.delete(filter);
              return;
            }
            this.standing.delete(filter); // and it stays in made: asking again gives the same answer
            this.o.refused(filter, e);
          },
        ),
      );
    }
    for (const filter of this.standing.keys()) {
      if (this.wanted.has(filter) || !(this.tidying || this.made.has(filter))) continue;
      asks.push(
        link.unsubscribe(filter).then(
          () => {
            this.made.delete(filter);
            this.standing.delete(filter);
          },
          (e: Error) => {
            if (!link.alive) return;
            this.made.delete(filter);
            this.standing.delete(filter);
            this.o.refused(filter, e);
          },
        ),
      );
    }
    for (const filter of this.made.keys()) {
      if (!this.wanted.has(filter) && !this.standing.has(filter)) this.made.delete(filter);
    }
    if (asks.length === 0) return;
    this.o.save([...this.standing]);
    await Promise.all(asks);
    this.o.save([...this.standing]);
  }
}
