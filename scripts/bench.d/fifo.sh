#!/bin/sh
# Commands to diagfifo and its looks at a process, each with the target. A section of scripts/bench, which sources it.
# shellcheck disable=SC2154 # what bench sets

row() { printf '%-44s %12s %-4s  want %s\n' "$@"; }

await_ctl() { [ -p "$dir/svc/ctl.admin" ]; }

# trips MODE LIMIT NAME: the median of the medians of some thousand round trips.
trips() {
	i=0
	: >"$dir/p50"
	while [ "$i" -lt "$runs" ]; do
		i=$((i + 1))
		"$dir/fifoload" "$1" "$dir/svc" 5000 | awk '{print $1}' >>"$dir/p50" || die 111 'fifoload: see above'
	done
	row "$3, p50" "$(median <"$dir/p50")" us "$2"
}

# longest COMMAND...: the longest gap that the target saw while it ran, in us.
longest() {
	seen=$(wc -l <"$dir/ticker")
	kill -USR1 "$target"
	await more_ticks "$seen"
	"$@" >/dev/null
	seen=$(wc -l <"$dir/ticker")
	kill -USR1 "$target"
	await more_ticks "$seen"
	tail -n 1 "$dir/ticker"
}

more_ticks() { [ "$(wc -l <"$dir/ticker")" -gt "$1" ]; }

# everything asks for all that ctl has.
everything() {
	for verb in status threads fds maps limits 'sample hz=100 for=300ms' dump 'dump smaps=yes'; do
		# shellcheck disable=SC2086 # a verb and its keys
		"$bin/diagfifo" send "$dir/svc" $verb
	done
}

# pauses compares the target's own gaps with and without somebody who asks. On a
# busy machine there are gaps anyway: the smallest of several is what counts.
pauses() {
	i=0
	: >"$dir/alone"
	: >"$dir/asked"
	while [ "$i" -lt "$runs" ]; do
		i=$((i + 1))
		longest sleep 0.5 >>"$dir/alone"
		longest everything >>"$dir/asked"
	done
	row 'longest gap in the target, nobody asks' "$(sort -n "$dir/alone" | head -n 1)" us -
	row 'the same, ctl is asked for everything' "$(sort -n "$dir/asked" | head -n 1)" us 'as alone'
}

# dumps: processor time of one, of many.
dumps() {
	"$bin/diagfifo" send "$dir/svc" dump threads=2000 >"$dir/dump.json"
	listed=$(tr '{' '\n' <"$dir/dump.json" | grep -c '^"tid":')
	a=$(ticks "$server")
	i=0
	while [ "$i" -lt 20 ]; do
		i=$((i + 1))
		"$bin/diagfifo" send -timeout 30s "$dir/svc" dump threads=2000 >"$dir/out"
	done
	b=$(ticks "$server")
	ms=$(awk -v t=$((b - a)) -v hz="$(getconf CLK_TCK)" 'BEGIN {printf "%.1f", t * 1000 / hz / 20}')
	row "processor time of a dump of $listed threads" "$ms" ms '<= 100'
}

fifo() {
	title "fifo: commands to diagfifo on $(df -PT "$dir" | awk 'NR==2{print $2}'), and its looks at a process"
	go build -o "$dir/fifoload" "$root/scripts/testdata/fifoload.go"
	go build -o "$dir/tick" "$root/scripts/testdata/ticker.go"
	: >"$dir/ticker"
	start "$dir/tick" 16 1000 >"$dir/ticker"
	target=$started
	await test -s "$dir/ticker"
	start "$bin/diagfifo" -pid "$target" -rate 0 -socket "$dir/svc"
	server=$started
	await await_ctl
	row 'size of the program' "$(wc -c <"$bin/diagfifo")" B '<= 2400000'
	trips fifo '<= 50' 'round trip by reply FIFO'
	trips file '<= 100' 'round trip by file'
	trips socket - 'round trip by socket'
	row 'commands of 8 writers' "$("$dir/fifoload" flood "$dir/svc" 8 400000)" /s '>= 50000'
	row 'resident memory after the flood' "$(field "$server" VmRSS)" kB '<= 6144'
	mkdir "$dir/torn"
	"$dir/fifoload" torn "$dir/torn" 64 1000000 >"$dir/torn.out" || die 111 'fifoload: see above'
	read -r lines lost torn rate <"$dir/torn.out"
	row "lines of up to 4096 B, 64 writers, of $lines: lost" "$lost" '' 0
	row 'torn' "$torn" '' 0
	row 'through one FIFO' "$rate" /s -
	dumps
	pauses
	stop "$server"
	stop "$target"
}
