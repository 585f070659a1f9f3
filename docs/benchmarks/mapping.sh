#!/usr/bin/env bash
# The same job done by a plugin of postbus, by Node-RED and by Telegraf, one after the other, beside the
# same broker: JSON events on bench/in/kitchen; those with celsius >= 0 go to bench/out/kitchen, rounded.
# Needs postbus in PATH; node-red (npm) and telegraf are measured when they are in PATH too.
#
#   docs/benchmarks/mapping.sh [SECONDS]
set -euo pipefail
seconds=${1:-10}
work=$(mktemp -d)
trap 'jobs -p | xargs -r kill 2>/dev/null || true; rm -rf "$work"' EXIT
port=21900
url=tcp://127.0.0.1:$port
mkdir "$work/p" "$work/empty"

run() { # NAME PLUGINS [RATE]: postbus with these plugins, and the load
	printf '\n## %s\n' "$1"
	postbus bench mapped --target "$url" --duration "${seconds}s" --idle 20s ${3:+--rate "$3"}
}

broker() { # PLUGINS
	postbus run --data-dir "$work/data$RANDOM" --plugins-dir "$1" --mqtt "$url" --http off --log-level error >"$work/bus.log" 2>&1 &
	bus=$!
	until postbus pub --url "$url" -t ready -m 1 >/dev/null 2>&1; do sleep 0.1; done
}
stop() { kill "$@" 2>/dev/null || true; wait "$@" 2>/dev/null || true; }

cat >"$work/p/map.yaml" <<'E'
source: {mqtt: {topics: ["bench/in/+"]}}
publish:
  - when: event.json.celsius >= 0
    topic: "bench/out/${event.topic[2]}"
    payload: {n: "${event.json.n}", t: "${event.json.t}", celsius: "${round(event.json.celsius, 1)}"}
E
broker "$work/p"
sleep 1
run "postbus: a plugin" "$work/p"
stop "$bus"

if command -v node-red >/dev/null; then
	broker "$work/empty"
	cat >"$work/flows.json" <<E
[{"id":"tab","type":"tab","label":"map"},
 {"id":"b","type":"mqtt-broker","broker":"127.0.0.1","port":"$port","clientid":"node-red","autoConnect":true,"protocolVersion":"4","keepalive":"60","cleansession":true},
 {"id":"in","type":"mqtt in","z":"tab","topic":"bench/in/+","qos":"1","datatype":"json","broker":"b","nl":false,"rap":true,"rh":0,"inputs":0,"x":100,"y":100,"wires":[["f"]]},
 {"id":"f","type":"function","z":"tab","name":"map","func":"const e = msg.payload; if (!(e.celsius >= 0)) return null; return {topic: 'bench/out/' + msg.topic.split('/')[2], payload: {n: e.n, t: e.t, celsius: Math.round(e.celsius * 10) / 10}};","outputs":1,"x":300,"y":100,"wires":[["out"]]},
 {"id":"out","type":"mqtt out","z":"tab","topic":"","qos":"1","retain":"false","broker":"b","x":500,"y":100,"wires":[]}]
E
	node-red --userDir "$work/nodered" --port 21880 "$work/flows.json" >"$work/nodered.log" 2>&1 &
	red=$!
	until grep -q 'Connected to broker' "$work/nodered.log"; do sleep 0.2; done
	sleep 1
	run "Node-RED, at most 30,000 a second" "$work/empty" 30000
	stop "$red" "$bus"
fi

if command -v telegraf >/dev/null; then
	broker "$work/empty"
	cat >"$work/telegraf.conf" <<E
[agent]
  interval = "1s"
  flush_interval = "100ms"
  metric_batch_size = 1000
  metric_buffer_limit = 1000000
  omit_hostname = true
[[inputs.mqtt_consumer]]
  servers = ["$url"]
  topics = ["bench/in/+"]
  qos = 1
  max_undelivered_messages = 1000
  data_format = "json"
  [[inputs.mqtt_consumer.topic_parsing]]
    topic = "bench/in/kitchen"
    tags = "_/_/room"
[[processors.starlark]]
  source = '''
def apply(m):
    if m.fields["celsius"] < 0:
        return None
    m.fields["celsius"] = int(m.fields["celsius"] * 10 + 0.5) / 10.0
    return m
'''
[[outputs.mqtt]]
  servers = ["$url"]
  topic = "bench/out/kitchen"  # its template cannot name a tag of what an input tracks
  qos = 1
  data_format = "json"
E
	telegraf --config "$work/telegraf.conf" --quiet >"$work/telegraf.log" 2>&1 &
	telegraf=$!
	sleep 5
	run "Telegraf, at most 30,000 a second" "$work/empty" 30000
	stop "$telegraf" "$bus"
fi
