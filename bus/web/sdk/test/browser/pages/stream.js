// A page that records each event it has handled. ?topic= and ?id= say which; ?throw=n fails at that number.
import { connect } from "/postbus.js";

const q = new URLSearchParams(location.search);
const fail = Number(q.get("throw"));
const now = () => performance.timeOrigin + performance.now(); // not moved by a clock that jumps
window.statuses = [];
window.failures = 0;
const bus = await connect(q.has("id") ? { id: q.get("id") } : {});
window.bus = bus;
bus.status((s) => statuses.push({ ...s, at: now() }));
bus.onError((f) => void (failures++, console.debug(f.error.message)));
bus.on(q.get("topic"), (e) => {
  if (fail && e.json.n >= fail) throw new Error("half way");
  const entry = { n: e.json.n, at: now(), redelivered: e.redelivered, missed: e.missed, seq: e.seq };
  // What is on its way to the test when the page goes is lost; what is in localStorage is not.
  localStorage.setItem(`${q.get("topic")}/${e.json.n}`, JSON.stringify(entry));
  record(entry);
});
