#!/bin/sh
# What the scripts vigil-* have in common; each reads this file first. Before it
# calls anything of it, a script sets $name and $synopsis.
#
# Sums are of seconds and of mebibytes, never of milliseconds or bytes: mksh
# counts in 32 bits.

# The scripts use what is set here, and the other way round.
# shellcheck disable=SC2034,SC2154

say() {
	text=$*
	case $text in
	*[!\ -~]*) text=$(printf %s "$text" | LC_ALL=C tr -c '\040-\176' '?') ;;
	esac
	printf '%s: %s\n' "$name" "$text" >&2
}

die() {
	code=$1
	shift
	say "error: $*"
	exit "$code"
}

misuse() {
	say "error: $*"
	printf 'usage: %s\n' "$synopsis" >&2
	exit 100
}

has() { command -v "$1" >/dev/null 2>&1; }

# is_id TEXT: may it be the id of a service, and part of the name of a file?
is_id() {
	case $1 in
	'' | [.-]* | *[!A-Za-z0-9._-]*) return 1 ;;
	esac
	[ ${#1} -le 64 ]
}

# is_number TEXT: digits that 32 bits hold?
is_number() {
	case $1 in
	'' | *[!0-9]* | 0?* | ??????????*) return 1 ;;
	esac
}

# in_seconds WHAT TEXT: a length of time such as 90s, 10m or 1h into $seconds.
in_seconds() {
	seconds=${2%[smh]}
	is_number "$seconds" || misuse "$1 $2: want a time such as 90s, 10m, 1h"
	[ ${#seconds} -le 5 ] || misuse "$1 $2: too long"
	case $2 in
	*s) ;;
	*m) seconds=$((seconds * 60)) ;;
	*h) seconds=$((seconds * 3600)) ;;
	*) misuse "$1 $2: want a time such as 90s, 10m, 1h" ;;
	esac
	[ "$seconds" -gt 0 ] || misuse "$1 $2: want more than nothing"
}

