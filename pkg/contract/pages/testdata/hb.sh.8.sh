#!/bin/sh
# The examples of hb.sh(8).

### $ . hb.sh
program /usr/local/bin/work <<'END_OF_PROGRAM'
#!/bin/sh
n=$(cat /run/works 2>/dev/null || echo 0)
echo "$((n + 1))" >/run/works
cp /run/vigil/hb/svc.hb "/run/beat.$n" 2>/dev/null
[ "$n" -lt 2 ]
END_OF_PROGRAM
export queue=17
example
has /run/beat.2 '"interval_ms":30000,.*"status":"ok","m":{"queue":17}'
has /run/vigil/hb/svc.hb '"status":"stopping"'

### $ backup && hb.sh beat -t 26h /run/vigil/hb/backup.hb
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

### $ (umask 077; od -An -v -tx1 -N32 /dev/urandom | tr -d ' \n' >svc.key)
begin
await hbwatch -once -key svc.key /run/vigil/hb/svc.hb
has /run/vigil/hb/svc.hb '"sig":"[0-9a-f]{64}"'
finish 0

### gdb $ n=$(hb.sh hold /run/vigil/hold svc 10m gdb) || exit
service svc
sender svc
watcher
wdping -device none -fresh /run/vigil/hb/svc.hb=30s -hold /run/vigil/hold >/t/wdping 2>&1 &
await grep -q '"to":"alive"' /run/vigil/events
await test -s /t/wdping
pid=$(cat /run/svc.pid)
export pid
example
[ ! -e /run/vigil/hold/svc.hold ] || fail 'it was not released'
has /t/out 'Attaching to process\|(gdb)|nanosleep'
has /run/vigil/events '"event":"hold"'
