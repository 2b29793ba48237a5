#!/bin/sh
# What is no watchdog, or cannot be asked of one: a line, a code, nothing armed.
# shellcheck disable=SC2154 # what lib.sh and vm_test.go set
T=2s
refused() {
	code=$1 pattern=$2
	shift 2
	answer "$code" "$pattern" wdping "$@"
	[ "$(wc -l </run/answer)" -eq 1 ] || [ "$code" -eq 100 ] || {
		stamp </run/answer
		die 'more than one line'
	}
	state inactive
}
mkfifo /run/fifo
: >/run/file
ln -s /nowhere /run/dangling
ln -s /dev/watchdog /run/link
mknod /run/gone c 249 7
mknod /run/unloaded c 10 77
: >/run/open
chmod 666 /run/open

part 'no watchdog'
refused 100 '^wdping: error: /run/fifo: is a FIFO' -device /run/fifo -fresh app:/run/app=$T
refused 100 '^wdping: error: /run/file: is a regular file' -device /run/file -fresh app:/run/app=$T
refused 100 '^wdping: error: /run: is a directory' -device /run -fresh app:/run/app=$T
refused 111 '^wdping: error: /run/dangling: dangling symbolic link to /nowhere' -device /run/dangling -fresh app:/run/app=$T
refused 111 '^wdping: error: /run/missing: stat: no such file' -device /run/missing -fresh app:/run/app=$T
refused 111 '/run/gone: no driver behind device 249:7' -device /run/gone -fresh app:/run/app=$T
refused 111 '/run/unloaded: no driver behind device 10:77' -device /run/unloaded -fresh app:/run/app=$T
refused 100 '/dev/null: is no watchdog: device 1:3 is null' -device /dev/null -fresh app:/run/app=$T
refused 100 '/dev/ttyS0: is no watchdog: device 4:64 is ttyS0' -device /dev/ttyS0 -fresh app:/run/app=$T
answer 0 '^state: inactive' wdping -status -device /run/link

part 'no such timeout'
refused 100 'takes 1s to 18h12m15s' -timeout 70000s -fresh app:/run/app=$T
refused 100 'whole seconds' -timeout 500ms -fresh app:/run/app=$T
refused 100 'whole seconds' -timeout 1500ms -fresh app:/run/app=$T
refused 100 'at most a third' -timeout 4s -interval 2s -fresh app:/run/app=$T
refused 100 'pretimeout' -timeout 4s -pretimeout 4s -fresh app:/run/app=$T

part 'no such ledger'
refused 111 '/run: ' -ledger /run -fresh app:/run/app=$T
refused 111 '/proc/version: ' -ledger /proc/version -fresh app:/run/app=$T
refused 111 '/nowhere/ledger: ' -ledger /nowhere/ledger -fresh app:/run/app=$T

part 'no such condition'
refused 100 'no condition'
refused 111 '/run/open: .*mode 0666' -fresh app:/run/open=$T
start -timeout 4s -grace 2s -fresh never:/run/never=$T
until_told starving
want /run/err 'starving: never: missing'
state inactive
kill -TERM "$feeder"
ended 0 .

part 'nothing of all this has armed it'
alive 70
