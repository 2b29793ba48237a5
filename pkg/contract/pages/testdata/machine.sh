#!/bin/sh
# machine.sh ROOT STAGE FILES: makes a small machine in the empty directory ROOT
# and runs FILES/script in it. It wants to be the first process of namespaces of
# its own (mount, pid, net, ipc, uts). STAGE is an installation, FILES become /t.
set -eu

# device NAME MAJOR MINOR: no node but these, least of all a watchdog.
device() { mknod -m 666 "dev/$1" c "$2" "$3"; }

devices() {
	mkdir -p dev/pts dev/shm
	device null 1 3
	device zero 1 5
	device full 1 7
	device random 1 8
	device urandom 1 9
	device tty 5 0
	mount -t devpts -o newinstance,ptmxmode=666 devpts dev/pts
	ln -s pts/ptmx dev/ptmx
	ln -s /proc/self/fd dev/fd
	chmod 1777 dev/shm
}

# system takes the machine's programs, which cannot be written.
system() {
	for dir in bin sbin lib lib32 lib64 libx32; do
		if [ -L "/$dir" ]; then
			cp -P "/$dir" "$dir"
		elif [ -d "/$dir" ]; then
			mkdir "$dir"
			mount --bind -o ro "/$dir" "$dir"
		fi
	done
	mkdir usr
	mount --bind -o ro /usr usr
	mount --bind "$1/usr/local" usr/local
}

# settings are few, and our own; /etc/alternatives is where Debian has awk.
settings() {
	mkdir -p etc/vigil
	cp -a /etc/alternatives /etc/ld.so.* etc/ 2>/dev/null || :
	printf '%s\n' root:x:0:0:root:/root:/bin/sh svc:x:500:500::/nonexistent:/bin/sh >etc/passwd
	printf '%s\n' root:x:0: staff:x:50: svc:x:500: >etc/group
	printf '127.0.0.1 localhost\n' >etc/hosts
}

# kernel shows the processes. What it lets be set is the whole machine's, but
# for the number of the next process.
kernel() {
	mkdir proc
	mount -t proc proc proc
	mount --bind proc/sys proc/sys
	[ ! -e proc/sys/kernel/ns_last_pid ] || mount --bind proc/sys/kernel/ns_last_pid proc/sys/kernel/ns_last_pid
	mount -o remount,bind,ro proc/sys
}

main() {
	umask 022
	mount --make-rprivate /
	mount -t tmpfs -o mode=755 machine "$1"
	# An installation of its own: examples write there.
	mkdir -p "$1/stage"
	cp -a "$2/usr" "$1/stage/"
	files=$(cd "$3" && pwd)
	cd "$1"
	devices
	system "$PWD/stage"
	settings
	kernel
	mkdir -p usr/local/lib usr/local/sbin run/vigil/hb run/vigil/hold run/vigil/ctl var/lib/vigil var/log tmp root t
	chmod 1777 tmp
	cp "$files"/* t/
	# What busybox can do as well as a package that may be absent.
	command -v wget >/dev/null || ln -s ../../../bin/busybox usr/local/bin/wget
	hostname machine
	# busybox has it, and iproute2 may be absent.
	busybox ip link set lo up
	exec env -i PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin HOME=/root TERM=dumb LC_ALL=C.UTF-8 \
		chroot . /bin/sh -euc 'cd /root; . /t/script'
}

main "$@"
