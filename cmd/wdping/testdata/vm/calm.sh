#!/bin/sh
# All that ends with a device that is disarmed, on one machine.
# shellcheck disable=SC2154 # what lib.sh and vm_test.go set

part 'armed, pinged, told by -status, busy for others, disarmed by SIGTERM'
answer 0 "^identity: $identity" wdping -status
answer 0 '^holder: none' wdping -status
state inactive
feed
want /run/err 'armed: .*timeout 4s'
answer 0 "^holder: pid $feeder .wdping." wdping -status
answer 0 '^state: active' wdping -status
answer 111 "busy: held by pid $feeder .wdping." wdping -exists x:/
# The same hardware by its other name.
answer 111 "busy: held by pid $feeder .wdping." wdping -device /dev/watchdog0 -exists x:/
alive 13
kill -TERM "$feeder"
ended 0 ': disarmed$'
state inactive
alive 13

part 'the node of the watchdog core, SIGINT'
node=/dev/watchdog0 feed
answer 0 "^holder: pid $feeder .wdping." wdping -status -device /dev/watchdog0
alive 5
kill -INT "$feeder"
ended 0 '^wdping: info: /dev/watchdog0: disarmed$'
state inactive

part 'a terminal that hangs up'
feed
kill -HUP "$feeder"
alive 13

part 'the clock stepped by an hour, both ways'
date -s "@$(($(date +%s) + 3600))" >/dev/null
alive 13
date -s "@$(($(date +%s) - 7200))" >/dev/null
alive 13
! told starving || die 'starved by a step of the clock'
kill -TERM "$feeder"
ended 0 ': disarmed$'

part 'starving, and a recovery in time'
feed -timeout 10s
still
until_told starving
want /run/err 'starving: app: silent for'
sleep 4
beat
alive 31
kill -TERM "$feeder"
ended 0 ': disarmed$'
state inactive

part 'handed over: -exit stay, and a successor in time'
feed -exit stay
kill -TERM "$feeder"
ended 3 'left armed: -exit stay$'
state active
sleep 2
feed
alive 13
kill -TERM "$feeder"
ended 0 ': disarmed$'
state inactive

part 'garbage collected all the time: the device is not'
GOGC=1 GODEBUG=gctrace=1 feed
alive 250
[ "$(grep -c '^gc [0-9]* @' /run/err)" -ge 2 ] || die 'no garbage was collected'
kill -TERM "$feeder"
ended 0 ': disarmed$'
state inactive

part 'a pidfile that is a FIFO: nothing is opened, nothing hangs'
mkfifo /run/fifo
start -timeout 4s -grace 2s -pidfile x:/run/fifo -fresh app:/run/app=2s
until_told starving
state inactive
kill -TERM "$feeder"
ended 0 .

part 'GETSUPPORT refused: nothing stays armed'
for node in /dev/watchdog /dev/watchdog0; do
	answer 111 "$node: open: operation not permitted" deny wdping -device "$node" -timeout 4s -fresh app:/run/app=2s
	state inactive
done
alive 13

part 'nothing of all this has armed it'
alive 70
