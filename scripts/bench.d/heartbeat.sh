#!/bin/sh
# Heartbeats against their targets and the peers. A section of scripts/bench, which sources it.
# shellcheck disable=SC2154 # what bench sets

# cpu_us PID: processor time of all its threads in microseconds, exactly.
cpu_us() { cat "/proc/$1"/task/*/schedstat | awk '{t += $1} END {printf "%d\n", t / 1000}'; }

now_us() { date +%s%6N; }

# line WHAT FIGURE UNIT RELATION TARGET: one row of the table, and its verdict.
line() {
	awk -v what="$1" -v have="$2" -v unit="$3" -v rel="$4" -v want="$5" 'BEGIN {
		met = rel == "<=" ? have + 0 <= want + 0 : have + 0 >= want + 0
		printf "%-62s %10s %-6s %s %-6s %s\n", what, have, unit, rel, want, met ? "met" : "MISSED"
	}'
}

# note WHAT FIGURE UNIT: a row without a target.
note() { printf '%-62s %10s %s\n' "$1" "$2" "$3"; }

# herds COUNT: so many senders at 1 s, one in fifty of which will cease; as
# many processes as descriptors need. Their pids are in $herds.
herds() {
	mkdir "$shm/$1"
	most=$(($(awk '/^Max open files/ {print $4}' /proc/self/limits) - 100))
	[ "$most" -lt 16000 ] || most=16000
	herds=
	packs=0
	first=0
	while [ "$first" -lt "$1" ]; do
		n=$(($1 - first))
		[ "$n" -le "$most" ] || n=$most
		start "$dir/herd" "$shm/$1" "$first" "$n" 1s $((n / 50)) >"$dir/truth.$1.$first"
		herds="$herds $started"
		packs=$((packs + 1))
		first=$((first + n))
	done
	for f in "$dir/truth.$1".*; do await test -s "$f"; done
}

herd_told() { [ "$(cat "$dir/truth.$1".* | grep -c '^\.$')" -eq "$packs" ]; }

disband() {
	for p in $herds; do stop "$p"; done
	rm -rf "${shm:?}/$1"
}

# watched COUNT TARGET: hbwatch at its defaults over a herd; its share of a core, its
# memory, and how late its events are, against what the herd says.
watched() {
	herds "$1"
	start "$bin/hbwatch" "$shm/$1" >"$dir/events"
	ours=$started
	sleep 9
	t0=$(now_us)
	c0=$(cpu_us "$ours")
	sleep 15
	c1=$(cpu_us "$ours")
	t1=$(now_us)
	rss=$(field "$ours" VmRSS)
	line "hbwatch, $1 files: of a core" "$(awk -v c=$((c1 - c0)) -v t=$((t1 - t0)) 'BEGIN {printf "%.2f", 100 * c / t}')" % '<=' "$2"
	# shellcheck disable=SC2086 # a list of pids
	kill -USR1 $herds
	await herd_told "$1"
	sleep 7
	stop "$ours"
	disband "$1"
	cat "$dir/truth.$1".* >"$dir/truth"
	late "$1"
	grep -c local_stall "$dir/events" | sed 's/.*/  (own stalls seen, in which verdicts wait: &)/'
}

# late COUNT: how long past the deadline the deaths were told.
late() {
	awk -f "$root/scripts/testdata/late.awk" "$dir/truth" "$dir/events" | sort -n >"$dir/late"
	n=$(wc -l <"$dir/late")
	[ "$n" -gt 0 ] || die 111 "hbwatch: no death of $1 was told"
	note "  events past the deadline: p50 of $n" "$(sed -n "$((n / 2 + 1))p" "$dir/late")" ms
	line "  events past the deadline: p99" "$(sed -n "$((n * 99 / 100 + 1))p" "$dir/late")" ms '<=' 100
	false=$(awk -f "$root/scripts/testdata/late.awk" -v false=1 "$dir/truth" "$dir/events" | wc -l)
	line '  told dead, but alive' "$false" '' '<=' 0
}

# monit is only unpacked: its package would start a service.
need_monit() {
	monit=$(command -v monit || :)
	[ -z "$monit" ] || return 0
	(cd "$dir" && apt-get -q -o APT::Sandbox::User=root download monit >/dev/null 2>&1 && dpkg-deb -x monit_*.deb monit) ||
		die 111 'monit: not found, and apt-get download monit did not help (Debian: monit)'
	monit=$dir/monit/usr/bin/monit
}

