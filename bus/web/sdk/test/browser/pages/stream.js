// A page that records each event it has handled. ?topic= and ?id= say which; ?throw=n fails at that number.
import { connect } from "/postbus.js";

const q = new URLSearchParams(location.search);
const fail = Number(q.get("throw"));
window.statuses = [];
window.failures = 0;
const bus = await connect(q.has("id") ? { id: q.get("id") } : {});
window.bus = bus;
bus.status((s) => statuses.push(s));
bus.onError((f) => void (failures++, console.debug(f.error.message)));
bus.on(q.get("topic"), (e) => {
  if (fail && e.json.n >= fail) throw new Error("half way");
  localStorage.setItem(`${q.get("topic")}/${e.json.n}`, "");
  record({ n: e.json.n, at: Date.now(), redelivered: e.redelivered, missed: e.missed, seq: e.seq });
});
