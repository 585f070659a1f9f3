// This file counts missed events: events that the bus accepted before the page reconnected and
// that arrived only afterwards, and events that the bus reports as lost.

import type { Received } from "./event";

export class Absence {
  missed = 0;
  lost = 0;
  private turn = 0;
  private back = 0; // Date.now() of the return
  private end: number | undefined; // last sequence before the return; undefined: the clocks decide
  private from = new WeakMap<Received, number>();

  /** The page has reconnected, and end is the journal's last sequence. resumed: the session existed, so the missed events arrive first. */
  returned(resumed: boolean, end: number | undefined): void {
    this.turn++;
    this.missed = this.lost = 0;
    this.back = Date.now();
    this.end = resumed ? end : 0;
  }

  /** An event arrived. */
  came(e: Received): void {
    this.from.set(e, this.turn);
  }

  /** An event was handled for the first time. owed: the session had subscribed to it before the reconnection. */
  handled(e: Received, owed: boolean): void {
    this.lost += e.missed;
    this.missed += e.missed;
    if (!owed || e.retain || e.key === "" || this.from.get(e) !== this.turn) return;
    if (this.end !== undefined ? e.seq <= this.end : e.time.getTime() < this.back) this.missed++;
  }
}
