// This file finds the address of the bus: by default the server of this script, so that a page of another server
// can import it.

const script = import.meta.url ?? (globalThis.document?.currentScript as HTMLScriptElement | null)?.src;

/** The WebSocket's address, and the base of the HTTP API's paths. */
export function addresses(url?: string): { ws: string; base: string } {
  const here = script && /^https?:/.test(script) ? script : globalThis.location?.href;
  const u = url === undefined ? new URL("/mqtt", here) : new URL(url, here);
  if (u.protocol === "http:") u.protocol = "ws:";
  if (u.protocol === "https:") u.protocol = "wss:";
  if (u.protocol !== "ws:" && u.protocol !== "wss:") throw new TypeError(`${u.protocol}// is not a scheme of a bus: use ws://, wss://, http:// or https://`);
  if (u.pathname === "/") u.pathname = "/mqtt";
  u.hash = u.search = u.username = u.password = "";
  const base = u.href.replace(/^ws/, "http").replace(/\/mqtt$/, "").replace(/\/$/, "");
  return { ws: u.href, base };
}
