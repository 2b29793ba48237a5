#!/bin/sh
# The examples of hbwatch(8).
# shellcheck disable=SC2154 # what prelude.sh sets

### $ hbwatch -hold /run/vigil/hold -on-change /etc/vigil/on-change /run/vigil/hb
program /etc/vigil/on-change <<'END_OF_PROGRAM'
#!/bin/sh
echo "$HB_ID $HB_FROM $HB_TO" >>/run/changes
END_OF_PROGRAM
sender web
begin
await grep -qx 'web unknown alive' /run/changes
kill -STOP "$sender"
await grep -qx 'web suspect dead' /run/changes
finish 0
has /t/out '"id":"web","from":"suspect","to":"dead"'

### runit $ case $HB_TO in
script /etc/vigil/on-change
mkdir -p /etc/service/web
program /etc/service/web/run <<'END_OF_PROGRAM'
#!/bin/sh
exec hbsend -interval 250ms /run/vigil/hb/web.hb
END_OF_PROGRAM
runsvdir /etc/service &
await hbwatch -once /run/vigil/hb/web.hb
watcher -timeout 1s -on-change /etc/vigil/on-change
await grep -q '"to":"alive"' /run/vigil/events
old=$(cat /etc/service/web/supervise/pid)
kill -STOP "$old"
await grep -q '"from":"dead","to":"alive"' /run/vigil/events
[ "$(cat /etc/service/web/supervise/pid)" != "$old" ] || fail 'it was not restarted'

### $ hbwatch -timeout nightly=26h -expect web,nightly /run/vigil/hb
hbsend -once -interval 1s /run/vigil/hb/nightly.hb
sender web
begin
await grep -q '"id":"web","from":"unknown","to":"alive"' /t/out
await grep -q '"id":"nightly","from":"unknown","to":"alive",.*"deadline_ms":93600000' /t/out
kill "$sender"
wait "$sender" || :
rm /run/vigil/hb/web.hb
sender other
finish 0

### $ hbwatch -once /run/vigil/hb/web.hb
steady web
example
has /t/out '^web +alive '
fleeting web
await sh -c 'hbwatch -once -fail-on dead -q /run/vigil/hb/web.hb; [ $? -eq 1 ]'
example 1
has /t/out '^web +dead '

### $ hbwatch -feed /run/vigil/fed -feed-for db -on-change /etc/vigil/on-change /run/vigil/hb
program /etc/vigil/on-change <<'END_OF_PROGRAM'
#!/bin/sh
:
END_OF_PROGRAM
sender db
begin
await test -e /run/vigil/fed
touch -d '1 hour ago' /run/vigil/fed /run/before
await test /run/vigil/fed -nt /run/before
finish 0

### $ cat >/etc/vigil/confirm <<'END'
mkdir -p /tmp/web/web
touch /tmp/web/web/healthz
pages /tmp/web 80
sender web
begin
await grep -q '"to":"alive"' /t/out
kill -STOP "$sender"
await grep -q '"to":"suspect"' /t/out
await grep -q 'said to live' /t/err
lacks /t/out '"to":"dead"'
rm /tmp/web/web/healthz
await grep -q '"to":"dead"' /t/out
finish 0

### $ hbwatch -events /var/log/vigil/events -record /var/log/vigil/trace /run/vigil/hb
mkdir /var/log/vigil
sender web
begin
await grep -q '"to":"alive"' /var/log/vigil/events
await grep -Eq '^[0-9]+ web [0-9]+$' /var/log/vigil/trace
finish 0
cmp /t/out /var/log/vigil/events

### $ * * * * * hbwatch -once -q -state /run/vigil/cron.state /run/vigil/hb
edit 's/^\* \* \* \* \* //'
steady web
example
has /t/out '^web +alive'
example
[ ! -s /t/out ] || fail 'mail of what has not changed'
fleeting web
await sh -c 'hbwatch -once -fail-on dead /run/vigil/hb/web.hb; [ $? -eq 1 ]'
example 2
has /t/out '^web +dead'

### $ hbwatch tune -synth storms -beats 100000 >storms.trace
example
has /t/out '^For at most 1 mistake a day: -detector '
has storms.svg '</svg>'
