// This file is the page's subscriptions: its callbacks by filter, and the matching subscriptions of
// the session. The session outlives the page, so the list of its filters is stored with the client id; filters
// without a callback after a reload are removed after the grace period.
//
// For each filter at most one SUBSCRIBE or UNSUBSCRIBE is in flight; after its answer the session is compared
// with the page again.

import { matcher } from "./topic";
import type { Registration } from "./inbox";
import type { Link } from "./link";
import type { Callback, OnOptions } from "./types";

interface Wanted {
  options: OnOptions;
  registrations: Registration[];
}

export interface SubscriptionOptions {
  /** The filters that the session has; false: requested without an answer yet. */
  load(): [filter: string, sure: boolean][];
  save(filters: [filter: string, sure: boolean][]): void;
  refused(filter: string, error: Error): void;
}

export class Subscriptions {
  private wanted = new Map<string, Wanted>();
  private all: Registration[] = [];
  private cache = new Map<string, Registration[]>(); // by topic
  private made = new Map<string, number>(); // filters this page has subscribed, at which QoS
  private standing: Map<string, boolean>; // filters of the session; false: not confirmed
  private refusals = new Map<string, Error>();
  private busy = new Set<string>();
  private waiters = new Map<string, { resolve(): void; reject(e: Error): void }[]>();
  private old: ((topic: string) => boolean)[] = []; // of filters that the session had before this link
  private link: Link | undefined;
  private ever = new Map<string, (topic: string) => boolean>(); // filters that this page has had
  private from = new Map<string, string>(); // where filters of a lost session continue
  private ids = 0;
  private tidying = false;
  private later: ReturnType<typeof setTimeout> | undefined;

  constructor(private o: SubscriptionOptions) {
    this.standing = new Map(o.load());
  }

  /** The registrations that match the topic, in the order of their on(). */
  wanting(topic: string): Registration[] {
    let found = this.cache.get(topic);
    if (!found) {
      found = this.all.filter((r) => r.matches(topic));
      if (this.cache.size > 20_000) this.cache.clear();
      this.cache.set(topic, found);
    }
    return found;
  }

  /** The SUBSCRIBE is sent when this returns: an event that is emitted next is delivered. */
  add(filter: string, callback: Callback, options: OnOptions): Registration {
    const r: Registration = { id: ++this.ids, filter, matches: matcher(filter), callback, active: true, upTo: 0 };
    this.all.push(r);
    this.ever.set(filter, r.matches);
    this.cache.clear();
    const w = this.wanted.get(filter);
    if (w) {
      w.registrations.push(r);
      if ((options.qos ?? 1) > (w.options.qos ?? 1)) w.options = { ...w.options, qos: 1 };
    } else {
      this.wanted.set(filter, { options, registrations: [r] });
      this.refusals.delete(filter);
    }
    this.settle(filter);
    return r;
  }

  remove(filter: string, match: (r: Registration) => boolean): void {
    const w = this.wanted.get(filter);
    if (!w) return;
    for (const r of w.registrations) if (match(r)) r.active = false;
    w.registrations = w.registrations.filter((r) => r.active);
    this.all = this.all.filter((r) => r.active);
    this.cache.clear();
    if (w.registrations.length > 0) return;
    this.wanted.delete(filter);
    // In a later turn, so that off() followed by on() costs nothing.
    this.later ??= setTimeout(() => this.settleAll(), 0);
  }

  /** False: this page has or had a callback for it. */
  unheard(topic: string): boolean {
    for (const m of this.ever.values()) if (m(topic)) return false;
    return true;
  }

  /** True if the session was subscribed to the topic before this link. */
  covered(topic: string): boolean {
    return this.old.some((m) => m(topic));
  }

  /** Resolves when the bus has the filter, rejects when it refuses it. */
  async stands(filter: string): Promise<void> {
    if (this.made.has(filter) && this.standing.get(filter)) return;
    const refusal = this.refusals.get(filter);
    if (refusal) throw refusal;
    await new Promise<void>((resolve, reject) => this.waiters.set(filter, [...(this.waiters.get(filter) ?? []), { resolve, reject }]));
  }

  /** A new link. lost: the bus no longer has the session; then again means that this page had one, and since is where to continue. */
  connected(link: Link, lost: boolean, again = false, since?: string): void {
    const before = [...this.standing.keys()];
    this.old = lost && !again ? [] : before.map(matcher);
    this.busy.clear();
    if (lost) {
      this.made.clear();
      this.standing.clear();
      this.save();
      if (since !== undefined) this.from = new Map(before.map((f) => [f, since]));
    }
    this.link = link;
    this.refusals.clear(); // rights may have changed
    this.settleAll();
  }

  disconnected(): void {
    this.link = undefined;
    this.busy.clear();
  }

  /** Removes the session's filters that have no callback. */
  tidy(): void {
    this.tidying = true;
    this.settleAll();
  }

  private settleAll(): void {
    clearTimeout(this.later);
    this.later = undefined;
    for (const filter of new Set([...this.wanted.keys(), ...this.standing.keys()])) this.settle(filter);
  }

  /** Subscribes or unsubscribes the session. */
  private settle(filter: string): void {
    const { link } = this;
    if (!link?.alive || this.busy.has(filter)) return;
    const w = this.wanted.get(filter);
    if (w) {
      if (this.made.get(filter) !== (w.options.qos ?? 1) && !this.refusals.has(filter)) this.subscribe(link, filter, w);
    } else if (this.standing.has(filter) && (this.tidying || this.made.has(filter))) {
      this.unsubscribe(link, filter);
    }
  }

  private subscribe(link: Link, filter: string, w: Wanted): void {
    const qos = w.options.qos ?? 1;
    const stood = this.standing.get(filter) ?? false;
    const options = { ...w.options };
    // A filter that the session already has gets no history again.
    if (stood) delete options.since;
    const from = this.from.get(filter);
    if (from !== undefined) options.since = from;
    this.standing.set(filter, stood);
    this.under(link, filter, link.subscribe(filter, options), () => {
      this.made.set(filter, qos);
      this.standing.set(filter, true);
      this.from.delete(filter);
      for (const w of this.waiters.get(filter) ?? []) w.resolve();
      this.waiters.delete(filter);
    });
  }

  private unsubscribe(link: Link, filter: string): void {
    this.under(link, filter, link.unsubscribe(filter), () => {
      this.made.delete(filter);
      this.standing.delete(filter);
    });
  }

  private under(link: Link, filter: string, answer: Promise<void>, done: () => void): void {
    this.busy.add(filter);
    this.save();
    answer
      .then(done, (e: Error) => {
        if (!link.alive) return;
        this.made.delete(filter);
        this.standing.delete(filter);
        this.refusals.set(filter, e); // a retry would be refused again
        const waiters = this.waiters.get(filter) ?? [];
        this.waiters.delete(filter);
        for (const w of waiters) w.reject(e);
        if (waiters.length === 0) this.o.refused(filter, e);
      })
      .finally(() => {
        if (this.link !== link) return;
        this.busy.delete(filter);
        this.save();
        this.settle(filter);
      });
  }

  private save(): void {
    this.o.save([...this.standing]);
  }
}
