#!/bin/sh
# Gives the first process of new namespaces a root of its own, and becomes INIT:
#   boot ROOT FILES CONSOLE ALONE READONLY GROUPS INIT [ARG ...]
# ROOT is an empty directory; what Config in host.go wants is not empty here.
set -eu

# readable shows files of the machine at the same place, to be read.
readable() {
	mkdir -p ".$1"
	mount --rbind "$1" ".$1"
	mount -o remount,bind,ro ".$1"
}

machine() {
	for dir in /usr/*; do
		[ "$dir" = /usr/local ] || [ ! -d "$dir" ] || readable "$dir"
	done
	for dir in /bin /lib /lib32 /lib64 /sbin; do
		if [ -L "$dir" ]; then
			cp -a "$dir" .
		elif [ -d "$dir" ]; then
			readable "$dir"
		fi
	done
	for name in alternatives ld.so.cache ld.so.conf ld.so.conf.d nsswitch.conf; do
		[ ! -e "/etc/$name" ] || cp -a "/etc/$name" etc
	done
}

devices() {
	mount -t tmpfs -o mode=755 dev dev
	mkdir dev/pts dev/shm
	for name in null zero full random urandom tty; do
		: >"dev/$name"
		mount --bind "/dev/$name" "dev/$name"
	done
	: >dev/console
	mount --bind "$1" dev/console
	mount -t devpts -o newinstance,ptmxmode=666,mode=620 devpts dev/pts
	mount -t tmpfs -o mode=1777 shm dev/shm
	ln -s pts/ptmx dev/ptmx
	ln -s /proc/self/fd dev/fd
}

# kernel: nothing of it can be set from here.
kernel() {
	mount -t proc proc proc
	for name in sys sysrq-trigger; do
		[ -e "proc/$name" ] || continue
		mount --bind "proc/$name" "proc/$name"
		mount -o remount,bind,ro "proc/$name"
	done
	mount -t sysfs -o ro sysfs sys
}

# control makes hierarchies of our own that begin where this process is.
control() {
	if [ "$(stat -f -c %T /sys/fs/cgroup)" != tmpfs ]; then
		mount -t cgroup2 cgroup sys/fs/cgroup
		return
	fi
	mount -t tmpfs cgroup sys/fs/cgroup
	mkdir sys/fs/cgroup/systemd sys/fs/cgroup/unified
	mount -t cgroup -o none,name=systemd cgroup sys/fs/cgroup/systemd
	mount -t cgroup2 cgroup sys/fs/cgroup/unified
}

main() {
	mount --make-rprivate /
	mount -t tmpfs -o mode=755 root "$1"
	cd "$1"
	mkdir -p bin dev etc proc run sys tmp usr var/lib var/log var/tmp
	chmod 1777 tmp var/tmp
	if [ -z "$4" ]; then
		rmdir bin
		machine
	fi
	cp -a "$2/." .
	mount -t tmpfs -o mode=755 run run
	ln -s /run var/run
	devices "$3"
	kernel
	[ -z "$6" ] || control
	mkdir .old
	pivot_root . .old
	readonly=$5
	shift 6
	cd /
	: >/run/booted
	hash -r # where the programs were
	umount -l .old
	rmdir .old
	[ -z "$readonly" ] || mount -o remount,ro /
	exec "$@" </dev/console >/dev/console 2>&1
}

main "$@"
