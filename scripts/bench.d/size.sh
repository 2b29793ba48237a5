#!/bin/sh
# The bytes of the programs, and what they need while nothing happens. A section of scripts/bench, which sources it.
# shellcheck disable=SC2154 # what bench sets

size() {
	title 'size: bytes of the programs; memory and wake-ups of those that stay, idle for 5 s'
	for t in hbsend hbwatch wdping diagfifo corecap; do
		printf '%-10s %9d bytes\n' "$t" "$(wc -c <"$bin/$t")"
	done
	VERSION=bench "$root/scripts/build" -1 -o "$dir/one" >/dev/null
	printf '%-10s %9d bytes, all five in one\n' vigil "$(wc -c <"$dir/one/vigil")"
	mkdir "$dir/hb" "$dir/ctl"
	start "$bin/hbsend" -interval 1s "$dir/hb/a.hb"
	idle="hbsend:$started"
	await test -s "$dir/hb/a.hb"
	start "$bin/hbwatch" "$dir/hb" >/dev/null
	idle="$idle hbwatch:$started"
	start "$bin/wdping" -device none -fresh "$dir/hb/a.hb=15s" >/dev/null
	idle="$idle wdping:$started"
	start "$bin/diagfifo" -pid "$$" "$dir/ctl"
	idle="$idle diagfifo:$started"
	sleep 2
	before=
	for i in $idle; do before="$before $(switches "${i#*:}")"; done
	sleep 5
	# shellcheck disable=SC2086 # a list of numbers
	set -- $before
	for i in $idle; do
		p=${i#*:}
		printf '%-10s rss %5d kB, %5.1f wake-ups/s, %d threads, %d descriptors\n' "${i%:*}" "$(field "$p" VmRSS)" \
			"$(awk -v a="$1" -v b="$(switches "$p")" 'BEGIN {print (b - a) / 5}')" "$(field "$p" Threads)" "$(descriptors "$p")"
		shift
		stop "$p"
	done
}
