// This file draws the tree of topics: only visible rows, in reused elements, at
// most once a frame. The UI library does not draw it, because it would check every row each time.

import { preview } from "../model/payload";
import { spark } from "../model/ring";
import type { Node, Tree } from "../model/tree";

const above = 6; // rows drawn beyond the edges
const valuesEvery = 90; // milliseconds between two values of a row
const shapeEvery = 150;
const flashFor = 700;
const sparkWidth = 56;
const sparkHeight = 16;

interface Row {
  el: HTMLElement;
  caret: HTMLElement;
  name: HTMLElement;
  value: HTMLElement;
  path: SVGPathElement;
  svg: SVGSVGElement;
  badge: HTMLElement;
  node: Node | null;
  index: number;
  version: number;
  flashed: number;
  flash: Animation | null;
  look: string; // of depth, openness, selection, which change seldom
}

export interface TreeViewOptions {
  tree: Tree;
  select(n: Node): void;
  clear(n: Node): void;
  leave(): void; // Escape
}

const svgNS = "http://www.w3.org/2000/svg";

export class TreeView {
  readonly el = document.createElement("div");
  selected = "";
  private o: TreeViewOptions;
  private inner = document.createElement("div");
  private rows: Node[] = [];
  private pool: Row[] = [];
  private active: Node | null = null; // has the focus when the tree has it
  private height = 28;
  private shape = -1;
  private version = -1;
  private top = -1;
  private frame = 0;
  private drawnAt = 0;
  private shapedAt = 0;
  private dirty = true;
  private still = matchMedia("(prefers-reduced-motion: reduce)");
  private narrow = matchMedia("(max-width: 760px)");
  private observer = new ResizeObserver(() => this.wake());

  constructor(o: TreeViewOptions) {
    this.o = o;
    this.el.className = "tree";
    this.el.setAttribute("role", "tree");
    this.el.setAttribute("aria-label", "Topics");
    this.el.tabIndex = 0;
    this.inner.className = "tree-inner";
    this.inner.setAttribute("role", "none");
    this.el.append(this.inner);
    this.el.addEventListener("scroll", () => this.wake(), { passive: true });
    this.el.addEventListener("keydown", (e) => this.key(e));
    this.el.addEventListener("click", (e) => this.click(e));
    this.el.addEventListener("focus", () => this.focusActive());
    this.observer.observe(this.el);
    const tick = (now: number) => {
      this.frame = requestAnimationFrame(tick);
      this.draw(now);
    };
    this.frame = requestAnimationFrame(tick);
  }

  end(): void {
    cancelAnimationFrame(this.frame);
    this.observer.disconnect();
  }

  wake(): void {
    this.dirty = true;
  }

  select(path: string): void {
    if (path === this.selected) return;
    this.selected = path;
    const n = path ? this.o.tree.get(path) : undefined;
    if (n) this.active = n;
    this.wake();
  }

  // show scrolls to a topic.
  show(path: string): boolean {
    const n = this.o.tree.reveal(path);
    if (!n) return false;
    this.active = n;
    this.relist();
    this.into(this.rows.indexOf(n));
    return true;
  }

  focus(): void {
    this.el.focus({ preventScroll: true });
    this.focusActive();
  }

  private draw(now: number): void {
    const t = this.o.tree;
    const shaped = t.shape !== this.shape && now - this.shapedAt > shapeEvery;
    const fresh = t.version !== this.version && now - this.drawnAt > valuesEvery;
    if (!this.dirty && !shaped && !fresh) return;
    if (this.dirty || shaped) {
      const h = parseFloat(getComputedStyle(this.el).getPropertyValue("--row")) || 28;
      if (h !== this.height) this.height = h;
    }
    if (shaped || (this.dirty && t.shape !== this.shape)) {
      this.shapedAt = now;
      this.relist();
    }
    this.dirty = false;
    this.version = t.version;
    this.drawnAt = now;
    this.layout(now);
  }

