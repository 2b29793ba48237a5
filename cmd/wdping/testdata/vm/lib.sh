#!/bin/sh
# What the scenarios share. Each of them is a file beside this one; vm_test.go
# puts it after this text, and before it what the machine has: $driver, $params.
# It runs in a machine of its own, and nowhere else: see vmtest's init.sh.
# shellcheck disable=SC2154 # what vm_test.go sets
in_vm || exit 111

node=/dev/watchdog
sysfs=/sys/class/watchdog/watchdog0
mkdir -p /run/hb /run/hold

# part NAME: what comes next, for a reader of the console.
part() { log "--- $*"; }

# beat shows life twice a second in /run/app, until still.
beat() {
	while :; do
		: >/run/app
		sleep 0.5
	done &
	beating=$!
	await test -e /run/app
}

still() { kill "$beating"; }

# start FLAGS...: wdping in the background.
start() {
	: >/run/out # at once, or told would see what the one before has told
	wdping "$@" >/run/out 2>/run/err &
	feeder=$!
}

# feed FLAGS...: wdping with a timeout of 4 s on a device that it has armed.
feed() {
	start -device "$node" -timeout 4s -interval 1s -fresh app:/run/app=2s "$@"
	until_told armed
}

told() { grep -qs "\"event\":\"$1\"" /run/out; }

# until_told EVENT: wdping has told it, or ends the scenario by ending too early.
until_told() {
	until told "$1"; do
		kill -0 "$feeder" 2>/dev/null || {
			said
			die "wdping ended before it told $1"
		}
		sleep 0.1
	done
}

# said shows what wdping has said so far.
said() {
	stamp </run/err
	stamp </run/out
}

# want FILE PATTERN: the file has such a line.
want() {
	grep -Eq -- "$2" "$1" && return
	stamp <"$1"
	die "$1: want $2"
}

# ended CODE PATTERN: wdping ends with this code, and has said so.
ended() {
	code=0
	wait "$feeder" || code=$?
	[ "$code" -eq "$1" ] && grep -Eq -- "$2" /run/err && return
	said
	die "wdping ended with $code, want $1 and $2"
}

# answer CODE PATTERN COMMAND...: it ends with this code, and says so on either output.
answer() {
	want_code=$1 pattern=$2
	shift 2
	code=0
	"$@" >/run/answer 2>&1 || code=$?
	[ "$code" -eq "$want_code" ] && grep -Eq -- "$pattern" /run/answer && return
	stamp </run/answer
	die "$*: ended with $code, want $want_code and $pattern"
}

# state WORD: of the device, by the kernel.
state() { [ "$(cat "$sysfs/state")" = "$1" ] || die "state $(cat "$sysfs/state"), want $1"; }

# alive SECONDS: so long the machine has to live.
alive() {
	sleep "$1"
	log "alive $1 s later"
}

# doom MIN MAX: the watchdog has to reset the machine in so many seconds; the
# test compares it with the last tick.
doom() {
	log "DUE $1 $2"
	forever
}

# shellcheck disable=SC2086 # parameters of the module
load() { modprobe "$driver" $params && await test -c "$node"; }

# On q35 the iTCO is found only with the bridge it is a part of.
case $driver in
iTCO_wdt)
	for module in i2c_i801 lpc_ich; do
		modprobe "$module"
	done
	;;
esac
load || die "$driver: no device"
beat
