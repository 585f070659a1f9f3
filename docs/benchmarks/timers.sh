#!/usr/bin/env bash
# Ten thousand keys, each with a timer and a window, done by a plugin of postbus and by Node-RED, one after the other,
# beside the same broker: an event on timers/in/KEY must come back on timers/late/KEY when there was no other of the key for
# a second, and timers/window/KEY counts the events of ten seconds. Then the same with a kill -9 in the middle.
# Needs postbus in PATH, and Go; node-red (npm) is measured when it is in PATH too.
#
#   docs/benchmarks/timers.sh [RATE] [SECONDS]
set -euo pipefail
cd "$(dirname "$0")/../.."
rate=${1:-5000} seconds=${2:-30}
work=$(mktemp -d)
trap 'jobs -p | xargs -r kill 2>/dev/null || true; rm -rf "$work"' EXIT
port=21900
url=tcp://127.0.0.1:$port
mkdir "$work/p" "$work/empty"
go build -o "$work/load" docs/benchmarks/timers.go

broker() { # PLUGINS DATA
	postbus run --data-dir "$work/$2" --plugins-dir "$1" --mqtt "$url" --http off --log-level error >"$work/bus.log" 2>&1 &
	bus=$!
	until postbus pub --url "$url" -t ready -m 1 >/dev/null 2>&1; do sleep 0.1; done
}
stop() { kill "$@" 2>/dev/null || true; wait "$@" 2>/dev/null || true; }
report() { # NAME PID
	awk -v n="$1" '/VmHWM/ {printf "%s: at most %d MiB", n, $2 / 1024}' "/proc/$2/status"
	awk '{printf ", %.1f s of processor time\n", ($14 + $15) / 100}' "/proc/$2/stat"
}
red() { # starts Node-RED with the flows
	node-red --userDir "$work/nodered" --port 21880 "$work/flows.json" >"$work/nodered.log" 2>&1 &
	red=$!
	until grep -q 'Connected to broker' "$work/nodered.log"; do sleep 0.2; done
	sleep 1
}

cat >"$work/p/timers.yaml" <<'E2'
source: {mqtt: {topics: ["timers/in/+"]}}
per_limit: 20000
publish:
  - {settle: 1s, topic: "timers/late/${event.topic[2]}", payload: {n: "${event.json.n}"}}
  - {window: {of: event.json.v, every: 10s}, topic: "timers/window/${event.topic[2]}", payload: {count: "${window.count}", mean: "${window.mean}"}}
E2
cat >"$work/flows.json" <<E2
[{"id":"tab","type":"tab","label":"timers"},
 {"id":"b","type":"mqtt-broker","broker":"127.0.0.1","port":"$port","clientid":"node-red","autoConnect":true,"protocolVersion":"4","keepalive":"60","cleansession":false},
 {"id":"in","type":"mqtt in","z":"tab","topic":"timers/in/+","qos":"1","datatype":"json","broker":"b","nl":false,"rap":true,"rh":0,"inputs":0,"x":100,"y":100,"wires":[["t","w"]]},
 {"id":"t","type":"trigger","z":"tab","op1":"","op2":"","op1type":"nul","op2type":"payl","duration":"1","extend":true,"overrideDelay":false,"units":"s","reset":"","bytopic":"topic","topic":"topic","outputs":1,"x":300,"y":100,"wires":[["l"]]},
 {"id":"l","type":"function","z":"tab","name":"late","func":"return {topic: 'timers/late/' + msg.topic.split('/')[2], payload: {n: msg.payload.n}};","outputs":1,"x":450,"y":100,"wires":[["out"]]},
 {"id":"tick","type":"inject","z":"tab","props":[{"p":"topic","vt":"str"}],"repeat":"10","once":false,"topic":"tick","x":100,"y":200,"wires":[["w"]]},
 {"id":"w","type":"function","z":"tab","name":"window","func":"const all = context.get('all') || {}; if (msg.topic === 'tick') { context.set('all', {}); for (const k in all) node.send({topic: 'timers/window/' + k, payload: {count: all[k].n, mean: all[k].sum / all[k].n}}); return; } const k = msg.topic.split('/')[2]; const w = all[k] || (all[k] = {n: 0, sum: 0}); w.n++; w.sum += msg.payload.v; context.set('all', all);","outputs":1,"x":300,"y":200,"wires":[["out"]]},
 {"id":"out","type":"mqtt out","z":"tab","topic":"","qos":"1","retain":"false","broker":"b","x":600,"y":100,"wires":[]}]
E2

printf '## postbus: a plugin\n'
broker "$work/p" d1
sleep 1
"$work/load" -url "$url" -rate "$rate" -seconds "$seconds"
report postbus "$bus"
stop "$bus"

printf '## postbus, killed in the middle\n'
broker "$work/p" d2
sleep 1
"$work/load" -url "$url" -rate $((rate / 2)) -seconds "$seconds" &
load=$!
sleep $((seconds / 2))
kill -9 "$bus"
wait "$bus" 2>/dev/null || true
broker "$work/p" d2
wait "$load"
stop "$bus"

if command -v node-red >/dev/null; then
	printf '## Node-RED: a trigger node and a function node\n'
	broker "$work/empty" d3
	red
	"$work/load" -url "$url" -rate "$rate" -seconds "$seconds"
	report Node-RED "$red"
	stop "$red"
	printf '## Node-RED, killed in the middle\n'
	red
	"$work/load" -url "$url" -rate $((rate / 2)) -seconds "$seconds" &
	load=$!
	sleep $((seconds / 2))
	kill -9 "$red"
	wait "$red" 2>/dev/null || true
	red
	wait "$load"
	stop "$red" "$bus"
fi
