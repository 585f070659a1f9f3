// compare.js FILE STATUS prints what `bench compare --json` measured, and fails unless it is whole and postbus, the first
// target, lost and disordered nothing at QoS 1. STATUS is the exit status of the bench: 1 when any target lost something.
const { loads, targets } = JSON.parse(require("fs").readFileSync(process.argv[2], "utf8"));
const bad = loads.filter((l) => l.load.startsWith("QoS 1") && l.missed[0] + l.disordered[0] > 0);
const lost = loads.some((l) => [...l.missed, ...l.disordered].some((n) => n > 0));
console.log(`msg/s (missed): ${targets.map((t) => t.name).join(", ")}`);
for (const l of loads) {
  const rates = l.rates.map((r, i) => `${Math.round(r)} (${l.missed[i]})`);
  console.log(`${l.load.padEnd(40)} ${rates.join(", ")}: x${(l.rates[0] / l.rates[1]).toFixed(1)}`);
}
if (loads.length !== 5 || bad.length > 0 || (process.argv[3] !== "0") !== lost) {
  console.error(`error: ${loads.length} loads of 5, ${bad.length} in which postbus lost or disordered events, exit status ${process.argv[3]}`);
  process.exit(1);
}
