// This file is a minimal store: a value and its subscribers.

import { useEffect, useLayoutEffect, useState } from "preact/hooks";

export interface Store<T> {
  get(): T;
  set(v: T): void;
  watch(f: () => void): () => void;
}

export function store<T>(first: T): Store<T> {
  let value = first;
  const watchers = new Set<() => void>();
  return {
    get: () => value,
    set(v) {
      if (Object.is(v, value)) return;
      value = v;
      for (const f of [...watchers]) f();
    },
    watch(f) {
      watchers.add(f);
      return () => watchers.delete(f);
    },
  };
}

// useStore draws the component again when the value changes.
export function useStore<T>(s: Store<T>): T {
  const [, again] = useState(0);
  useEffect(() => {
    let seen = s.get();
    const look = () => {
      if (!Object.is(seen, s.get())) {
        seen = s.get();
        again((n) => n + 1);
      }
    };
    const stop = s.watch(look);
    again((n) => n + 1); // it may have changed before this ran
    return stop;
  }, [s]);
  return s.get();
}

// useNow is the current time, updated every second while the page is visible.
export function useNow(every = 1000): number {
  const [now, set] = useState(Date.now());
  useEffect(() => {
    const t = setInterval(() => {
      if (!document.hidden) set(Date.now());
    }, every);
    return () => clearInterval(t);
  }, [every]);
  return now;
}

// useEscape calls f for an Escape that nothing nearer took, from the moment on that what it closes is seen: an effect that
// waits for the next frame would miss a quick one.
export function useEscape(f: () => void): void {
  useLayoutEffect(() => {
    const key = (e: KeyboardEvent) => {
      if (e.key === "Escape" && !e.defaultPrevented && !document.querySelector("dialog[open]")) f();
    };
    addEventListener("keydown", key);
    return () => removeEventListener("keydown", key);
  });
}
