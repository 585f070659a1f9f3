// This file plots the numbers of a topic over time, and adds new ones as they arrive.

import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { clockTime, exact, value } from "../model/format";
import type { Points } from "../model/points";

const height = 168;

function colour(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

export class Plot {
  private u: uPlot;
  private span: number;
  private points: Points | null = null;
  private observer: ResizeObserver;
  private scheme = matchMedia("(prefers-color-scheme: dark)");
  private say: (text: string) => void;
  private recolour = () => this.u.redraw();

  constructor(place: HTMLElement, span: number, say: (text: string) => void) {
    this.span = span;
    this.say = say;
    this.u = new uPlot(this.options(Math.max(place.clientWidth, 120)), [[], []], place);
    this.observer = new ResizeObserver(() => {
      const w = place.clientWidth;
      if (w > 0 && Math.abs(w - this.u.width) > 1) this.u.setSize({ width: w, height });
    });
    this.observer.observe(place);
    this.scheme.addEventListener("change", this.recolour);
  }

  private options(width: number): uPlot.Options {
    const axis: uPlot.Axis = {
      stroke: () => colour("--soft"),
      grid: { stroke: () => colour("--line"), width: 1 },
      ticks: { show: false },
      font: "12px system-ui, sans-serif",
      gap: 4,
    };
    return {
      width,
      height,
      padding: [8, () => (this.span > 1200 ? 18 : 28), 0, 0], // half of the last time
      legend: { show: false },
      cursor: { y: false, drag: { x: false, y: false }, points: { size: 7, fill: () => colour("--accent") } },
      scales: {
        x: { time: true },
        y: { range: (_u, min, max) => this.around(min, max) },
      },
      axes: [
        { ...axis, size: 24, space: 70, values: (_u, at) => at.map((t) => clockTime(t * 1000).slice(0, this.span > 1200 ? 5 : 8)) },
        { ...axis, size: (_u, values) => 14 + 7 * Math.max(2, ...(values ?? []).map((v) => v.length)), space: 34, values: (_u, at) => at.map(value) },
      ],
      series: [
        {},
        { stroke: () => colour("--accent"), width: 1.5, points: { size: 5, show: (u, _i, from, to) => to - from < u.width / 12 } },
      ],
      hooks: {
        setCursor: [
          (u) => {
            const i = u.cursor.idx;
            const x = i == null ? undefined : u.data[0][i];
            const y = i == null ? undefined : u.data[1]?.[i];
            this.say(x == null || y == null ? "" : `${value(y)} at ${exact(x * 1000)}`);
          },
        ],
      },
    };
  }

  // around leaves a margin above and below; a flat line is in the middle.
  private around(min: number | null, max: number | null): [number, number] {
    if (min == null || max == null || !Number.isFinite(min) || !Number.isFinite(max)) return [0, 1];
    const air = (max - min) * 0.08 || Math.max(Math.abs(max) * 0.05, 0.5);
    return [min - air, max + air];
  }

  show(points: Points, span: number): void {
    this.points = points;
    this.span = span;
    const now = Date.now() / 1000;
    points.drop(now - span);
    this.u.batch(() => {
      this.u.setData([points.x, points.y], false);
      // The clocks of bus and reader may differ: the newest event is never cut off.
      const end = Math.max(now, points.x[points.x.length - 1] ?? 0);
      this.u.setScale("x", { min: end - span, max: end });
    });
  }

  get count(): number {
    return this.points?.x.length ?? 0;
  }

  end(): void {
    this.observer.disconnect();
    this.scheme.removeEventListener("change", this.recolour);
    this.u.destroy();
  }
}
