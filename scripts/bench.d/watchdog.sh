#!/bin/sh
# How late pings come under stress, in a machine of its own. A section of scripts/bench, which sources it.
# shellcheck disable=SC2154 # what bench sets

watchdog() {
	command -v qemu-system-x86_64 >/dev/null || die 111 'qemu-system-x86_64: not found: install it (Debian: qemu-system-x86)'
	title 'watchdog: a ping a second for 20 s, in the time of the machine; cpu: 20 loops at nice -20; memory: more than there is, with swap'
	VIGIL_TEST_MUST=vm go -C "$root" test -run '^$' -bench '^BenchmarkLate$' -benchtime 1x -timeout 30m ./cmd/wdping >"$dir/late" ||
		die 111 "go test: $(tail -n 3 "$dir/late" | tr '\n' ' ')"
	awk '
	BEGIN { printf "%-22s %-7s %12s %6s %7s %8s %8s %8s\n", "feeder", "stress", "worst late", "pings", "faults", "wakeups", "rss", "pss" }
	/LATE / {
		sub(/.*LATE /, "")
		for (i = 3; i <= NF; i++) {
			split($i, part, "=")
			v[part[1]] = part[2]
		}
		kind = $1
		feeder = $2
		gsub(/,/, " ", feeder)
		printf "%-22s %-7s %9.2f ms %6d %7d %8.1f %5d kB %5d kB\n", feeder, kind, v["worst_ms"], v["pings"], v["faults"], v["switches"], v["rss_kb"], v["pss_kb"]
	}' "$dir/late"
	printf 'wakeups are per ping; targets: late 50 ms, with -rt 5 ms, 0 faults, 4 wakeups, rss 4096 kB, pss 3072 kB; wdping has %d bytes of 2000000\n' "$(wc -c <"$bin/wdping")"
}
