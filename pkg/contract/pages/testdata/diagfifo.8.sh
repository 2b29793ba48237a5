#!/bin/sh
# The examples of diagfifo(8).

### $ diagfifo -pidfile /run/web.pid -hold /run/vigil/hold /run/vigil/ctl/web &
service web
mkdir /run/vigil/ctl/web
typing
type 1
await test -p /run/vigil/ctl/web/ctl
type 1
await test -s /run/vigil/ctl/web/last
typed
has /t/out "^- ok .*pid=$(cat /run/web.pid) "

### $ diagfifo send /run/vigil/ctl/web threads
service web
server web
example
has /t/out 'sleep'

### $ diagfifo -pidfile /run/web.pid -out /var/lib/vigil/dump /run/vigil/ctl/web &
service web
mkdir /run/vigil/ctl/web /var/lib/vigil/dump
typing
type 1
await test -p /run/vigil/ctl/web/ctl
type 1
await sh -c 'ls /var/lib/vigil/dump | grep json'
typed
has /t/out "^web_$(cat /run/web.pid)_.*\.json$"

### $ diagfifo -pid 4711 -group staff -socket -cores /var/lib/vigil/core /run/vigil/ctl/web &
numbered 4711 sleep 100000
mkdir /run/vigil/ctl/web /var/lib/vigil/core
typing
type 1
await test -S /run/vigil/ctl/web/s
[ "$(stat -c %G /run/vigil/ctl/web/ctl)" = staff ] || fail "$(ls -l /run/vigil/ctl/web)"
typed
has /t/out '^ok pid=4711 file=/var/lib/vigil/core/.*core$'
ls /var/lib/vigil/core/*.core

### $ diagfifo sample -pidfile /run/web.pid for=10s | flame-graph >web.svg
service web
example
has web.svg '</svg>'
has web.svg nanosleep

### gdb $ line=$(diagfifo hold -dir /run/vigil/hold -wait hbwatch,wdping web 20m gdb) &&
service web
sender web
watcher
wdping -device none -fresh /run/vigil/hb/web.hb=30s -hold /run/vigil/hold >/t/wdping 2>&1 &
await test -e /run/vigil/hold/_reader.wdping -o -s /t/wdping
example
[ ! -e /run/vigil/hold/web.hold ] || fail 'it was not released'
has /run/vigil/events '"event":"hold"'
