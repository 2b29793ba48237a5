#!/bin/sh
# The stacks of a live process. A section of scripts/bench, which sources it.
# shellcheck disable=SC2154 # what bench sets

# stacks_gap: the longest stop that the ticker saw since it was asked last.
stacks_gap() {
	lines=$(wc -l <"$dir/ticker")
	kill -USR1 "$target"
	await stacks_answer "$lines"
	tail -n 1 "$dir/ticker"
}

stacks_answer() { [ "$(wc -l <"$dir/ticker")" -gt "$1" ]; }

# stacks_of NAME COMMAND...: one run; its pause and wall time, in microseconds,
# go to files. What it prints has to name each thread.
stacks_of() {
	name=$1
	shift
	stacks_gap >/dev/null
	t0=$(date +%s%6N)
	"$@" >"$dir/out" 2>"$dir/err" || [ "$name" = eu-stack ] || { # which never finds the end of a stack of Go
		cat "$dir/err" >&2
		die 111 "$1: failed"
	}
	echo $(($(date +%s%6N) - t0)) >>"$dir/$name.$threads.wall"
	stacks_gap >>"$dir/$name.$threads.gap"
	[ "$(grep -c '^TID \|^Thread ' "$dir/out")" -ge "$threads" ] || die 111 "$name: threads are missing"
}

stacks_ms() { median <"$1" | awk '{printf "%.1f", $1 / 1000}'; }

stacks() {
	for tool in gdb eu-stack; do
		command -v $tool >/dev/null || die 111 "$tool: not found: install gdb and elfutils"
	done
	title "stacks: longest stop seen inside the target and wall time, medians of $runs"
	go build -o "$dir/tick" "$root/scripts/testdata/ticker.go"
	printf '%8s  %-8s %10s %10s\n' threads tool 'pause ms' 'wall ms'
	for threads in 50 1000; do
		: >"$dir/ticker"
		start "$dir/tick" 64 "$threads" >"$dir/ticker"
		target=$started
		await test -s "$dir/ticker"
		i=0
		while [ "$i" -lt "$runs" ]; do
			i=$((i + 1))
			stacks_of corecap "$bin/corecap" stacks "$target"
			stacks_of eu-stack eu-stack -p "$target"
			stacks_of gdb gdb -nx -batch -p "$target" -ex 'thread apply all bt'
		done
		stop "$target"
		for tool in corecap eu-stack gdb; do
			printf '%8d  %-8s %10s %10s\n' "$threads" "$tool" "$(stacks_ms "$dir/$tool.$threads.gap")" "$(stacks_ms "$dir/$tool.$threads.wall")"
		done
		for tool in eu-stack gdb; do
			printf '%8s  %-8s %10s %10s\n' "$tool" ratio "$(ratio "$(median <"$dir/$tool.$threads.gap")" "$(median <"$dir/corecap.$threads.gap")")" \
				"$(ratio "$(median <"$dir/$tool.$threads.wall")" "$(median <"$dir/corecap.$threads.wall")")"
		done
	done
}
