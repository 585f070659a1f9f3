// This file weighs what was built, as it travels: gzip. More than the budget fails the build.

import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";

const budget = 120 * 1024;
const dist = new URL("../dist", import.meta.url).pathname;

let all = 0;
for (const name of readdirSync(dist, { recursive: true }).sort()) {
  const file = join(dist, name);
  if (!statSync(file).isFile()) continue;
  const raw = readFileSync(file);
  const size = gzipSync(raw, { level: 9 }).length;
  if (/\.(js|css|html)$/.test(name)) all += size;
  console.log(`${(raw.length / 1024).toFixed(1).padStart(8)} KiB  ${(size / 1024).toFixed(1).padStart(6)} KiB gzip  ${name}`);
}
console.log(`${"".padStart(12)}  ${(all / 1024).toFixed(1).padStart(6)} KiB gzip in all, of ${budget / 1024} KiB`);
if (all > budget) {
  console.error("error: the dashboard is larger than its budget");
  process.exit(1);
}
