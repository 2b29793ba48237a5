#!/bin/sh
# The examples of vigil-crashes(8).

### $ vigil-crashes
mkdir /var/lib/vigil/core
for _ in 1 2; do
	code=0
	# shellcheck disable=SC2016 # for the shell that is to crash
	corecap run -spool /var/lib/vigil/core -- sh -c 'kill -SEGV $$' || code=$?
	[ "$code" -eq 139 ] || fail "a crash ended with $code"
done
example
[ "$(grep -c SIGSEGV /t/out)" -eq 3 ] || fail 'not two crashes, and the last again'
has /t/out 'gdb .*/var/lib/vigil/core/'
