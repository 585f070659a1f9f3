// Every tab is somebody. What is said while a tab is offline or reloads is there when it is back, and what it
// says offline is sent then.
import { connect } from "/postbus.js";

const $ = (id) => document.getElementById(id);
const shown = new Set();
const bus = await connect();

bus.status((s) => {
  const waits = s.queued ? `, ${s.queued} to be sent` : "";
  const missed = s.missed ? `, ${s.missed} said meanwhile` : "";
  $("state").textContent = `${bus.id} is ${s.state}${waits}${missed}`;
});
bus.on("chat/tabs", show);
for (const e of await bus.history("chat/tabs", { since: "1h" })) show(e);

$("say").onsubmit = (e) => {
  e.preventDefault();
  if ($("text").value) bus.emit("chat/tabs", $("text").value).catch((error) => ($("state").textContent = error.message));
  $("text").value = "";
};

function show(e) {
  if (shown.has(e.seq)) return;
  shown.add(e.seq);
  const line = document.createElement("li");
  line.textContent = `${e.time.toLocaleTimeString()} ${e.source === bus.id ? "you" : e.source}: ${e.text}`;
  line.value = e.seq;
  const after = [...$("said").children].find((l) => l.value > e.seq);
  $("said").insertBefore(line, after ?? null);
}
