// This file is the plugins' states from $bus/plugins/+/state, live.

import { store } from "./store";

export interface FileError {
  line: number;
  col: number;
  message: string;
  hint?: string;
  text: string;
}

export interface Part {
  name: string;
  state: string;
  error?: string;
  again?: string;
}

export interface Counters {
  in: number;
  filtered: number;
  errors: number;
  dropped: number;
  published: number;
  done?: number;
  sent?: number; // handed to a program that does not say when it is done
  failed?: number;
  expired?: number;
  dead?: number;
  missed?: number;
  fired?: number;
  forgotten?: number;
}

export interface Plugin {
  id: string;
  file: string;
  description?: string;
  state: string;
  reason?: string;
  generation: number;
  since: string;
  errors?: FileError[];
  counters: Counters;
  keys?: number; // for which the entries keep something
  timers?: number; // that are pending
  last_error?: string;
  last_error_at?: string;
  sources?: Part[];
  actions?: Part[];
  topics?: string[];
  approve?: string[];
}

export interface Trace {
  time: string;
  event?: unknown;
  verdicts: { rule: string; line?: number; text: string }[];
}

export const plugins = store<Plugin[]>([]);

const marks = new Map<string, { at: number; n: number }[]>();
const stateTopic = /^\$bus\/plugins\/([^/]+)\/state$/;
const rateOver = 15_000;

const told = new Set<string>();
const utf8 = new TextDecoder();

// take processes one event of the topic; an empty payload means that the plugin was removed.
export function take(topic: string, payload: Uint8Array): void {
  const id = stateTopic.exec(topic)?.[1];
  if (id === undefined) return;
  told.add(id);
  const others = plugins.get().filter((p) => p.id !== id);
  if (payload.length === 0) {
    marks.delete(id);
    plugins.set(others);
    return;
  }
  try {
    const p = JSON.parse(utf8.decode(payload)) as Plugin;
    measure(id, p.counters);
    plugins.set([...others, p].sort((a, b) => a.id.localeCompare(b.id, "en", { numeric: true })));
  } catch {
    // not ours
  }
}

function measure(id: string, c: Counters): void {
  const now = Date.now();
  const list = marks.get(id) ?? [];
  const n = c.published + (c.done ?? 0) + (c.sent ?? 0);
  if (list.length > 0 && n < list[list.length - 1]!.n) list.length = 0; // loaded anew
  list.push({ at: now, n });
  while (list.length > 2 && now - list[1]!.at > rateOver) list.shift();
  marks.set(id, list);
}

// rateOf is a plugin's event rate over the last seconds; null while unknown.
export function rateOf(p: Plugin, now: number): number | null {
  const list = marks.get(p.id);
  const first = list?.[0];
  if (!first || !list) return null;
  const span = now - first.at;
  if (span < 2000) return null;
  return ((list[list.length - 1]!.n - first.n) * 1000) / span;
}

// grave is the severity of a state: 0 fine, 1 degraded, 2 not working.
export function grave(state: string): 0 | 1 | 2 {
  switch (state) {
    case "rejected":
    case "backoff":
      return 2;
    case "stale":
    case "degraded":
    case "awaiting-approval":
      return 1;
    default:
      return 0;
  }
}

// countersOf lists the counters that are shown. An error is bad while it is a part of the state: the counters
// themselves never forget one.
export function countersOf(p: Plugin): { name: string; n: number; bad: boolean }[] {
  const c = p.counters;
  const items: [name: string, n: number | undefined, always: boolean, bad: boolean][] = [
    ["in", c.in, true, false], ["filtered", c.filtered, true, false], ["errors", c.errors, true, true], ["published", c.published, true, false], ["dropped", c.dropped, false, true],
    ["done", c.done, false, false], ["sent", c.sent, false, false], ["failed", c.failed, false, true], ["expired", c.expired, false, false], ["dead", c.dead, false, true], ["missed", c.missed, false, true],
    ["timers", p.timers, false, false], ["fired", c.fired, false, false], ["keys", p.keys, false, false], ["forgotten", c.forgotten, false, true],
  ];
  return items.filter(([, n, always]) => always || n).map(([name, n, , bad]) => ({ name, n: n ?? 0, bad: bad && (n ?? 0) > 0 && grave(p.state) > 0 }));
}

// renew is called before the bus sends all states again: plugins that it does not send were removed.
export function renew(within: number): void {
  told.clear();
  setTimeout(() => {
    for (const p of plugins.get()) if (!told.has(p.id)) take(`$bus/plugins/${p.id}/state`, new Uint8Array(0));
  }, within);
}
