# shellcheck shell=bash
# Sourced by the scripts of this folder: where they work, and commands whose failure can't be overlooked.
#
# No failure may be hidden. Bash ignores `set -e` inside everything that is part of a condition (`f || …`, `if f`, `! f`),
# also in subshells and in background jobs. So no function with more than one command stands in one, and no command
# stands where bash drops its result: `local x=$(…)`, "$(…)" as an argument, <(…), `|| true`. .ci/selftest holds the
# scripts to that: it makes each of their commands fail in turn.
set -euo pipefail
shopt -s inherit_errexit
cd "$(dirname "${BASH_SOURCE[0]}")/.."
GOMODCACHE=$(go env GOMODCACHE)
GOCACHE=$(go env GOCACHE)
export GOMODCACHE GOCACHE CGO_ENABLED=0 GOFLAGS="${GOFLAGS:-} -buildvcs=false"
work=$(mktemp -d)

# end stops what still runs in the background, with its children, and removes the work folder.
end() {
	local pid
	for pid in $(jobs -p); do end_tree "$pid"; done
	rm -rf "$work"
}
end_tree() {
	local child
	for child in $(pgrep -P "$1"); do end_tree "$child"; done
	kill "$1" 2>/dev/null || :
}
trap end EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# poll COMMAND… runs one program until it succeeds, for a minute at most.
poll() {
	local i
	for ((i = 0; i < ${POLL_TRIES:-300}; i++)); do
		if command "$@" >"$work/poll.log" 2>&1; then return 0; fi
		sleep 0.2
	done
	printf 'error: waited in vain for: %s\n' "$*" >&2
	cat "$work/poll.log" >&2
	return 1
}

# shows REGEXP COMMAND… runs one program until it succeeds and its output matches.
shows() {
	local i regexp=$1
	shift
	for ((i = 0; i < ${POLL_TRIES:-300}; i++)); do
		if command "$@" >"$work/poll.log" 2>&1 && grep -Eq -- "$regexp" "$work/poll.log"; then return 0; fi
		sleep 0.2
	done
	printf 'error: waited in vain for "%s" from: %s\n' "$regexp" "$*" >&2
	cat "$work/poll.log" >&2
	return 1
}

# quiet COMMAND… runs one program and prints its output only if it fails.
quiet() {
	local log
	log=$(mktemp "$work/quiet.XXXXXX")
	if command "$@" >"$log" 2>&1; then
		rm "$log"
		return 0
	fi
	cat "$log" >&2
	printf 'error: failed: %s\n' "$*" >&2
	return 1
}

# install [--no-install-recommends] PACKAGE… installs the Debian packages that are missing.
install() {
	local options=() p have missing=()
	[ "$1" != --no-install-recommends ] || { options=("$1") && shift; }
	# shellcheck disable=SC2016 # dpkg-query's own variables
	have=$(dpkg-query -W -f '${Package} ${db:Status-Status}\n')
	for p in "$@"; do
		[[ $'\n'$have$'\n' == *$'\n'"$p installed"$'\n'* ]] || missing+=("$p")
	done
	[ ${#missing[@]} -gt 0 ] || return 0
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive quiet apt-get install -y -qq "${options[@]}" "${missing[@]}"
}

# gotest ARGUMENT… is go test with a verdict: it fails when a test failed, when one was skipped, and when none ran. What
# must be left out is named with -skip, so that whoever reads the step sees it.
gotest() {
	local log=$work/gotest.log counts passed skipped
	if ! go test -v "$@" >"$log" 2>&1; then
		# What each failed test wrote, though they ran beside one another; races and panics; the end, for a build that failed.
		awk '/^=== (RUN|CONT|NAME) /{test = $3; next} /^=== PAUSE /{next}
			/--- FAIL: /{failed[$3]; text[$3] = text[$3] $0 "\n"; next}
			/^(FAIL|panic: )|DATA RACE/{for (i = NR; i < NR + 40; i++) show[i]}
			{line[NR] = $0; text[test] = text[test] $0 "\n"}
			END {for (t in failed) printf "%s", substr(text[t], length(text[t]) > 6000 ? length(text[t]) - 6000 : 1)
				for (i = 1; i <= NR; i++) if (i in line && (i in show || i > NR - 15)) print line[i]}' "$log" >&2
		return 1
	fi
	awk '/^ok/' "$log"
	counts=$(awk '/--- PASS: /{p++} /--- SKIP: /{s++} END {print p + 0, s + 0}' "$log")
	read -r passed skipped <<<"$counts"
	if [ "$skipped" -ne 0 ]; then
		awk '/--- SKIP: /{print last; print} {last = $0}' "$log" >&2
		echo "error: $skipped skipped tests, which count as failures here" >&2
		return 1
	fi
	if [ "$passed" -eq 0 ]; then
		echo "error: no test ran: go test $*" >&2
		return 1
	fi
	echo "$passed passed"
	echo "$passed" >"$work/gotest.passed"
}

# npmtest ARGUMENT… is npm run with the same verdict, for node:test and vitest.
npmtest() {
	local log=$work/npmtest.log counts passed skipped
	if ! npm run --silent "$@" >"$log" 2>&1; then
		cat "$log" >&2
		return 1
	fi
	# node:test says "# pass 12" or "ℹ pass 12", vitest "Tests  12 passed | 1 skipped (13)".
	counts=$(sed 's/\x1b\[[0-9;]*m//g' "$log" | awk '
		/^(#|ℹ) pass [0-9]/ {p += $3}
		/^(#|ℹ) (skipped|todo|cancelled) [0-9]/ {s += $3}
		/^ *(Tests|Test Files) / {for (i = 2; i <= NF; i++) {if ($i ~ /^passed/ && $1 == "Tests") p += $(i-1); if ($i ~ /^(skipped|todo)/) s += $(i-1)}}
		END {print p + 0, s + 0}')
	read -r passed skipped <<<"$counts"
	if [ "$skipped" -ne 0 ] || [ "$passed" -eq 0 ]; then
		cat "$log" >&2
		echo "error: $passed tests passed, $skipped were skipped: npm run $*" >&2
		return 1
	fi
	echo "$passed passed"
}
