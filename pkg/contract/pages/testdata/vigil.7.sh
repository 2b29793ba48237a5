#!/bin/sh
# The examples of vigil(7).

### runit $ mkdir -p /run/vigil/hb /run/vigil/hold /run/vigil/ctl/web
rm -r /run/vigil
mkdir -p /etc/service/web
program /etc/service/web/run <<'END_OF_PROGRAM'
#!/bin/sh
echo $$ >/run/web.pid
exec sleep 100000
END_OF_PROGRAM
runsvdir /etc/service &
await test -s /run/web.pid
example
await grep -q '"to":"alive"' /run/vigil/events
await test -p /run/vigil/ctl/web/ctl
old=$(cat /run/web.pid)
kill -STOP "$old"
await grep -q '"from":"dead","to":"alive"' /run/vigil/events
[ "$(cat /run/web.pid)" != "$old" ] || fail 'it was not restarted'
ls /var/lib/vigil/incident/web-*/summary.txt

### $ hbwatch -once /run/vigil/hb
service web
sender web -pidfile /run/web.pid -interval 1m
server web
example
has /t/out '^web +alive'
has /t/out "pid=$(cat /run/web.pid)"
