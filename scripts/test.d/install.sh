#!/bin/sh
# What has to be there, and is fetched. A part of scripts/test, which sources it.
# shellcheck disable=SC2154 # what test sets

# programs lists what the tests start, and the Debian package that brings it
# where that has another name.
programs() {
	cat <<END
aarch64-linux-gnu-gcc gcc-aarch64-linux-gnu
bash
busybox
cpio
dash
eu-stack elfutils
gcc
gdb
mandoc
mksh
mount
nc.openbsd netcat-openbsd
nc.traditional netcat-traditional
nginx
openrc
promtool prometheus
python3
qemu-mips qemu-user
qemu-system-aarch64 qemu-system-arm
qemu-system-x86_64 qemu-system-x86
readelf binutils
redis-check-rdb redis-tools
rpm2cpio
runsv runit
s6-svc s6
setpriv util-linux
shellcheck
shfmt
strace
systemctl systemd
xz xz-utils
zsh
END
}

# lacking prints the packages that would bring what is missing.
lacking() {
	programs | while read -r program package; do
		has "$program" || printf ' %s' "${package:-$program}"
	done
	[ -e /usr/include/pthread.h ] && [ -e /usr/aarch64-linux-gnu/include/pthread.h ] || printf ' libc6-dev libc6-dev-arm64-cross'
}

# prepare goes on when something cannot be had: the tests that need it are
# skipped and listed, or fail if it was promised.
prepare() {
	missing=$(lacking)
	[ -n "$missing" ] || return 0
	if [ "$install" = no ] || [ "$(id -u)" -ne 0 ] || ! has apt-get; then
		say "not installed (Debian packages):$missing"
		return 0
	fi
	say "installing:$missing"
	export DEBIAN_FRONTEND=noninteractive
	bounded 300 apt-get -q update >"$tmp/apt.log" 2>&1 || tail -n 3 "$tmp/apt.log"
	# One by one: a package that this release lacks must not keep out the rest.
	for package in $missing; do
		fetch "$package" >"$tmp/apt.log" 2>&1 ||
			say "apt-get install $package: $(tail -n 1 "$tmp/apt.log")"
	done
}

# fetch installs a package; of those that would start a service, one program.
fetch() {
	case $1 in
	nginx) program=usr/sbin/nginx ;;
	prometheus) program=usr/bin/promtool ;;
	*) bounded 600 apt-get -q -y -o DPkg::Lock::Timeout=120 install --no-install-recommends "$1" && return || return ;;
	esac
	(cd "$tmp" && bounded 600 apt-get -q -o APT::Sandbox::User=root download "$1") &&
		dpkg-deb -x "$tmp/$1"_*.deb "$tmp/deb" && install -m 755 "$tmp/deb/$program" /usr/local/bin/
}