  // relist rebuilds the rows; visible rows stay in place.
  private relist(): void {
    const top = this.el.scrollTop;
    const first = Math.floor(top / this.height);
    const anchor = top > 0 ? this.rows[first] : undefined;
    this.rows = this.o.tree.rows();
    this.shape = this.o.tree.shape;
    this.inner.style.height = `${this.rows.length * this.height}px`;
    if (anchor && this.rows[first] !== anchor) {
      const at = this.rows.indexOf(anchor);
      if (at >= 0) this.el.scrollTop = at * this.height + (top - first * this.height);
    }
    this.dirty = true;
  }

  private layout(now: number): void {
    const view = this.el.clientHeight;
    this.top = this.el.scrollTop;
    const first = Math.max(0, Math.floor(this.top / this.height) - above);
    const last = Math.min(this.rows.length, Math.ceil((this.top + view) / this.height) + above);
    const wanted = last - first;
    const hadFocus = this.el.contains(document.activeElement);
    while (this.pool.length < wanted) this.grow();
    let activeRow: Row | null = null;
    const used = new Set<Row>();
    for (let i = first; i < last; i++) {
      const row = this.pool[i % this.pool.length]!;
      used.add(row);
      this.fill(row, this.rows[i]!, i, now);
      if (row.node === this.active) activeRow = row;
    }
    for (const row of this.pool) {
      if (used.has(row) || row.node === null) continue;
      row.node = null;
      row.el.hidden = true;
    }
    this.el.tabIndex = activeRow ? -1 : 0;
    // The focus stays within the tree, also when its row is scrolled away.
    if (hadFocus) {
      const target = activeRow ? activeRow.el : this.el;
      if (document.activeElement !== target) target.focus({ preventScroll: true });
    }
  }

  private grow(): void {
    const el = document.createElement("div");
    el.className = "row";
    el.setAttribute("role", "treeitem");
    el.hidden = true;
    const span = (c: string) => {
      const s = document.createElement("span");
      s.className = c;
      el.append(s);
      return s;
    };
    const caret = span("caret");
    caret.setAttribute("aria-hidden", "true");
    const name = span("name");
    const value = span("value");
    const svg = document.createElementNS(svgNS, "svg");
    svg.setAttribute("class", "spark");
    svg.setAttribute("viewBox", `0 0 ${sparkWidth} ${sparkHeight}`);
    svg.setAttribute("aria-hidden", "true");
    const path = document.createElementNS(svgNS, "path");
    svg.append(path);
    el.append(svg);
    const badge = span("badge");
    badge.title = "retained value. Click, or press Delete, to clear it";
    const row: Row = { el, caret, name, value, path, svg, badge, node: null, index: -1, version: -1, flashed: 0, flash: null, look: "" };
    this.pool.push(row);
    this.inner.append(el);
  }

  private fill(row: Row, n: Node, i: number, now: number): void {
    const moved = row.node !== n;
    if (moved) {
      row.node = n;
      row.el.hidden = false;
      row.name.textContent = n.name === "" ? "(empty level)" : n.name;
      row.el.title = "";
      row.version = -1;
      row.flashed = n.changed;
      row.flash?.cancel();
    }
    if (row.index !== i || moved) {
      row.index = i;
      row.el.style.transform = `translateY(${i * this.height}px)`;
    }
    const branch = n.children.length > 0;
    const active = n === this.active;
    const selected = n.path === this.selected;
    const look = `${n.depth} ${branch ? (n.open ? 1 : 2) : 0} ${active} ${selected} ${n.place} ${n.parent!.children.length} ${branch && !n.open ? n.topics : ""}`;
    if (look !== row.look) {
      row.look = look;
      const e = row.el;
      e.style.setProperty("--depth", String(Math.min(n.depth, 12)));
      e.setAttribute("aria-level", String(n.depth + 1));
      e.setAttribute("aria-posinset", String(n.place));
      e.setAttribute("aria-setsize", String(n.parent!.children.length));
      e.setAttribute("aria-selected", String(selected));
      if (branch) e.setAttribute("aria-expanded", String(n.open));
      else e.removeAttribute("aria-expanded");
      e.tabIndex = active ? 0 : -1;
      row.caret.textContent = branch ? (n.open ? "▾" : "▸") : "";
      row.version = -1;
    }
    if (row.version !== n.version) {
      row.version = n.version;
      this.values(row, n, now);
    }
  }

