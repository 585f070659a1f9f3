// A chart of the last ten minutes that goes on live. Events are kept by their sequence, so that nothing is
// there twice or missing where the past meets what is new.
import { connect } from "/postbus.js";

const topic = new URLSearchParams(location.search).get("topic") ?? "home/kitchen/temperature";
const $ = (id) => document.getElementById(id);
const points = new Map();

const bus = await connect();
bus.status((s) => {
  $("state").textContent = s.state === "online" ? `online${s.missed ? `, caught up on ${s.missed}` : ""}` : `${s.state}: ${s.reason ?? ""}`;
});
bus.on(topic, (e) => add([e])); // live first, then the past: no gap between them
add(await bus.history(topic, { since: "10m" }));
setInterval(draw, 1000);
$("be").oninput = (e) => bus.emit(topic, Number(e.target.value), { retain: true });

function add(events) {
  for (const e of events) if (typeof e.json === "number") points.set(e.seq, e);
  draw();
}

function draw() {
  const from = Date.now() - 600_000;
  for (const [seq, e] of points) if (e.time < from) points.delete(seq);
  const all = [...points.values()].sort((a, b) => a.seq - b.seq);
  if (all.length === 0) return;
  $("now").textContent = `${all.at(-1).json.toFixed(1)} °C`;
  $("line").setAttribute("points", all.map((e) => `${(e.time - from) / 1000},${100 - 2 * (e.json + 10)}`).join(" "));
}