# locate: the run directory into $run, that for what has to last into $spool. A
# hook has no HOME; hence the look at the heartbeat it is about, and into the
# list of users.
locate() {
	uid=$(id -u)
	if [ "$uid" -ne 0 ] && [ -z "${HOME:-}" ]; then
		HOME=$(awk -F: -v uid="$uid" '$3 == uid { print $6; exit }' /etc/passwd 2>/dev/null) || HOME=''
		case ${HB_FILE:-} in
		/*/.vigil/run/hb/*) HOME=${HB_FILE%/.vigil/run/hb/*} ;;
		esac
	fi
	if [ -n "${VIGIL_DIR:-}" ]; then
		run=$VIGIL_DIR
	elif [ "$uid" -eq 0 ]; then
		run=/run/vigil
	elif [ -d "${XDG_RUNTIME_DIR:-/nonexistent}/vigil" ]; then
		run=$XDG_RUNTIME_DIR/vigil
	else
		run=$HOME/.vigil/run
	fi
	if [ -n "${VIGIL_SPOOL:-}" ]; then
		spool=$VIGIL_SPOOL
	elif [ "$uid" -eq 0 ]; then
		spool=/var/lib/vigil
	else
		spool=$HOME/.vigil
	fi
	case $run:$spool in
	/*:/*) ;;
	*) misuse "VIGIL_DIR, VIGIL_SPOOL: want absolute paths" ;;
	esac
}

# trust DIR: nobody else can put something in the way there. It is made if need
# be; others may look into it, for what belongs to a service is its user's, but
# not into the files.
trust() {
	[ -d "$1" ] || (umask 022 && mkdir -p -- "$1") 2>/dev/null || die 111 "$1: make directory: refused"
	# shellcheck disable=SC2046 # fields
	set -- "$1" $(ls -ldn -- "$1/." 2>/dev/null)
	[ $# -ge 10 ] || die 111 "$1: stat: ls tells nothing"
	[ "$4" = 0 ] || [ "$4" = "$(id -u)" ] || die 111 "$1: directory belongs to uid $4: not trusted"
	case $2 in
	d????-??-*) ;;
	*) die 111 "$1: directory has mode $2, want no write right for group and others: not trusted" ;;
	esac
}

# now: CLOCK_BOOTTIME in whole seconds into $up and as twelve digits of
# milliseconds, which sort, into $bt; the boot into $boot, its start into $boot8.
now() {
	read -r boot </proc/sys/kernel/random/boot_id
	boot=$(printf %s "$boot" | tr -d -)
	boot8=${boot%"${boot#????????}"}
	read -r up _ </proc/uptime
	bt=000000000000${up%.*}${up#*.}0
	up=${up%.*}
	while [ ${#bt} -gt 12 ]; do
		bt=${bt#0}
	done
}

# nap is a fifth of a second, or a second where sleep knows no fractions.
nap() { sleep 0.2 2>/dev/null || sleep 1; }

# bounded SECONDS COMMAND...: in the background, so that a signal is heard at
# once; whoever traps one calls end_child.
bounded() {
	bound=$1
	shift
	child=started
	timeout -k 1 "$bound" "$@" </dev/null &
	child=$!
	code=0
	wait "$child" || code=$?
	child=''
	return "$code"
}

# end_child ends what bounded runs. The signal may have come before its number
# was noted. A timeout(1) that is told to end before it has noted what it has just
# started leaves that behind, in a group of its own.
end_child() {
	[ "$child" != started ] || child=${!:-}
	[ -n "$child" ] || return 0
	kill "$child" 2>/dev/null || :
	kill -TERM -"$child" 2>/dev/null || :
}

# reap PID...: has children of ours end, and waits for them. A signal that a shell
# takes before it has become its program is lost there; so it is sent again. (bash
# is told of the end of one child while it waits for another, and says so.)
reap() {
	[ $# -eq 0 ] || kill "$@" || :
	for one; do
		while process "$one"; do
			sleep 0.05 || sleep 1
			kill "$one" || :
		done
		wait "$one" || :
	done
} 2>/dev/null

# process PID: its state into $state and the time of its start, which tells it
# from another one of that number, into $started; fails if there is none, or
# only what its parent has not yet taken note of.
process() {
	{ read -r stat <"/proc/$1/stat"; } 2>/dev/null || return 1
	# shellcheck disable=SC2086 # fields
	set -- ${stat##*) }
	state=$1 started=${20}
	case $state in
	[ZXx]) return 1 ;;
	esac
}

# tool_of PID: its name into $comm; that of the tool if it was started as vigil TOOL.
tool_of() {
	{ read -r comm <"/proc/$1/comm"; } 2>/dev/null || return 1
	[ "$comm" != vigil ] || comm=$(tr '\000' '\n' 2>/dev/null <"/proc/$1/cmdline" | sed -n 2p)
}

# runs FILE: does a process live that FILE names, in a line "PID STARTED BOOT8"? It
# goes into $runs.
runs() {
	[ -f "$1" ] && [ ! -h "$1" ] || return 1
	while read -r runs since where; do
		[ "$where" = "$boot8" ] || continue
		is_number "$runs" || continue
		! process "$runs" || [ "$started" != "$since" ] || return 0
	done <"$1" 2>/dev/null
	return 1
}

# claim FILE: writes this process into it, as runs reads it. 1 if one lives that is
# named there, 2 if it cannot be written. Wants now.
claim() {
	tries=30
	until mkdir -- "$1.busy" 2>/dev/null; do
		# Whoever made it takes it away in a moment, unless killed.
		[ "$tries" -gt 0 ] || return 2
		tries=$((tries - 1))
		if [ -d "$1.busy" ]; then
			find "$1.busy" -prune -mmin +0 -exec rmdir {} + 2>/dev/null || :
			sleep 0.1 2>/dev/null || sleep 1
		elif [ "$tries" -lt 28 ]; then
			return 2
		fi
	done
	code=0
	if runs "$1"; then
		code=1
	elif ! process $$ ||
		! { printf '%s %s %s\n' $$ "$started" "$boot8" >"$1.new" && mv -f -- "$1.new" "$1"; } 2>/dev/null; then
		code=2
	fi
	rmdir -- "$1.busy" 2>/dev/null || :
	return "$code"
}

# owner FILE: its uid into $owner.
owner() {
	# shellcheck disable=SC2046 # fields
	set -- $(ls -ldn -- "$1" 2>/dev/null) ''
	owner=${3-}
	[ -n "$owner" ]
}

# member KEY FILE: the value of a member of a one-line record into $value.
member() {
	value=''
	if [ ! -f "$2" ] || [ -h "$2" ]; then
		return 1
	fi
	line=$(head -c 4096 -- "$2" 2>/dev/null | tr -d '\000')
	# Quotes inside a string are escaped: none can look like a member.
	case $line in
	*"\"$1\":"*) value=${line#*"\"$1\":"} ;;
	*) return 1 ;;
	esac
	case $value in
	\"*) value=${value#?} value=${value%%\"*} ;;
	*) value=${value%%[!0-9]*} ;;
	esac
	[ -n "$value" ]
}

# beat_pid FILE: the process a heartbeat speaks of into $pid. A sender speaks
# for processes of its own user only; root for all.
beat_pid() {
	pid=''
	member pid "$1" && is_number "$value" || return 1
	owner "$1" && beat_owner=$owner && owner "/proc/$value" || return 1
	[ "$beat_owner" = 0 ] || [ "$beat_owner" = "$owner" ] || return 1
	pid=$value
}

# held ID: is there a hold that excuses it? Whose it is, into $holder. What a
# hold grants beyond an hour, no reader believes by default.
held() {
	now
	for lease in "$run/hold/$1.hold" "$run/hold/_host.hold"; do
		granted "$lease" || continue
		member by "$lease" || value=somebody
		holder=$value
		return
	done
	return 1
}

granted() {
	owner "$1" || return 1
	case $owner in
	0 | "$(id -u)") ;;
	*) return 1 ;;
	esac
	member boot "$1" && [ "$value" = "$boot" ] || return 1
	member since_bt_ms "$1" || return 1
	since=${value%???}
	member until_bt_ms "$1" || return 1
	until=${value%???}
	is_number "${since:=0}" && is_number "${until:=0}" || return 1
	[ "$up" -lt "$until" ] && [ "$up" -lt $((since + 3600)) ]
}

# same PATH AS PID: is PATH, as the process PID sees it, the file AS? (-ef is
# in POSIX since 2024, and in all shells since long before.)
# shellcheck disable=SC3013
same() {
	case $1 in
	/*) [ "$1" -ef "$2" ] || [ "/proc/$3/root$1" -ef "$2" ] ;;
	*) [ "/proc/$3/cwd/$1" -ef "$2" ] ;;
	esac
}

# free_mb DIR: what is left for us on its file system, in MiB. awk counts in
# floating point.
free_mb() { df -Pk -- "$1" | awk 'NR == 2 { printf "%d\n", $4 / 1024 }'; }

# entries DIR PREFIX SUFFIX: the names PREFIX-BOOT-BT SUFFIX in it, those of
# this boot last, each boot's in the order of time. Nothing else may ever be removed.
entries() {
	eight='[0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f]'
	twelve='[0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9]'
	# shellcheck disable=SC2254 # they are patterns
	(cd -- "$1" && LC_ALL=C ls -tr) | while IFS= read -r entry; do
		case $entry in
		"$2"-$eight-$twelve"$3") [ -h "$1/$entry" ] || printf '%s\n' "$entry" ;;
		esac
	done
}

# prune DIR PREFIX SUFFIX KEEP: removes the oldest until KEEP are left.
prune() {
	surplus=$(($(entries "$1" "$2" "$3" | wc -l) - $4))
	[ "$surplus" -gt 0 ] || return 0
	entries "$1" "$2" "$3" | head -n "$surplus" | while IFS= read -r entry; do
		rm -rf -- "${1:?}/${entry:?}" || say "warning: $1/$entry: cannot be removed"
	done
}
