# shellcheck shell=bash
# Sourced by .ci/run and .ci/long: runs their steps, and ends with what ran and how long it took.
# shellcheck source=.ci/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
ran=()
group=

# steps NAME…: the script's steps, in order. Each is a function of that name.
# Then run_steps "$@" runs those that the command line names, or all.
steps() { all=("$@"); }

run_steps() {
	local name began=$SECONDS
	[ $# -gt 0 ] || set -- "${all[@]}"
	for name in "$@"; do
		case " ${all[*]} " in
		*" $name "*) ;;
		*) printf 'error: there is no step "%s"\nhint: %s\n' "$name" "${all[*]}" >&2 && exit 2 ;;
		esac
	done
	for name in "$@"; do step "$name"; done
	printf '\nran in %d s:\n' $((SECONDS - began))
	printf '  %s\n' "${ran[@]}"
	[ ! -e "$work/notes" ] || cat "$work/notes"
	[ ! -e "$work/passed" ] || printf '%d passed, 0 failed\n' "$(<"$work/passed")"
}

# step NAME runs one step in a process group of its own, which ends with it: nothing that it started survives it.
step() {
	local name=$1 start=$SECONDS status
	printf '\n=== %s\n' "$name"
	set +e
	(set -e; false; true)
	status=$?
	[ $status -ne 0 ] || { echo "error: step $name is part of a condition, where bash ignores set -e" >&2 && exit 1; }
	set -m
	(
		set +m
		set -eE
		trap 'printf "%s:%d: exit status %d: %s\n" "${BASH_SOURCE[0]}" "$LINENO" $? "$BASH_COMMAND" >&2' ERR
		"$name"
	) </dev/null &
	group=$!
	set +m
	wait "$group"
	status=$?
	set -e
	end_group
	ran+=("$(printf '%-12s %5d s' "$name" $((SECONDS - start)))")
	if [ $status -ne 0 ]; then
		printf '\nerror: %s failed (exit status %d)\nafter:\n' "$name" $status >&2
		printf '  %s\n' "${ran[@]}" >&2
		exit 1
	fi
}

# end_group ends what the step left running: politely, and after three seconds for certain.
end_group() {
	local i
	[ -n "$group" ] || return 0
	for ((i = 0; i < 30; i++)); do
		kill -TERM -- "-$group" 2>/dev/null || break
		sleep 0.1
	done
	kill -KILL -- "-$group" 2>/dev/null || :
	group=
}

trap 'end_group; end' EXIT
