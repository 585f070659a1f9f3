// This file is the tree of topics: plain objects and arrays, changed in place, so that an event costs a
// look-up and a few stores. What is on screen is derived from it once a frame, never per event.

import { numberIn } from "./numeric";
import { Ring } from "./ring";

export const maxTopics = 50_000;
const keptPayload = 4 * 1024; // bytes of the last value that are kept; the topic's own view has all
const openUntil = 200; // topics; a larger tree begins closed

export class Node {
  readonly name: string;
  readonly path: string;
  readonly parent: Node | null;
  readonly depth: number;
  children: Node[] = [];
  open = false;
  topics = 0; // with a value, here and below
  place = 1; // among its siblings
  has = false;
  payload: Uint8Array = empty;
  size = 0;
  seq = 0;
  time = 0; // milliseconds
  source = "";
  retained = false;
  round = 0; // of the retained events that named it last
  events = 0;
  version = 0; // counts visible changes
  changed = 0; // performance.now() of the last other value
  text: string | null = null; // the value on one line, made when first needed
  ring: Ring | null = null;
  member = ""; // of a JSON payload; "": the first number
  dull = 0; // consecutive values without a number; after some the topic is not checked for a while

  constructor(name: string, path: string, parent: Node | null) {
    this.name = name;
    this.path = path;
    this.parent = parent;
    this.depth = parent ? parent.depth + 1 : -1;
  }
}

const empty = new Uint8Array(0);

export interface Value {
  payload: Uint8Array;
  seq: number;
  time: number;
  source: string;
  retain: boolean;
}

const utf8 = new TextDecoder();

export class Tree {
  root = new Node("", "", null);
  topics = 0; // with a value
  refused = 0; // events of topics beyond the cap
  round = 1;
  shape = 0; // counts changes of the set of rows
  version = 0; // counts all changes
  openAll = false; // new branches begin open, because a filter is set
  private byPath = new Map<string, Node>();
  private list: Node[] = [];
  private listed = -1;

  get(path: string): Node | undefined {
    return this.byPath.get(path);
  }

  // update adds one event; it returns its node, or null if the tree is full.
  update(topic: string, v: Value, now: number): Node | null {
    let n = this.byPath.get(topic);
    if (!n || !n.has) {
      if (v.payload.length === 0 && v.retain) return null; // cleared, and never seen
      if (this.topics >= maxTopics) {
        this.refused++;
        return null;
      }
      n = this.insert(topic);
      n.has = true;
      this.topics++;
      for (let p: Node | null = n; p; p = p.parent) p.topics++;
    }
    if (v.retain) {
      n.retained = v.payload.length > 0;
      n.round = this.round;
      // After a reconnection the retained messages are repeated, which is no change.
      const own = topic.charCodeAt(0) === 36; // events of the bus itself have no sequence
      if (n.events > 0 && ((v.seq === n.seq && v.time === n.time) || (!own && v.seq > 0 && v.seq < n.seq))) {
        n.version++;
        this.version++;
        return n;
      }
    }
    if (n.events === 0 || !same(n.payload, n.size, v.payload)) {
      n.changed = n.events === 0 ? 0 : now;
      n.payload = v.payload.length > keptPayload ? v.payload.slice(0, keptPayload) : v.payload.slice();
      n.size = v.payload.length;
      n.text = null;
    }
    n.seq = v.seq;
    n.time = v.time;
    n.source = v.source;
    n.events++;
    n.version++;
    this.version++;
    if (n.size <= keptPayload && (n.dull < 8 || n.events % 16 === 0)) this.number(n);
    return n;
  }

  private number(n: Node): void {
    const x = numberIn(utf8.decode(n.payload), n.member);
    if (Number.isNaN(x)) {
      n.dull++;
      return;
    }
    n.dull = 0;
    n.ring ??= new Ring();
    n.ring.push(x);
  }

  // choose plots another member of a JSON payload.
  choose(n: Node, member: string): void {
    if (n.member === member) return;
    n.member = member;
    n.ring = null;
    n.dull = 0;
    n.version++;
    this.number(n);
  }

