// This file is the outbox: emitted events wait in one queue until the bus has acknowledged them, and
// also in a store that survives the page. At least once: events that were sent and not acknowledged when
// the connection ended are sent again.

import { Refused, type Link, type PublishOptions } from "./link";

export interface Entry {
  owner: string; // the tab
  n: number; // its place among the tab's entries
  at: number; // Date.now() of emit
  topic: string;
  payload: Uint8Array;
  options: PublishOptions;
}

/** The store of entries; see store.ts. */
export interface Store {
  load(owner: string): Promise<Entry[]>;
  owners(): Promise<string[]>;
  write(put: Entry[], remove: Entry[]): Promise<void>;
  /** Moves all entries of a tab to another, numbered from n on, in one transaction. */
  adopt(from: string, to: string, n: number): Promise<Entry[]>;
  close(): void;
}

interface Row {
  entry: Entry;
  stored: boolean;
  sent: boolean; // over the current link
  gone: boolean;
  blamed: number; // connections that the bus ended while only this entry was in flight
  resolve?(): void;
  reject?(e: Error): void;
}

export interface OutboxOptions {
  store: Store;
  entries: number;
  bytes: number;
  changed(): void;
  /** An entry of an earlier page was refused, or the store does not work. */
  failed(error: Error): void;
}

const window = 100; // unacknowledged at a time
const overhead = 200; // bytes that an entry counts beyond topic and payload
const later = new Set([0x83, 0x88, 0x89, 0x93, 0x96, 0x97]); // the bus cannot accept it now
const ours = new Set([0x81, 0x82, 0x90, 0x95, 0x99]); // the bus ended the connection because of a packet
const blame = 2; // after this many the entry is dropped

export class Outbox {
  private rows: Row[] = [];
  private bytes = 0;
  private n = 0;
  private link: Link | undefined;
  private flying = 0;
  private putting: Row[] = [];
  private removing: Entry[] = [];
  private leaving = 0; // entries that are being removed from the store
  private writing: Promise<void> | undefined;
  private retry: ReturnType<typeof setTimeout> | undefined;
  private attempt = 0;
  private broken = false;
  private careful = false; // one at a time, to find the entry that makes the bus end the connection
  private closed = false;

  constructor(
    private owner: () => string,
    private o: OutboxOptions,
  ) {}

  /** Entries that wait, and acknowledged ones that are still in the store: if the page closes now, they are sent again. */
  get size(): number {
    return this.rows.length + this.removing.length + this.leaving;
  }

  /** Adopts the entries of an earlier page of this tab. */
  async load(): Promise<void> {
    try {
      const entries = await this.o.store.load(this.owner());
      this.n = entries.reduce((n, e) => Math.max(n, e.n), this.n);
      for (const e of entries) this.push({ entry: e, stored: true, sent: false, gone: false, blamed: 0 });
    } catch (e) {
      this.failing(e);
    }
  }

  /** Adopts the entries of closed tabs. */
  async adopt(alive: (owner: string) => Promise<boolean>): Promise<void> {
    try {
      for (const owner of await this.o.store.owners()) {
        if (owner === this.owner() || (await alive(owner)) || this.closed) continue;
        // 100,000 numbers are left free: more is not emitted while the transaction runs.
        const from = this.n + 1;
        this.n += 100_000;
        for (const e of await this.o.store.adopt(owner, this.owner(), from)) {
          this.push({ entry: e, stored: true, sent: false, gone: false, blamed: 0 });
        }
      }
      this.pump();
    } catch (e) {
      this.failing(e);
    }
  }

  /** Resolves when the bus has it on disk. */
  add(topic: string, payload: Uint8Array, options: PublishOptions): Promise<void> {
    if (this.closed) return Promise.reject(new Error("the bus was closed"));
    const size = sizeOf(topic, payload);
    if (this.rows.length >= this.o.entries || this.bytes + size > this.o.bytes) {
      return Promise.reject(
        new Error(`the outbox is full: ${this.rows.length} events, ${this.bytes} bytes wait for the bus (${this.o.entries} events, ${this.o.bytes} bytes are allowed)`),
      );
    }
    const entry: Entry = { owner: this.owner(), n: ++this.n, at: Date.now(), topic, payload, options };
    return new Promise<void>((resolve, reject) => {
      const row: Row = { entry, stored: false, sent: false, gone: false, blamed: 0, resolve, reject };
      this.push(row);
      this.putting.push(row);
      this.flush();
      this.pump();
    });
  }

  /** Removes an unacknowledged entry: a request whose caller no longer waits. */
  withdraw(options: PublishOptions): void {
    const row = this.rows.find((r) => r.entry.options === options);
    if (row) this.remove(row);
  }

  connected(link: Link): void {
    this.link = link;
    this.flying = 0;
    this.attempt = 0;
    clearTimeout(this.retry);
    this.retry = undefined;
    for (const r of this.rows) r.sent = false;
    this.pump();
  }