monit_rules() {
	printf 'set daemon 1\nset pidfile %s/m.pid\nset statefile %s/m.state\nset idfile %s/m.id\n' "$dir" "$dir" "$dir"
	for f in "$shm/1000"/*.hb; do
		printf 'check file %s with path %s\n  if timestamp > 5 seconds then alert\n' "$(basename "$f" .hb)" "$f"
	done
}

# shell_passes looks at each file once, as a script would, again and again.
shell_passes() {
	# shellcheck disable=SC2016 # the inner shell expands it
	exec busybox sh -c 'n=0
		while :; do
			now=$(date +%s)
			for f in "$1"/*.hb; do
				[ $((now - $(stat -c %Y "$f"))) -le 5 ] || echo "$f is silent"
			done
			n=$((n + 1))
			echo $n >"$2"
			sleep 1
		done' passes "$shm/1000" "$dir/passes"
}

# per_second PID SECONDS: microseconds of processor time that it takes in a second.
per_second() {
	c0=$(cpu_us "$1")
	t0=$(now_us)
	sleep "$2"
	echo $((($(cpu_us "$1") - c0) * 1000 / (($(now_us) - t0) / 1000)))
}

peers() {
	need_monit
	herds 1000
	monit_rules >"$dir/monitrc"
	chmod 600 "$dir/monitrc"
	start "$monit" -I -c "$dir/monitrc" >"$dir/monit.out" 2>&1
	theirs=$started
	start "$bin/hbwatch" -record "$dir/trace" "$shm/1000" >/dev/null
	each=$started
	start "$bin/hbwatch" "$shm/1000" >/dev/null
	ours=$started
	sleep 4
	kill -0 "$theirs" || die 111 "monit: $(tail -n 1 "$dir/monit.out")"
	m=$(per_second "$theirs" 6)
	e=$(per_second "$each" 6)
	o=$(per_second "$ours" 6)
	m=$(((m + $(per_second "$theirs" 4)) / 2))
	o=$(((o + $(per_second "$ours" 4)) / 2))
	monit_rss=$(field "$theirs" VmRSS)
	ours_rss=$(field "$ours" VmRSS)
	stop "$theirs"
	stop "$each"
	stop "$ours"
	start shell_passes
	theirs=$started
	await test -s "$dir/passes"
	n0=$(cat "$dir/passes")
	s0=$(ticks "$theirs")
	await more_passes "$((n0 + 3))"
	n1=$(cat "$dir/passes")
	s=$((($(ticks "$theirs") - s0) * 1000000 / $(getconf CLK_TCK) / (n1 - n0)))
	stop "$theirs"
	disband 1000
	note '1000 files, a pass of monit each second' "$m" us
	note '1000 files, a pass of a loop in busybox sh' "$s" us
	note '1000 files, hbwatch for a second, each beat of each file read' "$e" us
	note '1000 files, hbwatch for a second, as it comes' "$o" us
	note '  memory: monit, hbwatch' "$monit_rss $ours_rss" kB
	line '  cheaper than monit' "$(ratio "$m" "$o")" times '>=' 4
	line '  cheaper than the loop' "$(ratio "$s" "$o")" times '>=' 100
}

more_passes() { [ "$(cat "$dir/passes")" -ge "$1" ]; }

# echo_loop: a beat as the shortest script has it.
echo_loop() {
	# shellcheck disable=SC2016 # the inner shell expands it
	exec busybox sh -c 'n=0
		while :; do
			n=$((n + 1))
			echo "{\"id\":\"e\",\"seq\":$n,\"status\":\"ok\"}" >"$1"
			sleep 0.05
		done' loop "$1"
}

pss() { awk '$1 == "Pss:" {print $2}' "/proc/$1/smaps_rollup"; }

senders() {
	mkdir "$shm/s"
	us=$(cd "$root" && TMPDIR=$shm go test -run '^$' -bench 'Beat$' -benchtime 1s -count 5 ./pkg/sender |
		awk '$4 == "ns/op" {print $3}' | median | awk '{printf "%.1f", $1 / 1000}')
	line 'hbsend: a beat without the wake-up, on tmpfs' "$us" us '<=' 5
	start "$bin/hbsend" -interval 50ms -jitter 0 "$shm/s/a.hb"
	ours=$started
	start echo_loop "$shm/s/e.hb"
	theirs=$started
	sleep 12
	a=$(ticks "$ours")
	b=$(ticks "$theirs")
	an=$(seq_of "$shm/s/a.hb")
	bn=$(seq_of "$shm/s/e.hb")
	alone=$(pss "$ours")
	stop "$ours"
	stop "$theirs"
	a=$(awk -v t="$a" -v n="$an" -v hz="$(getconf CLK_TCK)" 'BEGIN {printf "%.0f", t * 1e6 / hz / n}')
	b=$(awk -v t="$b" -v n="$bn" -v hz="$(getconf CLK_TCK)" 'BEGIN {printf "%.0f", t * 1e6 / hz / n}')
	note '  a beat with the wake-up' "$a" us
	note '  a beat of echo > in busybox sh, with its sleep' "$b" us
	line '  cheaper than echo >' "$(ratio "$b" "$a")" times '>=' 4
	ten=
	for i in 0 1 2 3 4 5 6 7 8 9; do
		start "$bin/hbsend" -interval 1s "$shm/s/$i.hb"
		ten="$ten $started"
	done
	sleep 3
	for p in $ten; do pss "$p"; done | median >"$dir/pss"
	for p in $ten; do stop "$p"; done
	line '  memory of its own (PSS) of each of ten' "$(cat "$dir/pss")" kB '<=' 1500
	line '  memory of its own (PSS) of one alone' "$alone" kB '<=' 1500
}

torn() {
	if ! "$dir/torn" "$shm" 10000000 >"$dir/torn.out"; then
		cat "$dir/torn.out"
	fi
	read -r good half mixed <"$dir/torn.out"
	note "half-written records among 10^7 reads beside a writer that never rests: found" "$half" ''
	line "  taken for whole (of $good)" "$mixed" '' '<=' 0
}

heartbeat() {
	command -v busybox >/dev/null || die 111 'busybox: not found: install it (Debian: busybox)'
	title 'heartbeat: senders that beat once a second, on tmpfs, against the targets and the peers'
	shm=$(mktemp -d /dev/shm/vigil-bench.XXXXXX)
	chmod 755 "$shm"
	for p in herd torn; do
		(cd "$root" && go build -o "$dir/$p" "scripts/testdata/$p.go") || die 111 "scripts/testdata/$p.go: does not build"
	done
	watched 10000 1.5
	watched 100000 8
	line '  memory (RSS)' "$((rss / 1000))" MB '<=' 40
	peers
	senders
	torn
	rm -rf "$shm"
}
