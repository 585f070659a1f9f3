// This file is the HTTP API: its shapes, and its errors in words.

import { ask, authorization, login } from "./login";
import type { Plugin } from "./plugins";

export interface Quantiles {
  p50: number;
  p90: number;
  p99: number;
}

export interface BusState {
  version: string;
  host: string;
  epoch: string;
  started: string;
  ready: boolean;
  reason?: string;
  published: number;
  dropped: number;
  lost: Record<string, number>;
  lost_last_hour: number;
  sessions: number;
  online: number;
  subscriptions: number;
  retained: number;
  retained_bytes: number;
  plugins_dir?: string;
  journal: {
    first: number;
    last: number;
    segments: number;
    disk_bytes: number;
    free_bytes: number;
    written_bytes: number;
    records: number;
    syncs: number;
    groups: number;
    damaged: number;
    missing: number;
    retention_age_seconds?: number;
    retention_bytes?: number;
    sync_seconds: Quantiles;
    commit_seconds: Quantiles;
  };
  memory: { heap_bytes: number; system_bytes: number; goroutines: number };
  connections: Record<string, number>;
  warnings: { time: string; level: string; text: string }[];
}

export interface SessionInfo {
  name: string;
  user?: string;
  online: boolean;
  bridge?: boolean;
  persistent: boolean;
  lag: number;
  lag_seconds: number;
  in_flight: number;
  lost?: Record<string, number>;
  filters?: string[];
  absent_seconds?: number;
  expiry_seconds?: number;
}

// Fleet is the exchange with other buses through one hub.
export interface Fleet {
  fleet: string;
  bus: string; // this one's name
  hub?: string[];
  state: string; // connecting, online, offline or conflict
  error?: string;
  hint?: string;
  sent: number; // groups of events
  waiting: number; // records of the journal that are not on the hub yet
  received: number; // messages
  behind: number; // messages on the hub that were not read yet
  peers: Record<string, FleetPeer>;
}

export interface FleetPeer {
  events: number;
  lost: number;
  expired: number;
  refused: number;
  last?: string;
  problem?: string; // why the last one was refused
}

export interface ShownEvent {
  seq: number;
  time: string;
  topic: string;
  payload?: string;
  payload_base64?: string;
  qos: number;
  retain: boolean;
  source: string;
  origin?: { bus: string; time?: string }; // the other bus that accepted it first
}

export interface Explanation {
  audience: number;
  by: { plugin: string; file: string; line: number; rule: string; state: string; reason?: string; verdict: string }[];
}

// Cause is an event of a chain of causes, the last one first.
export interface Cause {
  seq: number;
  time: string;
  topic?: string; // absent: it may not be read
  source: string;
  payload?: string;
  by?: { plugin: string; action?: string; entries?: { rule: string; line: number }[]; sources?: string[]; raw?: boolean };
  cause?: number;
}

// Problem is an error of the API.
export class Problem extends Error {
  status: number;
  hint: string;

  constructor(status: number, message: string, hint: string) {
    super(message);
    this.status = status;
    this.hint = hint;
  }
}

const patience = 10_000;
const base = "./api/v1/";

// eventLines reads the journal's events of a topic as a stream of lines. each gets those of one chunk. It resolves with the
// sequence at which to continue, or undefined if the answer was incomplete.
export async function eventLines(topic: string, since: string, each: (events: ShownEvent[]) => void, signal: AbortSignal): Promise<number | undefined> {
  const l = login();
  const headers: Record<string, string> = { Accept: "application/x-ndjson", ...(l && { Authorization: authorization(l) }) };
  const query = new URLSearchParams({ filter: topic, since });
  const answer = await fetch(`${base}events?${query}`, { headers, credentials: "omit", cache: "no-store", signal });
  if (!answer.ok || !answer.body) return undefined;
  const chunks = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  let next: number | undefined;
  for (;;) {
    const { done, value } = await chunks.read();
    if (done) return next;
    const lines = (rest + value).split("\n");
    rest = lines.pop()!;
    const events: ShownEvent[] = [];
    for (const line of lines) {
      const v = JSON.parse(line) as ShownEvent & { next?: number };
      if (v.next === undefined) events.push(v);
      else next = v.next;
    }
    each(events);
  }
}

async function call<T>(path: string, init: RequestInit = {}): Promise<T> {
  const l = login();
  const headers: Record<string, string> = { ...(init.headers as Record<string, string>) };
  if (l) headers["Authorization"] = authorization(l);
  let answer: Response;
  try {
    // Without "omit" the browser would show its own password dialog.
    answer = await fetch(path, { ...init, headers, credentials: "omit", cache: "no-store", signal: AbortSignal.timeout(patience) });
  } catch (e) {
    throw new Problem(0, e instanceof DOMException && e.name === "TimeoutError" ? "the bus does not answer" : "the bus is not reachable", "");
  }
  if (answer.status === 204) return undefined as T;
  const body = (await answer.json().catch(() => null)) as { error?: string; hint?: string } | null;
  if (!answer.ok) {
    const p = new Problem(answer.status, body?.error ?? `the bus answered ${answer.status}`, body?.hint ?? "");
    if (answer.status === 401) ask(p.message);
    throw p;
  }
  return body as T;
}

export const api = {
  bus: () => call<BusState>(base + "bus"),
  fleet: () => call<Fleet[]>(base + "fleet"),
  plugins: () => call<unknown>(base + "plugins"),
  plugin: (id: string) => call<Plugin>(base + "plugins/" + encodeURIComponent(id)),
  sessions: () => call<SessionInfo[]>(base + "sessions"),
  drop: (name: string) => call<void>(base + "sessions/" + encodeURIComponent(name), { method: "DELETE" }),
  disconnect: (client: string) => call<void>(base + "clients/" + encodeURIComponent(client) + "/kick", { method: "POST" }),
  topics: (filter: string) => call<ShownEvent[]>(`${base}topics?filter=${encodeURIComponent(filter)}`),
  explain: (topic: string) => call<Explanation>(`${base}explain?topic=${encodeURIComponent(topic)}`),
  why: (seq: number) => call<{ steps: Cause[] }>(`${base}why?seq=${seq}`),
  publish: (e: { topic: string; payload: string; qos: number; retain: boolean }) =>
    call<{ seq: number }>(base + "publish", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(e) }),
};

export function payloadOf(e: ShownEvent): Uint8Array {
  if (e.payload_base64 !== undefined) return Uint8Array.from(atob(e.payload_base64), (c) => c.charCodeAt(0));
  return new TextEncoder().encode(e.payload ?? "");
}

// words formats an error for people.
export function words(e: unknown): string {
  if (e instanceof Problem) return e.hint ? `${e.message} (${e.hint})` : e.message;
  return e instanceof Error ? e.message : String(e);
}
