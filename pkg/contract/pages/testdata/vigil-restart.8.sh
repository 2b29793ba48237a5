#!/bin/sh
# The examples of vigil-restart(8).

### runit $ hbwatch -hold /run/vigil/hold -events /run/vigil/events \
mkdir -p /etc/service/web
program /etc/service/web/run <<'END_OF_PROGRAM'
#!/bin/sh
exec hbsend -interval 250ms /run/vigil/hb/web.hb
END_OF_PROGRAM
runsvdir /etc/service &
await hbwatch -once /run/vigil/hb/web.hb
begin
await grep -q '"to":"alive"' /run/vigil/events
old=$(cat /etc/service/web/supervise/pid)
kill -STOP "$old"
await grep -q '"from":"dead","to":"alive"' /run/vigil/events
[ "$(cat /etc/service/web/supervise/pid)" != "$old" ] || fail 'it was not restarted'
ls /var/lib/vigil/incident/web-*/summary.txt
finish 0

### runit $ vigil-restart -n web
mkdir -p /etc/service/web
program /etc/service/web/run <<'END_OF_PROGRAM'
#!/bin/sh
exec hbsend -interval 250ms /run/vigil/hb/web.hb
END_OF_PROGRAM
runsvdir /etc/service &
await hbwatch -once /run/vigil/hb/web.hb
old=$(cat /etc/service/web/supervise/pid)
example
cat /t/out /t/err >/t/said
has /t/said 'runit'
[ "$(cat /etc/service/web/supervise/pid)" = "$old" ] || fail 'it was restarted'

### $ exec /usr/local/bin/vigil-restart -m 2/1h -s systemd -u "$HB_ID.service"
stand_in systemctl <<'END_OF_PROGRAM'
#!/bin/sh
echo "$*" >>/run/asked
END_OF_PROGRAM
mkdir -p /run/systemd/system
service web
sender web
script /etc/vigil/on-change
for _ in 1 2 3; do
	env VIGIL_DIR=/run/vigil HB_ID=web HB_FROM=suspect HB_TO=dead HB_PID="$(cat /run/web.pid)" HB_AGE_MS=6000 \
		HB_FILE=/run/vigil/hb/web.hb HB_REASON=timeout /etc/vigil/on-change || code=$?
done
[ "$code" -eq 1 ] || fail 'a third restart was not refused'
[ "$(grep -c 'restart.* web.service$' /run/asked)" -eq 2 ] || fail "$(cat /run/asked)"
