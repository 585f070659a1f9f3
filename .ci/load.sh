# shellcheck shell=bash
# Sourced by .ci/run and .ci/long: the steps that both have, shorter in the one and longer in the other.

# shellcheck source=.ci/lib.sh
[ -n "${work:-}" ] || . "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# fuzz_all TIME runs every fuzz target for so long.
fuzz_all() {
	local found pkg name targets=0
	found=$(git grep -E '^func Fuzz' -- '*_test.go')
	found=$(sed -E 's#^(.*)/[^/]*_test\.go:func (Fuzz[A-Za-z0-9]+).*#\1 \2#' <<<"$found")
	while read -r pkg name; do
		printf '%s %s\n' "$pkg" "$name"
		targets=$((targets + 1))
		if go test "./$pkg" -run '^$' -fuzz "^$name\$" -fuzztime "$1" -fuzzminimizetime 2s >"$work/fuzz.log" 2>&1; then
			grep -q '^fuzz: elapsed' "$work/fuzz.log" || { echo "error: nothing was fuzzed" >&2 && return 1; }
		# The end of its time is no finding, though Go before 1.27 may say FAIL: golang/go#75804.
		elif ! grep -q '^    context deadline exceeded' "$work/fuzz.log" || grep -q 'Failing input' "$work/fuzz.log"; then
			tail -n 40 "$work/fuzz.log" >&2
			return 1
		fi
	done <<<"$found"
	echo "$targets targets, $1 each"
}

# takeovers_all PROGRAM URL ROUNDS COUNT takes sessions over under load, in every mode.
takeovers_all() {
	local load
	for load in "--mode takeover --qos 1 --sessions 4" "--mode takeover --qos 2 --sessions 4" \
		"--mode reconnect --qos 1 --sessions 4" "--mode reconnect --qos 2 --sessions 4" "--mode group"; do
		# shellcheck disable=SC2086 # a command line
		"$1" bench takeover --target "$2" --rounds "$3" --count "$4" --v5 $load
	done
}

# soak_all CRASHES TAKEOVERS STALL
soak_all() {
	local p=$work/postbus url=tcp://127.0.0.1:21883 pid other status=0
	local run="$p run --data-dir $work/soak --plugins-dir $work/plugins.d --mqtt $url --http off --log-level error"
	go build -trimpath -o "$p" ./cmd/postbus
	"$p" bench crash --target "$url" --rounds "$1" --rate 8000 --start "$run"
	rm -rf "$work/soak"
	# shellcheck disable=SC2086 # a command line
	$run >"$work/run.log" 2>&1 &
	pid=$!
	poll "$p" pub --url "$url" -q 1 -t ready -m yes
	"$p" bench idle --target "$url" --connections 1000 --pid "$pid"
	"$p" bench offline --target "$url" --count 1000000 --pid "$pid"
	"$p" bench slow --target "$url" --before 3s --stall "$3"
	takeovers_all "$p" "$url" "$2" 10000
	printf 'listener 21884 127.0.0.1\nallow_anonymous true\n' >"$work/mosquitto.conf"
	mosquitto -c "$work/mosquitto.conf" >"$work/mosquitto.log" 2>&1 &
	other=$!
	poll mosquitto_pub -p 21884 -t ready -m yes
	# Speed is shown, not judged: these machines are shared. What Mosquitto loses is its affair, though it gives the
	# bench exit status 1; what postbus loses at QoS 1 is not.
	"$p" bench compare --repeat 1 --json --target "postbus=$url" --target mosquitto=tcp://127.0.0.1:21884 >"$work/compare.json" || status=$?
	node .ci/compare.js "$work/compare.json" "$status"
	kill "$other" "$pid"
	wait "$other"
	wait "$pid"
}

# fleet_all KILLS kills buses and hub of a fleet under load, and prints what was acknowledged, lost and repeated.
fleet_all() {
	gotest -count=1 -timeout 1h -run '^TestFleetIsKilled$' ./cmd/postbus -fleet.kills="$1"
	cat "$work/gotest.log"
}
