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

# capture NAME COMMAND...: one run; its gap and wall time go to files.
capture() {
	name=$1
	shift
	gap "$target" >/dev/null
	t0=$(now_ms)
	"$@" >"$dir/out" 2>&1 || {
		cat "$dir/out" >&2
		die 111 "$1: failed"
	}
	echo $(($(now_ms) - t0)) >>"$dir/$name.wall"
	gap "$target" >>"$dir/$name.gap"
	rm -f "$dir/core" "$dir/core".*
}

core() {
	command -v gcore >/dev/null || die 111 'gcore: not found: install gdb'
	title "core: longest stop seen inside the target, 50 threads, medians of $runs"
	go build -o "$dir/tick" "$root/scripts/testdata/ticker.go"
	printf '%8s  %-8s %10s %10s\n' MiB tool 'pause ms' 'wall ms'
	for mib in 64 1024; do
		: >"$dir/ticker"
		start "$dir/tick" "$mib" 50 >"$dir/ticker"
		target=$started
		await test -s "$dir/ticker"
		i=0
		while [ "$i" -lt "$runs" ]; do
			i=$((i + 1))
			capture "corecap.$mib" "$bin/corecap" -q -o "$dir/core" "$target"
			capture "gcore.$mib" gcore -o "$dir/core" "$target"
		done
		stop "$target"
		for t in corecap gcore; do
			printf '%8d  %-8s %10s %10s\n' "$mib" "$t" "$(median <"$dir/$t.$mib.gap" | awk '{printf "%.1f", $1 / 1000}')" "$(median <"$dir/$t.$mib.wall")"
		done
		printf '%8s  ratio    %10s %10s\n' '' "$(ratio "$(median <"$dir/gcore.$mib.gap")" "$(median <"$dir/corecap.$mib.gap")")" \
			"$(ratio "$(median <"$dir/gcore.$mib.wall")" "$(median <"$dir/corecap.$mib.wall")")"
	done
}
