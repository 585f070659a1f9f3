// This file counts what the page missed: events that were accepted by the bus before the page came back and
// reached it only afterwards, and events that the bus says are lost for good.

import type { Received } from "./event";

/** Where the journal stood when the page came back. seq is unknown to who may not see the bus. */
export interface Place {
  epoch?: string | undefined;
  seq?: number | undefined;
}

export class Absence {
  missed = 0;
  lost = 0;
  private turn = 0;
  private back = 0; // Date.now() of the return
  private end: number | undefined; // last sequence before the return
  private known = false;
  private undecided: Received[] = [];
  private from = new WeakMap<Received, number>();

  /** The page is back. resumed: the session was there, so what comes first is what was missed. */
  returned(resumed: boolean): void {
    this.turn++;
    this.missed = this.lost = 0;
    this.undecided = [];
    this.end = undefined;
    this.back = Date.now();
    this.known = !resumed;
    if (!resumed) this.end = 0;
  }

  /** Where the journal stood; without a sequence the clocks decide. */
  place(p: Place): void {
    if (this.known) return;
    this.known = true;
    this.end = p.seq;
    for (const e of this.undecided) this.decide(e);
    this.undecided = [];
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
    if (this.known) this.decide(e);
    else this.undecided.push(e);
  }

  private decide(e: Received): void {
    if (this.end !== undefined ? e.seq <= this.end : e.time.getTime() < this.back) this.missed++;
  }
}
