#!/bin/sh
# A warning before the reset: a line in the kernel's log, or a panic instead.
# shellcheck disable=SC2154 # what lib.sh and vm_test.go set

modprobe "pretimeout_$governor"
echo "$governor" >"$sysfs/pretimeout_governor" || die "$governor: no such governor"
feed -timeout 6s -pretimeout 3s
answer 0 '^pretimeout: 3 s' wdping -status
alive 13
kill -9 "$feeder"
log "DUE $after $before"
while :; do
	log tick
	sleep 0.1
	dmesg | grep 'pretimeout event' | stamp
done
