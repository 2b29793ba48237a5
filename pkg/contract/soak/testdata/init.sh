#!/bin/sh
# The machine of the soak: pmem0 is /disk, for the ledger; pmem1 is the spool.
# soak_test.go sets $seed and $length, and puts this text into a machine of its
# own; it runs nowhere else.
# shellcheck disable=SC2154,SC2086
in_vm || exit 111

# explain tells of what the machine was reset, by the ledger.
explain() { wdping -status -ledger /disk/ledger | stamp; }

modprobe i6300esb
await test -c /dev/watchdog
boots=$(cat /disk/boots 2>/dev/null || echo 0)
echo $((boots + 1)) >/disk/boots
sync
case $boots in
0) ;;
1)
	log 'after wdping was killed'
	explain
	mkdir -p /run/vigil/feed
	hbwatch -feed /run/vigil/feed/feed /run/vigil >/run/events &
	watcher=$!
	wdping -timeout 8s -fresh feed:/run/vigil/feed/feed=5s -ledger /disk/ledger | stamp &
	sleep 20
	log 'hbwatch is stopped'
	kill -STOP $watcher
	forever
	;;
*)
	log 'after hbwatch was stopped'
	explain
	exit
	;;
esac

chmod 755 / # the kernel runs what root alone can replace
mkdir -p /spool /run/vigil /var/lib/vigil
mount -t tmpfs -o size=8m,mode=755 run /run/vigil
for module in crc32c_generic libcrc32c ext4; do
	modprobe "$module"
done
await test -b /dev/pmem1
{ mke2fs -b 4096 /dev/pmem1 >/dev/null && mount -t ext4 /dev/pmem1 /spool; } || die 'no spool'
mkdir -p /spool/core
corecap pattern -set || die 'no handler'
chaos -seed $seed -length $length -services $services
