// This file keeps user and password while the tab is open, and decides when to ask for them.

import type { Login } from "../mqtt/codec";
import { store } from "./store";

const key = "postbus.login";

function read(): Login | null {
  try {
    return JSON.parse(sessionStorage.getItem(key) ?? "null") as Login | null;
  } catch {
    return null;
  }
}

let current = read();

export function login(): Login | null {
  return current;
}

export function setLogin(l: Login | null): void {
  current = l;
  try {
    if (l) sessionStorage.setItem(key, JSON.stringify(l));
    else sessionStorage.removeItem(key);
  } catch {
    // a browser without storage: then it is asked for again after a reload
  }
}

// asked is the reason why a login is required, "" if none is.
export const asked = store("");
export const dismissed = store(false);

export function ask(reason: string): void {
  if (!dismissed.get()) asked.set(reason || "the bus requires a login");
}

export function authorization(l: Login): string {
  const bytes = new TextEncoder().encode(`${l.user}:${l.password}`);
  return "Basic " + btoa(String.fromCharCode(...bytes));
}
