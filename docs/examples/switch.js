// A command that is answered: the button shows what the lamp says, never what was wished for. The lamp's
// state is retained, so a page that is opened later knows it.
import { connect } from "/postbus.js";

const $ = (id) => document.getElementById(id);
const bus = await connect();
let on = false;

bus.status((s) => ($("state").textContent = s.state));

bus.on("home/lamp/state", (e) => {
  on = e.json?.on === true;
  $("switch").textContent = on ? "on" : "off";
  $("switch").ariaPressed = String(on);
}, { retained: "always" });

$("switch").onclick = async () => {
  $("answer").textContent = "asked…";
  try {
    const answer = await bus.request("home/lamp/set", { on: !on }, { timeout: 3000 });
    $("answer").textContent = `the lamp says: ${answer.text}`;
  } catch (error) {
    $("answer").textContent = error.message; // nobody answered, or the lamp refused
  }
};

let off;
$("lamp").onchange = () => {
  if (!$("lamp").checked) return off();
  off = bus.respond("home/lamp/set", async (e) => {
    if (typeof e.json?.on !== "boolean") throw new Error('a lamp wants {"on": true} or {"on": false}');
    await bus.emit("home/lamp/state", e.json, { retain: true });
    return e.json;
  });
};