  private values(row: Row, n: Node, now: number): void {
    if (n.has && n.text === null) n.text = preview(n.payload, n.size);
    const closed = n.children.length > 0 && !n.open;
    const text = n.has ? n.text! : closed ? `(${n.topics.toLocaleString("en")})` : "";
    if (row.value.textContent !== text) row.value.textContent = text;
    row.value.classList.toggle("count", !n.has);
    const badge = n.retained ? "R" : "";
    if (row.badge.textContent !== badge) row.badge.textContent = badge;
    const d = n.ring && n.has ? spark(n.ring.length, (i) => n.ring!.get(i), sparkWidth, sparkHeight) : "";
    if (row.path.getAttribute("d") !== d) row.path.setAttribute("d", d);
    row.svg.classList.toggle("none", d === "");
    if (n.changed > row.flashed && now - row.flashed > flashFor) {
      row.flashed = n.changed;
      if (!this.still.matches) {
        row.flash ??= row.value.animate([{ backgroundColor: "var(--flash)" }, { backgroundColor: "transparent" }], { duration: flashFor, easing: "ease-out" });
        row.flash.cancel();
        row.flash.play();
      }
    }
  }

  private rowOf(e: Event): Row | undefined {
    const el = (e.target as Element).closest(".row");
    return this.pool.find((r) => r.el === el);
  }

  private click(e: MouseEvent): void {
    const row = this.rowOf(e);
    const n = row?.node;
    if (!row || !n) return;
    this.active = n;
    const target = e.target as Element;
    if (target === row.badge && n.retained) {
      this.o.clear(n);
    } else if (target === row.caret || !n.has) {
      this.o.tree.toggle(n, !n.open);
      // In one column the selection would cover the branch that was just opened.
      if (!n.has && target !== row.caret && !this.narrow.matches) this.o.select(n);
    } else {
      this.o.select(n);
    }
    this.wake();
  }

  private focusActive(): void {
    if (!this.active || !this.rows.includes(this.active)) {
      this.relist();
      const seen = Math.ceil(this.el.scrollTop / this.height);
      this.active = this.o.tree.get(this.selected) ?? this.rows[seen] ?? this.rows[0] ?? null;
    }
    if (this.active) this.into(this.rows.indexOf(this.active));
    this.layout(performance.now());
  }

  // into scrolls as little as needed.
  private into(i: number): void {
    if (i < 0) return;
    const y = i * this.height;
    const view = this.el.clientHeight;
    if (y < this.el.scrollTop) this.el.scrollTop = y;
    else if (y + this.height > this.el.scrollTop + view) this.el.scrollTop = y + this.height - view;
    this.wake();
  }

  private to(i: number): void {
    const n = this.rows[Math.max(0, Math.min(i, this.rows.length - 1))];
    if (!n) return;
    this.active = n;
    this.into(this.rows.indexOf(n));
    this.layout(performance.now());
  }

  private key(e: KeyboardEvent): void {
    if (e.ctrlKey || e.metaKey || e.altKey) return;
    const n = this.active;
    const i = n ? this.rows.indexOf(n) : -1;
    const page = Math.max(1, Math.floor(this.el.clientHeight / this.height) - 1);
    const t = this.o.tree;
    switch (e.key) {
      case "ArrowDown":
        this.to(i + 1);
        break;
      case "ArrowUp":
        this.to(i - 1);
        break;
      case "PageDown":
        this.to(i + page);
        break;
      case "PageUp":
        this.to(i - page);
        break;
      case "Home":
        this.to(0);
        break;
      case "End":
        this.to(this.rows.length - 1);
        break;
      case "ArrowRight":
        if (n && n.children.length > 0) {
          if (!n.open) t.toggle(n, true);
          else this.to(i + 1);
        }
        break;
      case "ArrowLeft":
        if (n?.open && n.children.length > 0) t.toggle(n, false);
        else if (n?.parent?.parent) this.to(this.rows.indexOf(n.parent));
        break;
      case "Enter":
      case " ":
        if (n) this.o.select(n);
        break;
      case "Delete":
        if (n?.retained) this.o.clear(n);
        break;
      case "Escape":
        this.o.leave();
        break;
      default:
        return;
    }
    e.preventDefault();
    if (t.shape !== this.shape) {
      this.relist();
      this.layout(performance.now());
    }
    this.wake();
  }
}
