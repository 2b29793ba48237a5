#!/bin/sh
# A hold on a service that a debugger has stopped: pings go on for longer than
# three timeouts. The hold ends, the service does not go on, the machine is reset.
# shellcheck disable=SC2154 # what lib.sh and vm_test.go set
hbsend -interval 500ms /run/hb/svc.hb 2>/dev/null &
service=$!
await test -s /run/hb/svc.hb
start -timeout 4s -interval 1s -fresh /run/hb/svc.hb=2s -hold /run/hold
until_told armed
diagfifo hold -dir /run/hold -wait wdping svc 20s gdb >/run/nonce || die 'nobody acknowledged the hold'
log held
kill -STOP "$service"
alive 18
until_told hold_end
log 'the hold is over'
! told starving || die 'starved under a hold'
# The 2 s of -fresh begin afresh, then come the 4 s of the timeout.
doom 4 8
