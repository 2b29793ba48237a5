#!/bin/sh
# Whom vigil-drill works on, what it sees of them, and how its faults are undone.
# It reads this file after vigil.sh.

# The script uses what is set here, and the other way round.
# shellcheck disable=SC2034,SC2154

# signal NAME PID STARTED: to that process, and to no other one of its number.
signal() { process "$2" && [ "$started" = "$3" ] && kill "-$1" "$2"; }

# service: the process of SVC into $pid, when it was started into $born.
service() {
	pid=''
	case $which in
	'') beat_pid "$beat" || return 1 ;;
	*[!0-9]*) { read -r pid <"$which"; } 2>/dev/null || return 1 ;;
	*) pid=$which ;;
	esac
	case $pid in
	0 | 1 | ????????*) return 1 ;;
	esac
	is_number "$pid" && process "$pid" || return 1
	born=$started
}

# sender: the hbsend that beats for SVC into $sender and $sender_since.
sender() {
	sender=''
	for dir in /proc/[0-9]*; do
		one=${dir#/proc/}
		if ! tool_of "$one" || [ "$comm" != hbsend ]; then
			continue
		fi
		names "$one" "$beat" >/dev/null || continue
		process "$one" || continue
		sender=$one sender_since=$started
		return
	done
	return 1
}

# names PID FILE...: is one of its arguments one of the files? What stands behind
# -events in them is printed.
names() {
	tr '\000' '\n' 2>/dev/null <"/proc/$1/cmdline" | {
		named=1 flag=''
		while IFS= read -r arg; do
			case $flag:$arg in
			-events:* | --events:*) printf '%s\n' "$arg" ;;
			*:-events=* | *:--events=*) printf '%s\n' "${arg#*=}" ;;
			esac
			flag=$arg
			! same "$arg" "$2" "$1" || named=0
			[ $# -lt 3 ] || ! same "$arg" "$3" "$1" || named=0
		done
		exit "$named"
	}
}

# watcher: the hbwatch that watches SVC into $watcher, its events into $events.
watcher() {
	watcher=''
	for dir in /proc/[0-9]*; do
		if ! tool_of "${dir#/proc/}" || [ "$comm" != hbwatch ]; then
			continue
		fi
		told=$(names "${dir#/proc/}" "$beat" "$run/hb") || continue
		watcher=${dir#/proc/}
		[ -z "$events" ] || return 0
		case $told in
		/*) events=$told ;;
		?*) events=$dir/cwd/$told ;;
		'') events=$dir/fd/1 ;;
		esac
		[ -f "$events" ] && events=$(readlink -f -- "$events") || events=''
		return 0
	done
}

# now_ds: CLOCK_BOOTTIME in tenths of a second into $ds.
now_ds() {
	read -r up _ </proc/uptime
	ds=${up#*.}
	ds=$((${up%.*} * 10 + ${ds%?}))
}

# mark: what is in the events from now on is new.
mark() {
	[ -z "$events" ] || offset=$(wc -c <"$events" | tr -d ' ')
	now_ds
	begun=$ds from=$ds story='' noticed='' last=''
}

# look: what has become of SVC since the last look; each new state goes into
# $story, with its time, the latest into $last; the time of the first alarm into
# $noticed.
look() {
	now_ds
	if [ -n "$events" ] && [ -z "$filled" ]; then
		size=$(wc -c <"$events" | tr -d ' ')
		[ "$size" -ge "$offset" ] || offset=0
		[ "$size" -gt "$offset" ] || return 0
		new=$(tail -c +$((offset + 1)) -- "$events" | head -c $((size - offset)) |
			grep -F "\"event\":\"transition\",\"id\":\"$id\"," | sed -n 's/.*"to":"\([a-z]*\)".*/\1/p')
		offset=$size
	else
		own_look
		new=$value
		if [ "$new" = "$last" ] || { [ -z "$last" ] && [ "$new" = alive ]; }; then
			return 0
		fi
	fi
	for last in $new; do
		add "$last"
		case $last in
		suspect | dead | failed) [ -n "$noticed" ] || noticed=$((ds - begun)) ;;
		esac
	done
}

# own_look: the state of SVC by a look of our own into $value. It needs no file:
# the disk may be full.
own_look() {
	value=$(timeout -k 1 10 hbwatch -q -once -json -hold "$run/hold" "$beat" 2>/dev/null | sed -n 's/.*"state":"\([a-z]*\)".*/\1/p')
	: "${value:=unknown}"
}

# add WHAT: into $story, with the seconds since the fault.
add() { story="$story${story:+, }$1 $(tenths $((ds - begun)))"; }

# tenths N: as seconds.
tenths() { printf '%s\n' "$(($1 / 10)).$(($1 % 10))"; }

# in_time: is there time left since $from?
in_time() {
	now_ds
	[ $((ds - from)) -lt $((patience * 10)) ]
}

# beaten: when the last beat was sent, whatever that means, into $value.
beaten() { member bt_ms "$beat" || value=''; }

# renewed: SVC is alive by a look of our own.
renewed() {
	own_look
	[ "$value" = alive ]
}

replaced() { service && [ "$pid:$born" != "$old" ]; }

# undo what the fault at hand did; twice is as good as once.
undo() {
	[ -z "$stopped" ] || signal CONT "$stopped" "$stopped_since" || :
	stopped=''
	# shellcheck disable=SC2086 # numbers
	reap $hogs
	hogs=''
	[ -z "$filled" ] || rm -f -- "$filled"
	filled=''
}

# guard undoes it when this process is no more: the one of this number that was
# started at $self.
guard() {
	{
		trap - EXIT
		trap '' HUP INT QUIT
		trap 'exit 0' TERM
		while process $$ && [ "$started" = "$self" ]; do
			nap
		done
		undo
	} </dev/null >/dev/null 2>&1 &
	guard=$!
}

unguard() {
	[ -n "$guard" ] || return 0
	reap "$guard"
	guard=''
}
