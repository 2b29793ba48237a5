#!/bin/sh
# What vigil-doctor says of a machine, and that it leaves it as it was.
# shellcheck disable=SC2154 # what init.sh sets

# says EXIT PATTERN COMMAND...: it ends so and prints a line like that.
says() {
	want=$1 pattern=$2 got=0
	shift 2
	"$@" >/tmp/said 2>&1 || got=$?
	[ "$got" -eq "$want" ] || die "$*: exit status $got, want $want: $(cat /tmp/said)"
	grep -q "$pattern" /tmp/said || die "$*: no $pattern in: $(cat /tmp/said)"
}

# printed PATTERN: in what was said last, too.
printed() { grep -q "$1" /tmp/said || die "no $1 in: $(cat /tmp/said)"; }

set -eu
user() { su -s /bin/sh user -c "PATH=$PATH exec vigil-doctor -t $*"; }

echo user:x:1000:1000::/home/user:/bin/sh >/etc/passwd
echo root:x:0:0::/:/bin/sh >>/etc/passwd
echo user:x:1000: >/etc/group
mkdir -p /home/user/.vigil/run/hb /home/user/.vigil/run/hold /home/user/.vigil/run/ctl /run/vigil/hb /run/vigil/hold /run/vigil/ctl
chown -R user:user /home/user
chmod 1777 /tmp

log 'a machine without a watchdog'
says 1 'wdping	/dev/watchdog	no	there is none' vigil-doctor -t
printed 'hbsend	a beat	ok'
printed 'hbwatch	a hook	ok'
printed 'diagfifo	stacks	ok'
printed 'corecap	a live process	ok'
printed 'corecap	precopy	limited	.*Linux 6.1'
printed 'corecap	run	ok'
printed 'scripts	programs	ok'
printed 'scripts	hb.sh	ok'
printed 'scripts	diag.sh	ok'
printed 'scripts	vigil-debug	limited	no gdb'
[ "$(grep -c '	no	' /tmp/said)" -le 2 ] || die "more than watchdog and crashes: $(cat /tmp/said)"

log 'its watchdog, and who holds it'
modprobe softdog
says 0 'watchdog0	ok	free: identity Software Watchdog, state inactive' vigil-doctor -t wdping
[ "$(cat /sys/class/watchdog/watchdog0/state)" = inactive ] || die 'the doctor armed it'
says 1 'watchdog0	no	/dev/watchdog0: uid 1000 may not write' user wdping
wdping -q -exists x:/ >/dev/null &
await grep -q '^active' /sys/class/watchdog/watchdog0/state
says 0 "watchdog0	ok	pinged by wdping (pid $!)" vigil-doctor -t wdping
says 0 'watchdog0	limited	armed, and who holds it is not seen' user wdping
kill "$!"
await grep -q '^inactive' /sys/class/watchdog/watchdog0/state
exec 9>/dev/watchdog
says 1 'watchdog0	no	held by .* (pid 1' vigil-doctor -t wdping
printf V >&9
exec 9>&-

log 'Yama'
echo 1 >/proc/sys/kernel/yama/ptrace_scope
says 1 'diagfifo	stacks	no	.*	as root: sysctl -w kernel.yama.ptrace_scope=0' user diagfifo
says 0 'diagfifo	stacks	ok' vigil-doctor -t diagfifo
echo 0 >/proc/sys/kernel/yama/ptrace_scope
says 0 'diagfifo	stacks	ok' user diagfifo
echo 3 >/proc/sys/kernel/yama/ptrace_scope
says 1 'corecap	a live process	no	.*	boot without kernel.yama.ptrace_scope=3' vigil-doctor -t corecap
printed 'corecap	run	no	'

log 'nothing is left'
[ -z "$(find / -xdev -name '.vigil-doctor*' -o -path /proc -prune -false)" ] || die 'left behind'
! pidof sleep hbwatch diagfifo wdping || die 'left running'
