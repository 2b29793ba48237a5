#!/bin/sh
# The examples of hbsend(8).

### $ hbsend -interval 2s -pidfile /run/svc.pid /run/vigil/hb/svc.hb
service svc
begin
await grep -q '"interval_ms":2000,.*"status":"ok"' /run/vigil/hb/svc.hb
old=$(cat /run/svc.pid)
kill "$old"
service svc
await grep -q "\"pid\":$(cat /run/svc.pid)," /run/vigil/hb/svc.hb
finish 0
has /run/vigil/hb/svc.hb '"status":"stopping"'

### $ backup && hbsend -once -ttl 26h /run/vigil/hb/backup.hb
program /usr/local/bin/backup <<'END_OF_PROGRAM'
#!/bin/sh
exit "$(cat /run/failure)"
END_OF_PROGRAM
echo 7 >/run/failure
example 7
[ ! -e /run/vigil/hb/backup.hb ] || fail 'it says that a failed backup has been done'
echo 0 >/run/failure
example
has /run/vigil/hb/backup.hb '"ttl_ms":93600000,.*"status":"ok"'
hbwatch -once /run/vigil/hb/backup.hb

### $ hbsend -pidfile /run/svc.pid -fresh svc:/var/log/svc.log=30s \
service svc
mkdir /run/svc
echo queue=17 >/run/svc/numbers
touch -d '1 hour ago' /var/log/svc.log
begin
await grep -q '"status":"starting"' /run/vigil/hb/svc.hb
has /run/vigil/hb/svc.hb '"msg":"svc: '
echo a line >>/var/log/svc.log
await grep -q '"status":"ok".*"m":{"queue":17}' /run/vigil/hb/svc.hb
finish 0

### $ cat >/usr/local/lib/ask-svc <<'END'
mkdir /tmp/web
pages /tmp/web 8080
begin
await grep -q '"status":"starting"' /run/vigil/hb/svc.hb
touch /tmp/web/healthz
await grep -q '"status":"ok"' /run/vigil/hb/svc.hb
finish 0

### $ tail -F /var/log/svc.log | hbsend -stdin svc:1m -withhold /run/vigil/hb/svc.hb
: >/var/log/svc.log
begin
await grep -q '"status":"starting"' /run/vigil/hb/svc.hb
echo a line >>/var/log/svc.log
await grep -q '"status":"ok"' /run/vigil/hb/svc.hb
finish 0

### $ hbsend -create -owner svc /run/vigil/hb/svc.hb
begin
await grep -q '"status":"ok"' /run/vigil/hb/svc.hb
[ "$(stat -c %U%a /run/vigil/hb /run/vigil/hb/svc.hb | tr '\n' ' ')" = 'root755 svc644 ' ] || fail "$(ls -la /run/vigil/hb)"
pid=$(sed -n 's/.*"pid":\([0-9]*\).*/\1/p' /run/vigil/hb/svc.hb)
has "/proc/$pid/status" '^Uid:.500.500.500'
finish 0

### $ (umask 077; od -An -vtx1 -N32 /dev/urandom | tr -d ' \n' >svc.key)
begin
await hbwatch -once -key svc.key /run/vigil/hb/svc.hb
has /run/vigil/hb/svc.hb '"sig":"[0-9a-f]{64}"'
! hbwatch -once -key /dev/null /run/vigil/hb/svc.hb || fail 'any key will do'
finish 0

### $ mkfifo -m 620 /run/vigil/in
begin
await test -p /run/vigil/in
await sh -c 'echo "{\"seq\":12,\"status\":\"OK\"}" >/run/vigil/in; sleep 0.2; grep -q "\"via\":{\"id\":\"\",\"seq\":12\|\"via\":{\"seq\":12" /run/vigil/hb/far.hb'
going
