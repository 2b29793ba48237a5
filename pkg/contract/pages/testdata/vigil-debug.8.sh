#!/bin/sh
# The examples of vigil-debug(8).

### gdb strace $ vigil-debug web
service web
sender web -pidfile /run/web.pid -hold /run/vigil/hold
watcher -timeout 4s
await grep -q '"to":"alive"' /run/vigil/events
typing
type 1
await grep -q '(gdb)' /t/out
printf 'bt 1\nquit\n' >&9
await grep -q '"event":"hold_end"' /run/vigil/events
has /t/out '^(\(gdb\) )*#0 .*nanosleep'
type 1
await grep -q 'strace: Process [0-9]* attached' /t/err
kill "$(cat /run/web.pid)"
service web
await grep -q "\"pid\":$(cat /run/web.pid),.*\"status\":\"ok\"" /run/vigil/hb/web.hb
type 1
await grep -q '^State:.T' "/proc/$(cat /run/web.pid)/status"
typed
has "/proc/$(cat /run/web.pid)/status" '^State:.S'
# Whoever released the last one was no child of what it held for.
released() { [ "$(grep -c '"event":"hold_end"' /run/vigil/events)" -eq 3 ]; }
await released
lacks /run/vigil/events '"to":"dead"'
