#!/bin/sh
# What the sections of the other files may use. They run with sh -eu, as root, in
# a machine of their own: see doc.go. The example's text is /t/example; what it
# says comes into /t/out and /t/err.
# shellcheck disable=SC2034 # what sections use

# fail TEXT: the page is wrong, or the section.
fail() {
	printf 'FAIL: %s\n' "$*"
	for file in out err; do
		[ ! -s "/t/$file" ] || sed "s/^/$file: /" "/t/$file"
	done
	exit 1
}

# await COMMAND: until it succeeds, for at most two minutes.
await() {
	{ set +x; } 2>/dev/null
	tries=0
	until "$@" >/t/await 2>&1; do
		tries=$((tries + 1))
		[ "$tries" -lt 2400 ] || fail "not in time: $* $(tail -n 3 /t/await)"
		sleep 0.05
	done
	set -x
}

# has FILE PATTERN, lacks FILE PATTERN: a line that matches, or none.
has() { grep -Eq -- "$2" "$1" || fail "$1: has not: $2: $(head -c 2000 "$1")"; }
lacks() { ! grep -Eq -- "$2" "$1" || fail "$1: has: $2: $(head -c 2000 "$1")"; }

# example [CODE]: runs the example to its end, which has to be CODE, else 0.
example() {
	code=0
	sh /t/example >/t/out 2>/t/err </dev/null || code=$?
	[ "$code" -eq "${1:-0}" ] || fail "the example ended with $code, want ${1:-0}"
}

# begin: starts the example, which is one that goes on.
begin() {
	sh /t/example >/t/out 2>/t/err </dev/null &
	shell=$!
}

# going: the example, which has been begun, goes on.
going() { kill -0 "$shell" || fail 'the example has ended'; }

# finish CODE: ends what the example has begun in the foreground, as its user
# would, and wants the code.
finish() {
	going
	children=$(grep -ls "^PPid:[[:space:]]*$shell\$" /proc/[0-9]*/status || :)
	for status in ${children:-"/proc/$shell/status"}; do
		pid=${status%/status}
		kill -TERM "${pid#/proc/}"
	done
	ends "$1"
}

# typing, type N ..., typed [CODE]: the example is typed, N lines at a time, into
# a shell, which has to leave with CODE, else 0.
typing() {
	mkfifo /t/keys
	sh </t/keys >/t/out 2>/t/err &
	shell=$!
	exec 8</t/example 9>/t/keys
}

type() {
	count=$1
	while [ "$count" -gt 0 ]; do
		IFS= read -r line <&8 || fail "the example has no more lines"
		printf '%s\n' "$line" >&9
		count=$((count - 1))
	done
}

typed() {
	cat <&8 >&9
	# An end of file is none while something else has the FIFO open, too.
	echo exit >&9
	exec 9>&-
	ends "${1:-0}"
}

# ends CODE: the example, which has been begun, ends by itself.
ends() {
	code=0
	wait "$shell" || code=$?
	[ "$code" -eq "$1" ] || fail "the example ended with $code, want $1"
}

# script FILE: the example is an executable file.
script() { install -D -m 755 /t/example "$1"; }

# service ID: a process that sleeps, with /run/ID.pid.
service() {
	sleep 100000 &
	printf '%s\n' "$!" >"/run/$1.pid"
}

# numbered PID COMMAND: runs it in the background as process PID.
numbered() {
	number=$1
	shift
	echo "$((number - 1))" >/proc/sys/kernel/ns_last_pid
	"$@" &
	[ "$!" -eq "$number" ] || fail "process $! instead of $number"
}

# sender ID [FLAGS]: beats for ID four times a second.
sender() {
	id=$1
	shift
	hbsend -interval 250ms "$@" "/run/vigil/hb/$id.hb" 2>"/t/hbsend.$id" &
	sender=$!
	await test -s "/run/vigil/hb/$id.hb"
}

# steady ID, fleeting ID: one beat for ID, after which it is alive for an hour, for
# a second. However slow the machine is, a look sees the one alive, and soon the
# other one dead.
steady() { hbsend -once -ttl 1h "/run/vigil/hb/$1.hb"; }
fleeting() { hbsend -once -ttl 1s "/run/vigil/hb/$1.hb"; }

# watcher [FLAGS]: watches all that beats, with the events in /run/vigil/events.
watcher() {
	hbwatch -hold /run/vigil/hold "$@" /run/vigil/hb >/run/vigil/events 2>/t/hbwatch &
	watcher=$!
}

# server ID [FLAGS]: serves /run/vigil/ctl/ID for the process of /run/ID.pid.
server() {
	id=$1
	shift
	diagfifo -pidfile "/run/$id.pid" -hold /run/vigil/hold "$@" "/run/vigil/ctl/$id" 2>"/t/diagfifo.$id" &
	server=$!
	await test -p "/run/vigil/ctl/$id/ctl"
}

# beats FILE: there are beats, one after the other.
beats() {
	await test -s "$1"
	first=$(seq_of "$1")
	await later "$first" "$1"
}

later() { [ "$(seq_of "$2")" -gt "$1" ]; }

seq_of() {
	number=$(sed -n 's/.*"seq":\([0-9]*\).*/\1/p' "$1")
	echo "${number:-0}"
}

# state ID WORD: what hbwatch -once says of it.
state() { hbwatch -once -json "/run/vigil/hb/$1.hb" | grep -q "\"state\":\"$2\""; }

# program FILE: makes an executable file of standard input: one of the user's own.
program() {
	cat >"$1"
	chmod 755 "$1"
}

# pages DIR PORT: serves its files by HTTP.
pages() { busybox httpd -p "$2" -h "$1"; }

# stand_in NAME: a program that cannot be had, from standard input. edit SED: the
# example, altered. Both are listed in standIns with the reason.
stand_in() { program "/usr/local/bin/$1"; }
edit() { sed -i "$1" /t/example; }
