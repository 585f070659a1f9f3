// The same page as stream.js with Socket.IO.
const q = new URLSearchParams(location.search);
const fail = Number(q.get("throw"));
const now = () => performance.timeOrigin + performance.now();
window.failures = 0;
const socket = io({ transports: ["websocket"], auth: { topic: q.get("topic") } });
window.socket = socket;
window.isOnline = () => socket.connected;
socket.on("connect", () => (window.onlineAt = now()));
// Socket.IO calls back from a promise.
for (const kind of ["error", "unhandledrejection"]) addEventListener(kind, () => void failures++);
socket.on("event", (e) => {
  if (fail && e.n >= fail) throw new Error("half way");
  const entry = { n: e.n, at: now() };
  localStorage.setItem(`${q.get("topic")}/${e.n}`, JSON.stringify(entry));
  record(entry);
});