  /** An entry that makes the bus end every connection must not be retried for ever. */
  disconnected(reason = "", code = 0): void {
    this.link = undefined;
    if (!ours.has(code)) return;
    const flying = this.rows.filter((r) => r.sent);
    const [one] = flying;
    if (this.careful && one && flying.length === 1 && ++one.blamed >= blame) this.giveUp(one, new Refused(reason, code));
    this.careful = this.rows.length > 0;
  }

  async close(): Promise<void> {
    this.closed = true;
    this.link = undefined;
    clearTimeout(this.retry);
    for (const r of this.rows) r.reject?.(new Error("the bus was closed; waiting events are sent when a page connects again"));
    this.rows = [];
    await this.writing;
    this.o.store.close();
  }

  private push(row: Row): void {
    this.rows.push(row);
    this.bytes += sizeOf(row.entry.topic, row.entry.payload);
    this.o.changed();
  }

  private remove(row: Row): void {
    if (row.gone) return;
    row.gone = true;
    const i = this.rows.indexOf(row);
    if (i >= 0) {
      this.rows.splice(i, 1);
      this.bytes -= sizeOf(row.entry.topic, row.entry.payload);
    }
    if (row.stored && !this.broken) {
      this.removing.push(row.entry);
      this.flush();
    }
    this.o.changed();
  }

  /** Rejects the promise of emit; for an entry of an earlier page it reports the error to the page. */
  private giveUp(row: Row, error: Error): void {
    this.remove(row);
    if (row.reject) row.reject(error);
    else this.o.failed(new Error(`${row.entry.topic}: ${error.message}`));
  }

  private pump(): void {
    const { link } = this;
    if (!link || this.retry !== undefined) return;
    const limit = this.careful ? 1 : Math.min(window, link.window);
    for (const row of [...this.rows]) {
      if (this.flying >= limit) return;
      if (!row.sent && !row.gone) this.send(link, row);
    }
  }

  private send(link: Link, row: Row): void {
    const { topic, payload, options, at } = row.entry;
    const send = { ...options };
    if (options.expiry !== undefined) {
      const left = options.expiry - Math.floor((Date.now() - at) / 1000);
      if (left <= 0) {
        this.giveUp(row, new Error("expired before it could be sent"));
        return;
      }
      // A clock that was set back must not prolong its life.
      send.expiry = Math.min(left, options.expiry);
    }
    if (sizeOf(topic, payload) > link.largest) {
      this.giveUp(row, new Error(`${payload.length} bytes are more than the bus accepts in one packet (${link.largest})`));
      return;
    }
    row.sent = true;
    this.flying++;
    link.publish(topic, payload, send).then(
      () => {
        this.remove(row);
        row.resolve?.();
        if (this.rows.length === 0) this.careful = false;
        this.landed(link);
      },
      (e: Error) => {
        if (e instanceof Refused && later.has(e.code)) {
          row.sent = false;
          if (this.link === link) this.pause();
        } else if (e instanceof Refused || link.alive) {
          this.giveUp(row, e);
        }
        this.landed(link);
      },
    );
  }

  private landed(link: Link): void {
    if (this.link !== link) return;
    this.flying--;
    this.pump();
  }

  /** The bus has no room: retry later, in order. */
  private pause(): void {
    if (this.retry !== undefined) return;
    this.retry = setTimeout(
      () => {
        this.retry = undefined;
        this.pump();
      },
      Math.min(30_000, 1000 * 2 ** this.attempt++),
    );
  }

  /** Writes what changed, one transaction after the other. */
  private flush(): void {
    if (this.writing || this.broken) return;
    this.writing = (async () => {
      await Promise.resolve(); // all of this turn in one transaction
      while (this.putting.length > 0 || this.removing.length > 0) {
        const put = this.putting.filter((r) => !r.gone);
        const remove = this.removing;
        this.putting = [];
        this.removing = [];
        if (put.length === 0 && remove.length === 0) continue;
        for (const r of put) r.stored = true; // what is removed from now on is removed after it
        this.leaving = remove.length;
        try {
          await this.o.store.write(
            put.map((r) => r.entry),
            remove,
          );
        } catch (e) {
          this.failing(e);
          break;
        } finally {
          this.leaving = 0;
        }
        this.o.changed();
      }
      this.writing = undefined;
    })();
  }

  /** Without a store, memory is used. Reported once. */
  private failing(e: unknown): void {
    if (this.broken) return;
    this.broken = true;
    this.removing = [];
    this.o.failed(new Error(`waiting events do not survive this page: ${e instanceof Error ? e.message : String(e)}`));
  }
}

function sizeOf(topic: string, payload: Uint8Array): number {
  return topic.length + payload.length + overhead;
}
