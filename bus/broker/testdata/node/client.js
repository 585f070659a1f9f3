// The MQTT.js half of TestClients: node client.js '{"url", "version", "id", "do", ...}'
// do: subscribe | collect | publish | die. Messages are written as lines: topic qos retain payload.
const mqtt = require("mqtt");
const o = JSON.parse(process.argv[2]);
const persistent = o.do === "subscribe" || o.do === "collect";
const client = mqtt.connect(o.url, {
  clientId: o.id,
  protocolVersion: o.version,
  clean: !persistent,
  reconnectPeriod: 0,
  resubscribe: false,
  properties: o.version === 5 ? { sessionExpiryInterval: persistent ? 3600 : 0 } : undefined,
  will: o.do === "die" ? { topic: o.topic, payload: Buffer.from("bye"), qos: 1, retain: false } : undefined,
});
client.on("error", (err) => {
  console.error(err);
  process.exit(1);
});
let left = o.count;
client.on("message", (topic, payload, packet) => {
  console.log(`${topic} ${packet.qos} ${packet.retain ? 1 : 0} ${payload}`);
  if (--left === 0) {
    // MQTT.js acknowledges when the listeners have returned.
    setImmediate(() => client.end(false, () => process.exit(0)));
  }
});
client.on("connect", async () => {
  if (o.do === "subscribe" || (o.do === "collect" && o.topic)) {
    await client.subscribeAsync(o.topic, { qos: o.qos });
  }
  if (o.do === "publish") {
    await Promise.all(o.payloads.map((p) => client.publishAsync(o.topic, p, { qos: o.qos, retain: o.retain })));
  }
  if (o.do === "die") {
    client.stream.destroy();
    process.exit(0);
  }
  if (o.do !== "collect") {
    client.end(false, () => process.exit(0));
  }
});
