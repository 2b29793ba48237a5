#!/bin/sh
# The examples of hold(5).

### $ line=$(diagfifo hold -dir /run/vigil/hold -wait hbwatch web 10m gdb) || exit
sender web
watcher
await grep -q '"to":"alive"' /run/vigil/events
example
has /t/out 'nonce=[0-9a-f]{32}'
[ ! -e /run/vigil/hold/web.hold ] || fail 'it was not released'
await grep -q '"event":"hold_end"' /run/vigil/events

### $ nonce=$(hb.sh hold /run/vigil/hold web 10m maintenance) || exit
example
[ ! -e /run/vigil/hold/web.hold ] || fail 'it was not released'

### $ cat /run/vigil/hold/*.hold
diagfifo hold -dir /run/vigil/hold web 10m gdb
example
has /t/out '"id":"web","by":".*","reason":"gdb","nonce":"[0-9a-f]{32}",.*"until_bt_ms":[0-9]+\}$'
