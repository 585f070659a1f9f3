// This file is the input: one session of QoS 0 that feeds the tree and the plugins, its connection
// state, and the number of missed events.

import { parseJSON } from "../../../sdk/src/json";
import { matcher } from "../../../sdk/src/topic";
import { Connection, type Link } from "../mqtt/connection";
import type { Publish } from "../mqtt/codec";
import { reasonOf } from "../mqtt/reasons";
import { Tree } from "../model/tree";
import { api } from "./api";
import { ask, login } from "./login";
import { renew, take as takePlugin, type Trace } from "./plugins";
import { store } from "./store";

export const tree = new Tree();

export interface LinkState {
  state: Link;
  since: number; // milliseconds
  reason: string;
}

export const link = store<LinkState>({ state: "connecting", since: Date.now(), reason: "" });
export const refusal = store(""); // why the filter was refused, in words
export const loss = store<{ at: number; text: string } | null>(null); // the last on $bus/lost

// back is the notice after a reconnection. missed: -1 while unknown.
export const back = store<{ away: number; missed: number; filled: boolean } | null>(null);

// The bus's own topics. Not $bus/#: a subscription to a trace makes the bus publish it.
const own = ["$bus/state", "$bus/lost", "$bus/plugins/+/state", "$bus/dead/#", "$SYS/#"];
const settle = 2500; // milliseconds until all retained messages have arrived
const replayed = 20_000; // maximum number of missed events to load; beyond it only the retained messages

export const clientId = "dashboard-" + [...crypto.getRandomValues(new Uint8Array(4))].map((b) => b.toString(36).padStart(2, "0")).join("").slice(0, 6);

export const socketURL = new URL("./mqtt", location.href.split("#")[0]);
socketURL.protocol = location.protocol === "https:" ? "wss:" : "ws:";

let filter = "";
let accepts: (topic: string) => boolean = () => true;
let subscription = 0;
let ownSubscription = 0;
let lastSeq = 0; // of an event that the tree has
let epoch = ""; // of the journal that lastSeq is from
let wentAt = 0;
let since: string | null = ""; // where the subscription begins; null while unknown
let missedUpTo = 0; // events up to here were missed; 0: none are loaded
let traced: { id: string; told: (t: Trace) => void } | null = null;
const utf8 = new TextDecoder();

const connection = new Connection({ url: socketURL.href, clientId, login, event: take, changed });

function changed(state: Link, reason: string, wantsLogin: boolean): void {
  const was = link.get();
  const down = (s: Link) => s !== "online";
  link.set({ state, reason, since: down(state) && down(was.state) ? was.since : Date.now() });
  if (wantsLogin) ask(reason);
  if (state === "offline" && was.state === "online") {
    wentAt = Date.now();
    back.set(null);
  }
  if (state === "online") {
    renew(settle);
    if (wentAt && lastSeq) void catchUp(Date.now() - wentAt);
    else allRetained();
    wentAt = 0;
  }
}

// allRetained starts a subscription without history. A topic that it does not send is no longer retained.
function allRetained(): void {
  since = "";
  const round = ++tree.round;
  setTimeout(() => {
    if (tree.round === round && link.get().state === "online") tree.sweep();
  }, settle);
}

// catchUp subscribes from the last known event on: first the missed events arrive, in order, then
// new ones. Events of QoS 0 are not stored, so missed ones cannot be counted.
async function catchUp(away: number): Promise<void> {
  since = null;
  back.set({ away, missed: -1, filled: false });
  const state = await api.bus().catch(() => null);
  if (link.get().state !== "online") return;
  missedUpTo = 0;
  if (!state || (epoch && state.epoch !== epoch)) { // no right to see it, or the journal is another one
    if (state) {
      epoch = state.epoch;
      lastSeq = 0;
    }
    allRetained();
  } else if (state.journal.last - lastSeq > replayed) {
    back.set({ away, missed: state.journal.last - lastSeq, filled: false });
    allRetained();
  } else {
    since = String(lastSeq + 1);
    missedUpTo = state.journal.last;
    back.set({ away, missed: 0, filled: true });
  }
  connection.again(subscription);
  since = "";
}

function take(m: Publish): void {
  const t = m.topic;
  const dollar = t.charCodeAt(0) === 36;
  if (dollar && t.startsWith("$bus/")) takeOwn(t, m);
  else if (m.seq > lastSeq && !dollar) {
    lastSeq = m.seq;
    if (missedUpTo > 0) late(m.seq);
  }
  if (m.gap > 0) loss.set({ at: Date.now(), text: `${m.gap} events did not reach this page` });
  if (!accepts(t)) return;
  tree.update(t, { payload: m.payload, seq: dollar ? 0 : m.seq, time: m.time ? Date.parse(m.time) : Date.now(), source: m.source, retain: m.retain }, performance.now());
}

function late(seq: number): void {
  const b = back.get();
  if (seq > missedUpTo || !b) missedUpTo = 0;
  else back.set({ ...b, missed: b.missed + 1 });
}

function takeOwn(t: string, m: Publish): void {
  if (t.endsWith("/state") && t.startsWith("$bus/plugins/")) {
    takePlugin(t, m.payload);
  } else if (t === "$bus/lost") {
    try {
      const l = JSON.parse(utf8.decode(m.payload)) as { session: string; reason: string; events: number };
      loss.set({ at: Date.now(), text: `${l.events} events lost for ${l.session}: ${l.reason}` });
    } catch {
      // not ours
    }
  } else if (traced && t === `$bus/plugins/${traced.id}/trace`) {
    try {
      traced.told(parseJSON(utf8.decode(m.payload)) as Trace);
    } catch {
      // cut by a limit
    }
  }
}

// setFilter subscribes to another filter; "" is everything, and the bus's own topics.
export function setFilter(f: string): void {
  if (f === filter && subscription) return;
  const first = subscription === 0;
  filter = f;
  const match = matcher(f || "#");
  accepts = f ? match : (t) => t.charCodeAt(0) !== 36 || !t.endsWith("/trace");
  if (!first) {
    connection.unsubscribe(subscription);
    tree.openAll = f !== "";
    tree.prune(accepts);
  } else {
    tree.openAll = f !== "";
    ownSubscription = connection.subscribe({ filters: own.map((x) => ({ filter: x, qos: 0 })) });
  }
  refusal.set("");
  since = "";
  subscription = connection.subscribe({
    filters: [{ filter: f || "#", qos: 0 }],
    since: () => since,
    answered: (codes, reason) => {
      const code = codes[0] ?? 0x80;
      refusal.set(code < 0x80 ? "" : `${f || "#"}: ${reasonOf(code, reason)}`);
    },
  });
  if (!first && f === "") connection.again(ownSubscription); // the tree forgot the bus's own topics
}

// trace subscribes to a plugin's trace until the returned function is called.
export function trace(id: string, told: (t: Trace) => void): () => void {
  const sub = connection.subscribe({ filters: [{ filter: `$bus/plugins/${id}/trace`, qos: 0 }] });
  const mine = { id, told };
  traced = mine;
  return () => {
    if (traced === mine) traced = null;
    connection.unsubscribe(sub);
  };
}

// start opens the connection. It reopens an existing one, because the user may have changed.
export function start(): void {
  connection.stop();
  connection.start();
}

export function retry(): void {
  connection.retry();
}

// noteEpoch records the journal's epoch, to which the sequences belong.
export function noteEpoch(e: string): void {
  if (!epoch) epoch = e;
}

export function journalOf(): string {
  return epoch;
}
