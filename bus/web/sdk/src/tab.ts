// This file is the name of a tab: kept over a reload, and never that of another tab. A duplicated tab begins
// with a copy of the name and has to notice. Web Locks tell; a page that was not loaded over HTTPS has none,
// there tabs ask each other over a BroadcastChannel.

const again = 100; // milliseconds between tries: the page before a reload may still hold the name
const tries = 5;
const answerWithin = 200;

/** Names that this page holds: a second connect() gets another. */
const here = new Set<string>();

export interface Tab {
  id: string;
  /** Whether a tab of that name is open somewhere. */
  alive(id: string): Promise<boolean>;
  /** Takes a new name. */
  rename(): Promise<void>;
  release(): void;
}

export async function claimTab(scope: string, memory: Storage | undefined = storage("sessionStorage")): Promise<Tab> {
  const channel = typeof BroadcastChannel === "undefined" ? undefined : new BroadcastChannel(scope);
  // Node keeps running for an open channel; a page does not.
  (channel as unknown as { unref?(): void } | undefined)?.unref?.();
  const locks = globalThis.navigator?.locks;
  let slot = 0;
  while (here.has(`${scope}#${slot}`)) slot++;
  here.add(`${scope}#${slot}`);
  const place = `${scope}#${slot}`;
  let release: (() => void) | undefined;

  const tab: Tab = {
    id: memory?.getItem(place) ?? "",
    async alive(id) {
      if (id === tab.id) return true;
      if (locks) return (await locks.query()).held?.some((l) => l.name === `${scope}:${id}`) ?? false;
      return ask(id);
    },
    async rename() {
      release?.();
      for (let got = false; !got; got = await hold()) tab.id = `web-${random()}`;
      memory?.setItem(place, tab.id);
    },
    release() {
      release?.();
      here.delete(place);
      channel?.close();
    },
  };

  channel?.addEventListener("message", (m: MessageEvent<{ ask?: string }>) => {
    if (m.data.ask !== undefined && m.data.ask === tab.id && release) channel.postMessage({ held: tab.id });
  });

  function ask(id: string): Promise<boolean> {
    return new Promise((resolve) => {
      if (!channel) return resolve(false);
      const timer = setTimeout(() => end(false), answerWithin);
      const hear = (m: MessageEvent<{ held?: string }>) => {
        if (m.data.held === id) end(true);
      };
      function end(held: boolean) {
        clearTimeout(timer);
        channel!.removeEventListener("message", hear);
        resolve(held);
      }
      channel.addEventListener("message", hear);
      channel.postMessage({ ask: id });
    });
  }

  /** Holds the name while the page lives; false when another tab does. */
  async function hold(): Promise<boolean> {
    if (!locks) {
      if (await ask(tab.id)) return false;
      release = () => (release = undefined);
      return true;
    }
    return new Promise<boolean>((resolve) => {
      void locks.request(`${scope}:${tab.id}`, { ifAvailable: true }, (lock) => {
        resolve(lock !== null);
        return lock && new Promise<void>((done) => (release = done));
      });
    });
  }

  for (let i = 0; tab.id !== ""; i++) {
    if (await hold()) return tab;
    if (i >= tries) break;
    await new Promise((r) => setTimeout(r, again));
  }
  await tab.rename();
  return tab;
}

/** A page in a sandbox has no storage, and says so by throwing. */
export function storage(which: "sessionStorage" | "localStorage"): Storage | undefined {
  try {
    return globalThis[which];
  } catch {
    return undefined;
  }
}

/** 80 random bits; crypto.randomUUID is for HTTPS only. */
export function random(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(10)), (b) => b.toString(16).padStart(2, "0")).join("");
}
