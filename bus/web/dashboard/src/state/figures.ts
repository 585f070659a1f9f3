// This file reads the metrics of the bus every two seconds while the page is visible.

import { Ring } from "../model/ring";
import { api, Problem, words, type BusState } from "./api";
import { link, noteEpoch } from "./feed";
import { store } from "./store";

export interface Figures {
  bus: BusState | null;
  rate: number; // events a second
  trouble: string; // why there are no metrics
}

const every = 2000;

export const figures = store<Figures>({ bus: null, rate: 0, trouble: "" });
export const rateRing = new Ring();

let last: { at: number; started: string; published: number } | null = null;
let asking = false;

async function look(): Promise<void> {
  if (document.hidden || asking) return;
  asking = true;
  try {
    const bus = await api.bus();
    noteEpoch(bus.epoch);
    const now = performance.now();
    let rate = figures.get().rate;
    if (last && last.started === bus.started && now > last.at) {
      rate = (Math.max(0, bus.published - last.published) * 1000) / (now - last.at);
      rateRing.push(rate);
    }
    last = { at: now, started: bus.started, published: bus.published };
    figures.set({ bus, rate, trouble: "" });
  } catch (e) {
    const mayNot = e instanceof Problem && (e.status === 401 || e.status === 403);
    figures.set({ ...figures.get(), bus: mayNot ? null : figures.get().bus, trouble: words(e) });
  } finally {
    asking = false;
  }
}

export function start(): void {
  void look();
  setInterval(() => void look(), every);
  document.addEventListener("visibilitychange", () => void look());
  link.watch(() => void look());
}

export function lostOf(b: BusState): number {
  return Object.values(b.lost).reduce((sum, n) => sum + n, 0);
}
