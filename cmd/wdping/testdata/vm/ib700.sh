#!/bin/sh
# A driver of the old kind: no sysfs, no /dev/watchdog0, no way to read back.
# shellcheck disable=SC2154 # what lib.sh and vm_test.go set

answer 0 '^sysfs: none' wdping -status
part 'a timeout that it does not take'
answer 100 'does not take it: unknown .the driver took DISABLECARD' wdping -timeout 60s -fresh app:/run/app=2s
alive 40
part 'armed, pinged, disarmed as far as one can know'
feed
answer 111 "busy: held by pid $feeder .wdping." wdping -exists x:/
alive 13
kill -TERM "$feeder"
ended 3 'unknown .the driver took DISABLECARD'
alive 13
part 'kill -9'
feed
sleep 3
kill -9 "$feeder"
doom 3.5 5
