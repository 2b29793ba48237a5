#!/bin/sh
# The examples of vigil-incident(8).

### $ hbwatch -hold /run/vigil/hold -events /run/vigil/events \
service web
sender web -pidfile /run/web.pid
begin
await grep -q '"to":"alive"' /run/vigil/events
kill -STOP "$(cat /run/web.pid)"
await sh -c 'grep -q . /var/lib/vigil/incident/web-*/summary.txt'
kill -CONT "$(cat /run/web.pid)"
await grep -q '"from":"[a-z]*","to":"alive"' /run/vigil/events
finish 0

### $ exec /usr/local/bin/vigil-incident -k 3 -c auto
service web
sender web -pidfile /run/web.pid
script /etc/vigil/on-change
env VIGIL_DIR=/run/vigil HB_ID=web HB_FROM=alive HB_TO=suspect HB_PID="$(cat /run/web.pid)" HB_AGE_MS=6000 \
	HB_FILE=/run/vigil/hb/web.hb HB_REASON=timeout /etc/vigil/on-change >&2
# All memory: a mini core would be of some kB.
[ "$(du -k /var/lib/vigil/incident/web-*/core | cut -f 1)" -gt 100 ] || fail 'a small core'

### $ cat "$(vigil-incident web)/summary.txt"
service web
sender web -pidfile /run/web.pid
example
has /t/out "^service +web, pid $(cat /run/web.pid), sleep"
has /t/out '^  complete'
