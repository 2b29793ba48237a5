#!/bin/sh
# A device that cannot be disarmed, and is not said to be.
# shellcheck disable=SC2154 # what lib.sh and vm_test.go set
feed
want /run/err 'nowayout: it cannot be disarmed'
answer 0 '^nowayout: 1' wdping -status
alive 13
kill -TERM "$feeder"
ended 3 'STILL ARMED .nowayout.'
state active
doom 3.5 5
