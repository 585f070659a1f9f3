// The MQTT.js half of TestClients: node client.js '{"url", "version", "id", "do", ...}'
// do: subscribe | collect | publish | burst | die. Messages are written as lines: topic qos retain payload.
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
  ...(o.do === "burst" ? zigbee2mqtt() : {}),
});

// zigbee2mqtt connects with these options (lib/mqtt.ts), and then publishes all that it knows at once.
function zigbee2mqtt() {
  return {
    will: { topic: "zigbee2mqtt/bridge/state", payload: Buffer.from('{"state":"offline"}'), qos: 1, retain: true },
    properties: { maximumPacketSize: 1048576 },
    keepalive: 60,
    clean: true,
  };
}
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
  if (o.do === "burst") {
    await Promise.all(Array.from({ length: o.count }, (_, i) => client.publishAsync(o.topic, String(i), { qos: o.qos })));
  }
  if (o.do === "die") {
    client.stream.destroy();
    process.exit(0);
  }
  if (o.do !== "collect") {
    client.end(false, () => process.exit(0));
  }
});
