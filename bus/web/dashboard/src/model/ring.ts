// This file is the last numbers of a topic, for its sparkline. It starts small, since most topics of a
// large bus are quiet.

const most = 120;

export class Ring {
  private values = new Float64Array(8);
  private at = 0; // where the next goes
  length = 0;

  push(v: number): void {
    if (this.length === this.values.length && this.length < most) {
      const more = new Float64Array(Math.min(most, this.length * 2));
      for (let i = 0; i < this.length; i++) more[i] = this.get(i);
      this.values = more;
      this.at = this.length;
    }
    if (this.at === this.values.length) this.at = 0;
    this.values[this.at++] = v;
    if (this.length < this.values.length) this.length++;
  }

  // get is the i-th, the oldest first.
  get(i: number): number {
    const n = this.values.length;
    const first = this.length < n ? 0 : this.at % n;
    return this.values[(first + i) % n]!;
  }
}

// spark is the outline of the numbers as an SVG path within width and height.
export function spark(length: number, get: (i: number) => number, width: number, height: number): string {
  if (length < 2) return "";
  let low = Infinity;
  let high = -Infinity;
  for (let i = 0; i < length; i++) {
    const v = get(i);
    if (v < low) low = v;
    if (v > high) high = v;
  }
  const span = high - low || 1;
  const flat = high === low;
  let d = "";
  const points = Math.min(length, Math.floor(width));
  for (let p = 0; p < points; p++) {
    const i = Math.round((p * (length - 1)) / (points - 1));
    const x = (p * width) / (points - 1);
    const y = flat ? height / 2 : height - 1 - ((get(i) - low) / span) * (height - 2);
    d += `${p === 0 ? "M" : "L"}${x.toFixed(1)} ${y.toFixed(1)}`;
  }
  return d;
}
