#!/bin/sh
# The examples of vigil-doctor(8).

### $ vigil-doctor
# This machine has no watchdog, for one.
example 1
has /t/out '^hbsend .* ok'
has /t/out '^wdping .* no'

### $ vigil-doctor -q host hbsend hbwatch diagfifo
code=0
sh /t/example >/t/out || code=$?
[ "$code" -le 1 ] || fail "code $code"
vigil-doctor -t host hbsend hbwatch diagfifo >/t/all || :
cat /t/out /t/all
[ "$(grep -c '^[a-z]' /t/out)" -eq "$(awk -F '\t' '$3 == "no" || $3 == "limited"' /t/all | wc -l)" ] || fail 'not just what is wrong'

### $ vigil-doctor -t | awk -F '\t' '$3 == "no" { print $5 }'
example
has /t/out 'corecap (pattern|run) '
