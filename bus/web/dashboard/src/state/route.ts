// This file keeps the view, the filter and the selection in the address, so that a link can be shared.

import { store } from "./store";

export type View = "live" | "plugins" | "sessions" | "bus";
export const views: View[] = ["live", "plugins", "sessions", "bus"];

export interface Route {
  view: View;
  filter: string; // live: "" for everything
  topic: string; // live: the selected topic
  range: string; // live: of the plot
  member: string; // live: the number of a JSON payload that is plotted
  plugin: string; // plugins: the selected one
  trace: string; // plugins: "1" while its trace is open
}

const none: Route = { view: "live", filter: "", topic: "", range: "10m", member: "", plugin: "", trace: "" };
const keys = ["filter", "topic", "range", "member", "plugin", "trace"] as const;

export function parse(hash: string): Route {
  const r = { ...none };
  const [path = "", query = ""] = hash.replace(/^#\/?/, "").split("?", 2);
  if ((views as string[]).includes(path)) r.view = path as View;
  const q = new URLSearchParams(query);
  for (const k of keys) r[k] = q.get(k) ?? none[k];
  return r;
}

export function write(r: Route): string {
  const parts: string[] = [];
  for (const k of keys) {
    if (r[k] === none[k]) continue;
    const mine = k === "plugin" || k === "trace" ? r.view === "plugins" : r.view === "live";
    // Slashes stay readable, as in topics.
    if (mine) parts.push(`${k}=${encodeURIComponent(r[k]).replaceAll("%2F", "/").replaceAll("%24", "$")}`);
  }
  return `#/${r.view}${parts.length ? "?" + parts.join("&") : ""}`;
}

export const route = store<Route>(parse(location.hash));

// Each view keeps its own part while another one is shown.
let kept: Route = route.get();

// wandered is true once the user has navigated; before that the browser keeps the focus.
export let wandered = false;

export function go(change: Partial<Route>, replace = false): void {
  wandered = true;
  kept = { ...kept, ...change };
  const hash = write(kept);
  if (hash !== location.hash) {
    if (replace) history.replaceState(null, "", hash);
    else history.pushState(null, "", hash);
  }
  route.set(kept);
}

export function link(change: Partial<Route>): string {
  return write({ ...kept, ...change });
}

addEventListener("hashchange", moved);
addEventListener("popstate", moved);

function moved(): void {
  const r = parse(location.hash);
  if (write(r) === write(route.get())) return;
  if (r.view === "live") kept = { ...r, plugin: kept.plugin };
  else if (r.view === "plugins") kept = { ...kept, view: r.view, plugin: r.plugin, trace: r.trace };
  else kept = { ...kept, view: r.view };
  route.set(kept);
}