  private insert(topic: string): Node {
    const known = this.byPath.get(topic);
    if (known) return known;
    this.shape++;
    const cut = topic.lastIndexOf("/");
    const parent = cut < 0 ? this.root : this.insert(topic.slice(0, cut));
    const n = new Node(topic.slice(cut + 1), topic, parent);
    n.open = this.openAll || (n.depth === 0 ? topic.charCodeAt(0) !== 36 : this.topics < openUntil && topic.charCodeAt(0) !== 36);
    this.byPath.set(topic, n);
    place(parent.children, n);
    return n;
  }

  toggle(n: Node, open: boolean): void {
    if (n.open === open || n.children.length === 0) return;
    n.open = open;
    this.shape++;
  }

  // reveal opens all branches above a topic.
  reveal(path: string): Node | undefined {
    const n = this.byPath.get(path);
    for (let p = n?.parent; p && p.parent; p = p.parent) this.toggle(p, true);
    return n;
  }

  // prune removes topics that do not match.
  prune(keep: (topic: string) => boolean): void {
    const walk = (n: Node): void => {
      n.children = n.children.filter((c) => {
        walk(c);
        if (c.has && !keep(c.path)) {
          c.has = false;
          c.topics--;
        }
        if (c.topics === 0) this.byPath.delete(c.path);
        return c.topics > 0;
      });
      n.topics = (n.has ? 1 : 0) + n.children.reduce((sum, c) => sum + c.topics, 0);
    };
    walk(this.root);
    this.topics = this.root.topics;
    this.refused = 0;
    this.shape++;
    this.version++;
  }

  // sweep removes the badge of topics that the bus did not send among all retained ones.
  sweep(): void {
    for (const n of this.byPath.values()) {
      if (n.retained && n.round < this.round) {
        n.retained = false;
        n.version++;
      }
    }
    this.version++;
  }

  // rows are the nodes that are not hidden in a closed branch, from top to bottom.
  rows(): Node[] {
    if (this.listed === this.shape) return this.list;
    this.listed = this.shape;
    const out: Node[] = [];
    const walk = (children: Node[]): void => {
      for (let i = 0; i < children.length; i++) {
        const c = children[i]!;
        c.place = i + 1;
        out.push(c);
        if (c.open && c.children.length > 0) walk(c.children);
      }
    };
    walk(this.root.children);
    this.list = out;
    return out;
  }

  // below names the levels that follow a path; + stands for any level.
  below(levels: string[]): Set<string> {
    let at: Node[] = [this.root];
    for (const l of levels) {
      at = at.flatMap((n) => (l === "+" ? n.children : n.children.filter((c) => c.name === l)));
      if (at.length > 1000) at.length = 1000;
    }
    const names = new Set<string>();
    for (const n of at) {
      for (const c of n.children) {
        names.add(c.name);
        if (names.size > 5000) return names;
      }
    }
    return names;
  }

  // search lists topics that hold all words, up to a limit.
  search(words: string[], limit: number): Node[] {
    const out: Node[] = [];
    for (const n of this.byPath.values()) {
      if (!n.has) continue;
      const p = n.path.toLowerCase();
      if (words.every((w) => p.includes(w))) {
        out.push(n);
        if (out.length >= limit) break;
      }
    }
    return out;
  }
}

const collator = new Intl.Collator("en", { numeric: true });

// rank sorts the reserved roots last.
function compare(a: string, b: string): number {
  const x = a.charCodeAt(0) === 36 ? 1 : 0;
  const y = b.charCodeAt(0) === 36 ? 1 : 0;
  return x - y || collator.compare(a, b) || (a < b ? -1 : a > b ? 1 : 0);
}

function place(list: Node[], n: Node): void {
  let low = 0;
  let high = list.length;
  if (high > 0 && compare(list[high - 1]!.name, n.name) < 0) {
    list.push(n);
    return;
  }
  while (low < high) {
    const mid = (low + high) >> 1;
    if (compare(list[mid]!.name, n.name) < 0) low = mid + 1;
    else high = mid;
  }
  list.splice(low, 0, n);
}

function same(kept: Uint8Array, size: number, p: Uint8Array): boolean {
  if (size !== p.length) return false;
  const n = Math.min(kept.length, p.length);
  for (let i = 0; i < n; i++) if (kept[i] !== p[i]) return false;
  return true;
}
