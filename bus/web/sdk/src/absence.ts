// This file counts what the page missed: events that were accepted by the bus before the page came back and
// reached it only afterwards, and events that the bus says are lost for good.

import type { Received } from "./event";

export class Absence {
  missed = 0;
  lost = 0;
  private turn = 0;
  private back = 0; // Date.now() of the return
  private end: number | undefined; // last sequence before the return; undefined: the clocks decide
  private from = new WeakMap<Received, number>();

  /** The page is back, when the journal stood at end. resumed: the session was there, so what comes first is what was missed. */
  returned(resumed: boolean, end: number | undefined): void {
    this.turn++;
    this.missed = this.lost = 0;
    this.back = Date.now();
    this.end = resumed ? end : 0;
  }

  /** An event came in. */
  came(e: Received): void {
    this.from.set(e, this.turn);
  }

  /** An event was handled for the first time. owed: the session had asked for it before the return. */
  handled(e: Received, owed: boolean): void {
    this.lost += e.missed;
    this.missed += e.missed;
    if (!owed || e.retain || e.key === "" || this.from.get(e) !== this.turn) return;
    if (this.end !== undefined ? e.seq <= this.end : e.time.getTime() < this.back) this.missed++;
  }
}
