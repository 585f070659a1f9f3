// This file is requests over HTTP: history.

import { ofHistory, type Received, type Shown } from "./event";
import { sinceText } from "./link";
import type { HistoryOptions } from "./types";

export interface Login {
  username?: string | undefined;
  password?: string | undefined;
}

interface Page {
  events: Shown[];
  epoch: string;
  next: number; // 0: that was all
}

const pageSize = 10_000;

export class Http {
  constructor(
    private base: string,
    /** fresh: the previous one was refused. */
    private login: (fresh: boolean) => Promise<Login>,
  ) {}

  async history(filter: string, o: HistoryOptions): Promise<Received[]> {
    const out: Received[] = [];
    let since = sinceText(o.since ?? "10m");
    for (;;) {
      const limit = Math.min(pageSize, (o.limit ?? Infinity) - out.length);
      if (limit <= 0) return out;
      const query = new URLSearchParams({ filter, since, limit: String(limit) });
      const page = (await this.get(`/api/v1/events?${query}`, "same-origin")) as Page;
      for (const e of page.events) out.push(ofHistory(e));
      if (!page.next) return out;
      since = String(page.next);
    }
  }

  private async get(path: string, credentials: RequestCredentials, fresh = false): Promise<unknown> {
    const { username, password } = await this.login(fresh);
    const headers: Record<string, string> = {};
    if (username !== undefined || password !== undefined) {
      const bytes = new TextEncoder().encode(`${username ?? ""}:${password ?? ""}`);
      headers.authorization = `Basic ${btoa(String.fromCharCode(...bytes))}`;
      credentials = "omit";
    }
    const r = await fetch(this.base + path, { headers, credentials, cache: "no-store", signal: AbortSignal.timeout(30_000) });
    if (r.status === 401 && password !== undefined && !fresh) return this.get(path, credentials, true);
    if (!r.ok) {
      const said = (await r.json().catch(() => ({}))) as { error?: string; hint?: string };
      throw new Error(said.error ? said.error + (said.hint ? ` (${said.hint})` : "") : `${path}: HTTP ${r.status}`);
    }
    return r.json();
  }
}
