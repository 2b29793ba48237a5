#!/bin/sh
# A beat by hbsend against one by a shell. A section of scripts/bench, which sources it.
# shellcheck disable=SC2154 # what bench sets

# The peer writes the same kind of line, as a script would: a temporary file,
# then a rename.
shell_loop() {
	# shellcheck disable=SC2016 # the inner shell expands it
	exec busybox sh -c 'n=0
		while :; do
			n=$((n + 1))
			echo "{\"id\":\"b\",\"seq\":$n,\"status\":\"ok\"}" >"$1.tmp"
			mv "$1.tmp" "$1"
			sleep 0.01
		done' loop "$1"
}

beat() {
	command -v busybox >/dev/null || die 111 'busybox: not found: install it (Debian: busybox)'
	title "beat: processor time per beat on $(df -PT "$dir" | awk 'NR==2{print $2}'), wake-up included"
	hz=$(getconf CLK_TCK)
	start "$bin/hbsend" -interval 1ms -jitter 0 "$dir/a.hb"
	ours=$started
	start shell_loop "$dir/b.hb"
	peer=$started
	sleep 10
	a=$(ticks "$ours")
	b=$(ticks "$peer")
	an=$(seq_of "$dir/a.hb")
	bn=$(seq_of "$dir/b.hb")
	stop "$ours"
	stop "$peer"
	a=$(awk -v t="$a" -v n="$an" -v hz="$hz" 'BEGIN {printf "%.1f", t * 1e6 / hz / n}')
	b=$(awk -v t="$b" -v n="$bn" -v hz="$hz" 'BEGIN {printf "%.1f", t * 1e6 / hz / n}')
	printf 'hbsend        %8s us  (%d beats)\n' "$a" "$an"
	printf 'busybox loop  %8s us  (%d beats)\n' "$b" "$bn"
	printf 'ratio         %8s times cheaper\n' "$(ratio "$b" "$a")"
}
