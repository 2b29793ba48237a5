#!/bin/sh
# The examples of wdping(8).
# shellcheck disable=SC2154 # what prelude.sh sets

### $ timeout 1h wdping -dry-run -fresh /run/vigil/hb/svc-A.hb=30s >events
sender svc-A
begin
await grep -q '"event":"feeding","dry_run":true' events
kill -STOP "$sender"
await grep -q '"event":"starving",.*"dry_run":true' events
finish 0

### vm $ wdping -fresh /run/vigil/hb/svc-A.hb=30s -hold /run/vigil/hold
sender svc-A
begin
await grep -q '"event":"armed"' /t/out
[ "$(cat /sys/class/watchdog/watchdog0/state)" = active ] || fail 'not armed'
kill -STOP "$sender"
diagfifo hold -dir /run/vigil/hold -wait wdping svc-A 1m debugging
sleep 45
lacks /t/out '"event":"starving"'
await grep -q '"event":"starving"' /t/out
kill -CONT "$sender"
await sh -c 'tail -n 1 /t/out | grep feeding'
finish 0
[ "$(cat /sys/class/watchdog/watchdog0/state)" = inactive ] || fail 'still armed'

### vm $ wdping -fresh svc-B:/var/log/svc-B.log=2m -absent /run/reset-me
: >/var/log/svc-B.log
begin
await grep -q '"event":"armed"' /t/out
touch /run/reset-me
await grep -q '"event":"starving",.*reset-me' /t/out
rm /run/reset-me
await sh -c 'tail -n 1 /t/out | grep feeding'
finish 0

### vm $ wdping -status -ledger /var/lib/vigil/ledger | grep -E '^(last reset|holder)'
sender svc-A
wdping -ledger /var/lib/vigil/ledger -fresh /run/vigil/hb/svc-A.hb=30s >/t/wdping 2>&1 &
feeder=$!
await grep -q '"event":"armed"' /t/wdping
example
has /t/out "^holder: pid $feeder .wdping."
has /t/out '^last reset'
kill "$feeder"
wait "$feeder"

### vm $ kill -TERM "$(cat /run/wdping.pid)"
sender svc-A
wdping -exit stay -fresh /run/vigil/hb/svc-A.hb=30s >/t/wdping 2>&1 &
echo "$!" >/run/wdping.pid
await grep -q '"event":"armed"' /t/wdping
begin
await grep -q '"event":"armed"' /t/out
[ "$(cat /sys/class/watchdog/watchdog0/state)" = active ] || fail 'not armed'
sleep 100
going
finish 3
