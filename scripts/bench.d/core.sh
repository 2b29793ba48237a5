#!/bin/sh
# The pause of a live process that is captured. A section of scripts/bench, which sources it.
# shellcheck disable=SC2154 # what bench sets

# gap PID: the longest stop that the ticker saw since it was asked last.
gap() {
	lines=$(wc -l <"$dir/ticker")
	kill -USR1 "$1"
	await more_lines "$lines"
	tail -n 1 "$dir/ticker"
}

more_lines() { [ "$(wc -l <"$dir/ticker")" -gt "$1" ]; }

now_ms() { date +%s%3N; }

# stolen: for how long, in hundredths of a second, the host of this machine gave its
# processors to others. A run in which that happens tells of the host.
stolen() { awk '/^cpu / { print $9 + 0 }' /proc/stat; }

# capture NAME COMMAND...: one run; its gap, wall time and own account go to files,
# and the gap into another one if the host left us the processors.
capture() {
	name=$1
	shift
	gap "$target" >/dev/null
	steal=$(stolen) t0=$(now_ms)
	"$@" >"$dir/out" 2>&1 || {
		cat "$dir/out" >&2
		die 111 "$1: failed"
	}
	echo $(($(now_ms) - t0)) >>"$dir/$name.wall"
	gap "$target" >"$dir/last"
	cat "$dir/last" >>"$dir/$name.gap"
	[ "$steal" != "$(stolen)" ] || cat "$dir/last" >>"$dir/$name.calm"
	sed -n 's/.* mode=\([a-z]*\) pause_us=\([0-9]*\).*/\2 \1/p' "$dir/out" >>"$dir/$name.own"
	rm -f "$dir/core" "$dir/core.json" "$dir/core".*
}

# ms FILE: the median of microseconds.
ms() { median <"$1" | awk '{printf "%.1f", $1 / 1000}'; }

# core_case MIB THREADS WRITES [thp]: each tool in turn, so that all of them see
# the same machine.
core_case() {
	case=$(echo "$*" | tr ' ' :)
	: >"$dir/ticker"
	start "$dir/tick" "$@" >"$dir/ticker"
	target=$started
	await test -s "$dir/ticker"
	rm -f "$dir"/*.wall "$dir"/*.gap "$dir"/*.calm "$dir"/*.own
	i=0
	while [ "$i" -lt "$runs" ]; do
		i=$((i + 1))
		for mode in auto fork stop; do
			capture $mode "$bin/corecap" -mode $mode -o "$dir/core" "$target"
		done
		capture gcore gcore -o "$dir/core" "$target"
	done
	stop "$target"
	for t in auto fork stop gcore; do
		own=- modes='' calm=- calms=-
		if [ -s "$dir/$t.own" ]; then
			own=$(ms "$dir/$t.own")
			modes=$(cut -d ' ' -f 2 "$dir/$t.own" | sort | uniq -c | sort -rn | awk '{printf " %s", $2}')
		fi
		if [ -s "$dir/$t.calm" ] && [ -s "$dir/gcore.calm" ]; then
			calm=$(ms "$dir/$t.calm")
			calms=$(ratio "$(median <"$dir/gcore.calm")" "$(median <"$dir/$t.calm")")
		fi
		printf '%-22s %-6s %8s %8s %9s %9s %9s %9s %s\n' "$case" $t "$(ms "$dir/$t.gap")" "$calm" "$own" "$(median <"$dir/$t.wall")" \
			"$(ratio "$(median <"$dir/gcore.gap")" "$(median <"$dir/$t.gap")")" "$calms" "$modes"
	done
}

core() {
	command -v gcore >/dev/null || die 111 'gcore: not found: install gdb'
	title "core: longest stop seen inside the target (calm: in the runs in which the host stole no processor), stop that corecap tells of, wall time; medians of $runs"
	go build -o "$dir/tick" "$root/scripts/testdata/ticker.go"
	printf '%-22s %-6s %8s %8s %9s %9s %9s %9s %s\n' MIB:THREADS:WRITES tool 'gap ms' 'calm ms' 'pause ms' 'wall ms' 'gcore is' 'calm' ' mode'
	for c in $cases; do
		# shellcheck disable=SC2046 # its words are the arguments
		core_case $(echo "$c" | tr : ' ')
	done
}
