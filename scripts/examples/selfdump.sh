#!/bin/sh
# A shell script that writes down how it is when it gets SIGUSR1.
#
#	selfdump.sh state.txt & sleep 1; kill -USR1 $!; sleep 1; cat state.txt
#
# A shell runs a trap between two commands: never while it waits for one in the
# foreground. So whatever takes long runs in the background, and is waited for.
set -eu

usage() {
	cat <<'END'
usage: selfdump.sh [-h] FILE

Counts, and writes its state into FILE when it gets SIGUSR1.

exit status: 0 told to end; 100 wrong usage
END
}

misuse() {
	printf 'selfdump.sh: error: %s\nusage: selfdump.sh [-h] FILE\n' "$*" >&2
	exit 100
}

# selfdump FILE: the state as a whole, and for the owner alone.
selfdump() (
	umask 077
	printf 'pid %s\ndone %s\ndoing %s\nend\n' "$$" "$done" "$doing" >"$1.tmp" && mv -f "$1.tmp" "$1"
)

# patiently COMMAND...: it runs in the background; a signal interrupts only the
# waiting, which then goes on.
patiently() {
	doing=$*
	"$@" &
	child=$!
	while :; do
		code=0
		wait "$child" || code=$?
		# Over 128 may be a signal to us as well as its end by one.
		kill -0 "$child" 2>/dev/null || break
	done
	child='' doing=nothing
	return "$code"
}

main() {
	while getopts :h flag; do
		case $flag in
		h) usage && exit 0 ;;
		*) misuse "unknown flag: -$OPTARG" ;;
		esac
	done
	shift $((OPTIND - 1))
	[ $# -eq 1 ] || misuse "want one FILE, have $#"
	file=$1 done=0 doing=nothing child=''
	trap 'selfdump "$file" || :' USR1
	trap '[ -z "$child" ] || kill "$child"; exit 0' TERM
	while :; do
		patiently sleep 1 || :
		done=$((done + 1))
	done
}

main "$@"
