#!/bin/sh
# How late a feeder's pings come. The kernel says when softdog is pinged, which
# is the same measure for everybody.
# shellcheck disable=SC2154 # what lib.sh and vm_test.go set

mount -t tracefs trace /sys/kernel/tracing
trace=/sys/kernel/tracing
echo mono >$trace/trace_clock
echo 'p:ping softdog_ping' >$trace/kprobe_events
echo 1 >$trace/events/kprobes/ping/enable

# figure PID NAME: of /proc/PID/status or smaps_rollup, in kB.
figure() { awk -v name="$2:" '$1 == name {print $2}' "/proc/$1/status" "/proc/$1/smaps_rollup"; }

majors() { awk '{print $12}' "/proc/$1/stat"; }

# switches PID: how often its threads went to sleep. That they were pushed aside is
# the doing of others.
switches() { awk '/^voluntary_ctxt_switches/ {n += $2} END {print n}' /proc/"$1"/task/*/status; }

# under KIND NAME PID: a line of what the pings and the process were like for 20 s
# of stress, at an interval of one second. Everything is asked before the stress
# and after it: this shell may get no processor in between.
under() {
	kind=$1 name=$2 pid=$3
	case $kind in
	none) set -- sleep 20 ;;
	cpu) set -- hog cpu 20 20s ;;
	memory) set -- hog memory 130 20s ;;
	esac
	faults=$(majors "$pid")
	woken=$(switches "$pid")
	echo >$trace/trace
	"$@" || die "$*: ended with $?"
	# A first ping that is late has no other before it in the trace.
	awk -v kind="$kind" -v name="$name" -v faults="$(($(majors "$pid") - faults))" -v woken="$(($(switches "$pid") - woken))" \
		-v rss="$(figure "$pid" VmRSS)" -v pss="$(figure "$pid" Pss)" '
	/ ping: / {
		for (i = 1; i <= NF; i++) if ($i ~ /^[0-9]+\.[0-9]+:$/) now = $i + 0
		if (n++ && now - last - 1 > worst) worst = now - last - 1
		last = now
	}
	END { printf "LATE %s %s worst_ms=%.2f pings=%d faults=%d switches=%.1f rss_kb=%d pss_kb=%d\n",
		kind, name, worst * 1000, n, faults, n ? woken / n : 0, rss, pss }' $trace/trace >/run/late
	stamp </run/late
}

# within NAME LIMIT: the figure of the last stress is no more than that, and not nothing.
within() {
	awk -v name="$1" -v limit="$2" -F '[ =]' '
	{ for (i = 1; i < NF; i++) if ($i == name) { found = 1; if ($(i + 1) + 0 > limit) bad = 1 } }
	END { exit bad || !found }' /run/late || die "$1: want at most $2"
}

# What the pages of a program in the initial file system never do: leave memory.
for program in wdping hog; do
	cp "/bin/$program" /disk/
done
PATH=/disk:$PATH
await test -b /dev/pmem1
mkswap /dev/pmem1 >/dev/null
swapon /dev/pmem1
echo 0 >/proc/sys/kernel/sched_autogroup_enabled
