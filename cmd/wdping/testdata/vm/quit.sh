#!/bin/sh
# SIGQUIT ends it as a fault of its own would: the device stays armed.
# shellcheck disable=SC2154 # what lib.sh and vm_test.go set
feed
sleep 3
kill -QUIT "$feeder"
code=0
wait "$feeder" || code=$?
[ "$code" -eq 2 ] || die "wdping ended with $code, want 2"
want /run/err '^SIGQUIT: quit'
state active
doom 3.5 5
