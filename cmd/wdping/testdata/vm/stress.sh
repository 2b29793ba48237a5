#!/bin/sh
# On time beside twenty loops at nice -20, and with more memory wanted than there
# is; the targets are half of what a person would call late.
# shellcheck disable=SC2154 # what lib.sh and vm_test.go set

for rt in 0 1; do
	start -device "$node" -timeout 60s -interval 1s -rt "$rt" -exists x:/
	until_told armed
	for kind in cpu memory; do
		under "$kind" "wdping,-rt,$rt" "$feeder"
		# For memory this kernel works some milliseconds at a time, on this slow
		# processor, and lets nobody in between, of whatever priority.
		[ "$kind" = memory ] && late=50 || late=$((50 - 45 * rt))
		within worst_ms "$late"
		within faults 0
		# Where memory is wanted, threads also sleep in the kernel until it has some.
		[ "$kind" = memory ] || within switches 5
		within rss_kb 4096
		within pss_kb 3072
	done
	kill -TERM "$feeder"
	ended 0 ': disarmed$'
done
swapped=$(awk '$1 == "pswpout" {print $2}' /proc/vmstat)
log "$swapped pages were swapped out"
[ "$swapped" -gt 1000 ] || die 'there was memory enough'
