// This file is the numbers of one topic over time, in a bounded number.

export const maxPoints = 60_000;

// Points are the numbers of a topic over time, in two arrays for the plot. When there are too
// many, every second one of the older half is dropped.
export class Points {
  x: number[] = []; // seconds
  y: number[] = [];
  thinned = false;

  push(x: number, y: number): void {
    this.x.push(x);
    this.y.push(y);
    if (this.x.length > maxPoints) this.thin();
  }

  private thin(): void {
    const half = this.x.length >> 1;
    const keep = (_: number, i: number) => i >= half || i % 2 === 0;
    this.x = this.x.filter(keep);
    this.y = this.y.filter(keep);
    this.thinned = true;
  }

  // drop removes points before x; not at every call, because it copies.
  drop(x: number): void {
    let n = 0;
    while (n < this.x.length && this.x[n]! < x) n++;
    if (n < 256 && n * 4 < this.x.length) return;
    this.x.splice(0, n);
    this.y.splice(0, n);
  }
}
