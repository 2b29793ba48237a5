#!/bin/sh
# The time that a crash costs, and the disk. A section of scripts/bench, which sources it.
# shellcheck disable=SC2154 # what bench sets

# fall HOW WORD [MIB]: one crash; the time from the fault until its parent's wait
# returns, and the bytes on the disk, go to files.
fall() {
	how=$1
	shift
	rm -rf "$dir/spool"
	mkdir "$dir/spool"
	(cd "$dir/spool" && exec "$dir/crash" "$@") 2>"$dir/said" || :
	over=$(date +%s%N)
	fault=$(awk '/^[a-z]+ [0-9]+$/ {print $2; exit}' "$dir/said")
	[ -n "$fault" ] || die 111 "$dir/crash $*: did not crash"
	echo $(((over - fault) / 1000000)) >>"$dir/$how.$1.down"
	# What is left for afterwards, if anything, is not in the way of the next one.
	await handlers_gone
	du -sk "$dir/spool" | cut -f 1 >>"$dir/$how.$1.disk"
}

handlers_gone() {
	for p in /proc/[0-9]*/exe; do
		[ "$(readlink "$p" 2>/dev/null)" != "$bin/corecap" ] || return 1
	done
}

# send PATTERN: where crashes go.
send() { printf '%s\n' "$1" >/proc/sys/kernel/core_pattern; }

# It lets the machine as it was, also when it is interrupted: the pattern is put
# back by a process that waits for this one to end.
keep_pattern() {
	mkfifo "$dir/over"
	(
		trap '' HUP INT TERM
		old=$(cat /proc/sys/kernel/core_pattern)
		limit=$(cat /proc/sys/kernel/core_pipe_limit)
		: >"$dir/kept"
		read -r _ <"$dir/over" || :
		send "$old"
		printf '%s\n' "$limit" >/proc/sys/kernel/core_pipe_limit
	) &
	await test -e "$dir/kept"
	exec 8>"$dir/over"
}

crash() {
	[ "$(id -u)" -eq 0 ] || die 111 'crash: has to be root, for core_pattern'
	command -v gcc >/dev/null || die 111 'gcc: not found: install it'
	gcc -O1 -pthread -o "$dir/crash" "$root/cmd/corecap/testdata/crash.c" || die 111 'gcc: see above'
	printf 'spool %s/spool\nlog %s/log\nkeep-free 0\nstacks no\nwindow 0s\n' "$dir" "$dir" >"$dir/conf"
	title "crash: from the fault until the parent knows, on $(df -PT "$dir" | awk 'NR==2{print $2}'), medians of $runs"
	keep_pattern
	echo 16 >/proc/sys/kernel/core_pipe_limit
	# shellcheck disable=SC3045 # dash, busybox ash, mksh and bash have it
	ulimit -c unlimited
	printf '%-22s %-12s %10s %10s\n' process saved 'down ms' 'disk MB'
	for word in mixed sparse; do
		i=0
		while [ "$i" -lt "$runs" ]; do
			i=$((i + 1))
			send core
			fall kernel "$word" 1024
			send "|$bin/corecap handler -config $dir/conf %P %i %s %d %u %g %t %F"
			fall corecap "$word" 1024
			send "|/bin/dd of=$dir/spool/core bs=1M status=none"
			fall pipe "$word" 1024
		done
		for how in kernel corecap pipe; do
			printf '%-22s %-12s %10s %10s\n' "$word" "$how" "$(median <"$dir/$how.$word.down")" "$(($(median <"$dir/$how.$word.disk") / 1000))"
		done
		printf '%-22s %-12s %10s\n' '' '/ kernel' "$(ratio "$(median <"$dir/corecap.$word.down")" "$(median <"$dir/kernel.$word.down")")"
		printf '%-22s %-12s %10s\n' '' 'pipe /' "$(ratio "$(median <"$dir/pipe.$word.down")" "$(median <"$dir/corecap.$word.down")")"
	done
	exec 8>&-
	await pattern_back
}

pattern_back() { ! grep -q "$dir" /proc/sys/kernel/core_pattern; }
