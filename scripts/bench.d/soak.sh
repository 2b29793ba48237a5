#!/bin/sh
# Nothing may grow. A section of scripts/bench, which sources it.
# shellcheck disable=SC2154 # what bench sets

sample() {
	for i in hbsend:"$ours" hbwatch:"$peer"; do
		printf '%s %s %s\n' "${i%:*}" "$(field "${i#*:}" VmRSS)" "$(descriptors "${i#*:}")"
	done
}

soak() {
	title "soak: $seconds s of hbsend -interval 100ms and hbwatch"
	mkdir "$dir/soak"
	start "$bin/hbsend" -interval 100ms "$dir/soak/a.hb"
	ours=$started
	await test -s "$dir/soak/a.hb"
	start "$bin/hbwatch" "$dir/soak" >"$dir/soak.events"
	peer=$started
	# The first tenth is for warming up.
	sleep "$((seconds / 10 + 1))"
	sample >"$dir/first"
	sleep "$((seconds - seconds / 10))"
	sample >"$dir/last"
	printf '%-8s %10s %10s %8s %8s\n' tool 'rss then' 'rss now' 'fd then' 'fd now'
	# A page cluster more or less is the allocator's breath, not growth.
	paste -d ' ' "$dir/first" "$dir/last" |
		awk '{printf "%-8s %7d kB %7d kB %8d %8d\n", $1, $2, $5, $3, $6; if ($6 > $3 || $5 > $2 + 512) bad = 1} END {exit bad}' ||
		die 1 'soak: it grew'
	printf 'beats %s, transitions %s\n' "$(seq_of "$dir/soak/a.hb")" "$(wc -l <"$dir/soak.events")"
	stop "$ours"
	stop "$peer"
}
