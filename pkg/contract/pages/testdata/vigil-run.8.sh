#!/bin/sh
# The examples of vigil-run(8).

### runit $ exec 2>&1
echo web:x:501:501::/nonexistent:/bin/sh >>/etc/passwd
program /usr/local/bin/web <<'END_OF_PROGRAM'
#!/bin/sh
exec sleep 100000
END_OF_PROGRAM
script /etc/service/web/run
runsvdir /etc/service &
await hbwatch -once /run/vigil/hb/web.hb
has /run/vigil/hb/web.hb '"interval_ms":2000'
pid=$(sed -n 's/.*"pid":\([0-9]*\).*/\1/p' /run/vigil/hb/web.hb)
[ "$pid" = "$(cat /etc/service/web/supervise/pid)" ] || fail 'not the process of the service'
await grep -q "^Uid:.501.501" "/proc/$pid/status"
await diagfifo send /run/vigil/ctl/web status

### runit $ case $(cat supervise/stat) in
program /usr/local/bin/web <<'END_OF_PROGRAM'
#!/bin/sh
exec sleep 100000
END_OF_PROGRAM
mkdir -p /etc/service/web
program /etc/service/web/run <<'END_OF_PROGRAM'
#!/bin/sh
exec vigil-run -i web /usr/local/bin/web
END_OF_PROGRAM
script /etc/service/web/finish
runsvdir /etc/service &
await hbwatch -once /run/vigil/hb/web.hb
sv down web
await grep -q '"status":"stopping"' /run/vigil/hb/web.hb

### $ VIGIL_HOLD_AT_START=10m vigil-run -i web -b -fresh=/var/log/web.log=1m /usr/local/bin/web
program /usr/local/bin/web <<'END_OF_PROGRAM'
#!/bin/sh
echo begins >/var/log/web.log
exec sleep 100000
END_OF_PROGRAM
begin
await grep -q '"id":"web"' /run/vigil/hold/web.hold
await hbwatch -once -hold /run/vigil/hold /run/vigil/hb/web.hb
going

### $ vigil-run -c -i web ~/bin/web
mkdir -p /tmp/home/bin
program /tmp/home/bin/web <<'END_OF_PROGRAM'
#!/bin/sh
kill -SEGV $$
END_OF_PROGRAM
chown -R svc:svc /tmp/home
code=0
setpriv --reuid svc --regid svc --clear-groups env HOME=/tmp/home sh /t/example >/t/out 2>/t/err || code=$?
[ "$code" -eq 139 ] || fail "it ended with $code"
ls /tmp/home/.vigil/core/*.core
