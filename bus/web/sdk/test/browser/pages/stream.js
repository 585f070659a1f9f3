// A page that records each event it has handled. ?topic= and ?id= say which; ?throw=n fails from that number on.
import { connect } from "/postbus.js";

const q = new URLSearchParams(location.search);
const fail = Number(q.get("throw"));
const now = () => performance.timeOrigin + performance.now(); // not moved by a clock that jumps
window.failures = 0;
// When the page last began to connect: what was accepted before that was accepted before the page was back.
let dialled;
window.WebSocket = class extends WebSocket {
  constructor(...args) {
    dialled = now();
    super(...args);
  }
};
const bus = await connect(q.has("id") ? { id: q.get("id") } : {});
window.bus = bus;
window.isOnline = () => bus.current.state === "online";
let was = "";
bus.status((s) => {
  if (s.state === "online" && was !== "online") [window.dialledAt, window.onlineAt] = [dialled, now()];
  was = s.state;
});
bus.onError(() => void failures++);
bus.on(q.get("topic"), (e) => {
  if (fail && e.json.n >= fail) throw new Error("half way");
  const entry = { n: e.json.n, at: now() };
  // What is on its way to the test when the page goes is lost; what is in localStorage is not.
  localStorage.setItem(`${q.get("topic")}/${e.json.n}`, JSON.stringify(entry));
  record(entry);
});
