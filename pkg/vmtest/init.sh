#!/bin/sh
# The first process of a test's machine: it makes the file systems, runs the
# script of the test and powers off. What the script may use is defined here.
export PATH=/bin:/t

# log TEXT: a line on the console, with the time since the machine was booted.
log() {
	read -r up _ </proc/uptime
	echo "[$up] $*"
}

# stamp logs each line that it reads.
stamp() { while IFS= read -r line; do log "$line"; done; }

# die TEXT: ends the script, which the test sees by the console.
die() {
	log "FAIL $*"
	exit 1
}

# await COMMAND: until it succeeds, for at most ten minutes of the guest's time.
await() {
	tries=0
	until "$@"; do
		tries=$((tries + 1))
		[ "$tries" -lt 6000 ] || die "not in time: $*"
		sleep 0.1
	done
}

# forever waits for the end of the machine, and shows that it still runs.
forever() {
	while :; do
		log tick
		sleep 0.1
	done
}

# disk mounts what survives a reset, and makes a file system the first time.
disk() {
	for module in nd_e820 nd_pmem nls_cp437 nls_ascii vfat; do
		modprobe "$module"
	done
	await test -b /dev/pmem0
	mount -t vfat -o umask=022 /dev/pmem0 /disk 2>/dev/null && return
	mkdosfs /dev/pmem0 && mount -t vfat -o umask=022 /dev/pmem0 /disk
}

# in_vm is false anywhere but in the machine that this very test has booted.
in_vm() {
	[ "$$" -eq 1 ] && read -r cmdline </proc/cmdline && read -r token </t/token &&
		case " $cmdline " in *" vigil.vm=$token "*) ;; *) false ;; esac
}

main() {
	busybox=/bin/busybox
	for kind in proc:proc sysfs:sys devtmpfs:dev tmpfs:tmp tmpfs:run; do
		$busybox mount -t "${kind%:*}" "${kind%:*}" "/${kind#*:}"
	done
	$busybox --install -s /bin
	log booted
	(
		in_vm || die 'this is no machine of a test'
		! grep -qs '^vfat' /lib/modules/*/modules.dep || disk || die 'no disk'
		# shellcheck disable=SC1091 # the test brings it
		cd /t && . ./script
	) 2>&1
	log "script ended with $?"
	sync
	poweroff -f
}

# A copy of this file that is run on a machine with another first process must
# not begin to mount things.
[ "$$" -ne 1 ] || main
