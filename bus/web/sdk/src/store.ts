// This file keeps the outbox in IndexedDB: one database for each bus, shared by all tabs of this origin.

import type { Entry, Store } from "./outbox";

const all = (owner: string) => IDBKeyRange.bound([owner], [owner, []]);

/** Opens the store; without IndexedDB, one in memory. */
export async function openStore(name: string, failed: (e: Error) => void): Promise<Store> {
  try {
    return new Kept(await open(name));
  } catch (e) {
    failed(new Error(`waiting events do not survive this page: ${e instanceof Error ? e.message : String(e)}`));
    return { load: async () => [], owners: async () => [], write: async () => {}, adopt: async () => [], close() {} };
  }
}

function open(name: string): Promise<IDBDatabase> {
  return new Promise((resolve, reject) => {
    const r = indexedDB.open(name, 1);
    r.onupgradeneeded = () => r.result.createObjectStore("outbox", { keyPath: ["owner", "n"] });
    r.onsuccess = () => {
      r.result.onversionchange = () => r.result.close();
      resolve(r.result);
    };
    r.onerror = () => reject(r.error ?? new Error("IndexedDB cannot be opened"));
    r.onblocked = () => reject(new Error("IndexedDB is blocked by another tab"));
  });
}

class Kept implements Store {
  constructor(private db: IDBDatabase) {}

  load(owner: string): Promise<Entry[]> {
    return this.run("readonly", (s) => s.getAll(all(owner)));
  }

  owners(): Promise<string[]> {
    const owners: string[] = [];
    return this.run<unknown>("readonly", (s) => {
      const r = s.openKeyCursor();
      r.onsuccess = () => {
        const c = r.result;
        if (!c) return;
        const [owner] = c.key as [string, number];
        owners.push(owner);
        c.continue([owner, []]); // skip the other entries of this tab
      };
    }).then(() => owners);
  }

  write(put: Entry[], remove: Entry[]): Promise<void> {
    return this.run<void>("readwrite", (s) => {
      for (const e of put) s.put(e);
      for (const e of remove) s.delete([e.owner, e.n]);
    });
  }

  adopt(from: string, to: string, n: number): Promise<Entry[]> {
    let moved: Entry[] = [];
    return this.run<unknown>("readwrite", (s) => {
      const r = s.getAll(all(from));
      r.onsuccess = () => {
        moved = (r.result as Entry[]).map((e, i) => ({ ...e, owner: to, n: n + i }));
        s.delete(all(from));
        for (const e of moved) s.put(e);
      };
    }).then(() => moved);
  }

  close(): void {
    this.db.close();
  }

  /** One transaction; resolves when it is committed. */
  private run<T>(mode: IDBTransactionMode, work: (s: IDBObjectStore) => IDBRequest<T> | void): Promise<T> {
    return new Promise((resolve, reject) => {
      const t = this.db.transaction("outbox", mode);
      const r = work(t.objectStore("outbox"));
      t.oncomplete = () => resolve(r?.result as T);
      t.onabort = t.onerror = () => reject(t.error ?? new Error("IndexedDB refused"));
    });
  }
}
