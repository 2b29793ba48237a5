#!/bin/sh
# The same stresses for other feeders, of which nothing is demanded.
# shellcheck disable=SC2154 # what lib.sh and vm_test.go set

# compare NAME COMMAND...: it feeds the device once a second until TERM.
compare() {
	name=$1
	shift
	"$@" >/run/out 2>/run/err &
	feeder=$!
	sleep 5
	# One puts itself into the background.
	[ ! -s /run/wd_keepalive.pid ] || feeder=$(cat /run/wd_keepalive.pid)
	kill -0 "$feeder" || die "$name: $(cat /run/err)"
	await active
	for kind in none cpu memory; do
		under "$kind" "$name" "$feeder"
	done
	kill -TERM "$feeder"
	await inactive
	rm -f /run/wd_keepalive.pid
}

active() { [ "$(cat "$sysfs/state")" = active ]; }

inactive() { ! active; }

cp /bin/busybox /bin/wd_keepalive /disk/
mkdir -p /var
ln -s /run /var/run
for realtime in no yes; do
	cat >"/run/$realtime.conf" <<-END
		watchdog-device = $node
		watchdog-timeout = 60
		interval = 1
		realtime = $realtime
		priority = 1
	END
done
compare wdping wdping -timeout 60s -interval 1s -exists x:/
compare wdping,-rt,1 wdping -timeout 60s -interval 1s -exists x:/ -rt 1
compare busybox,watchdog busybox watchdog -F -t 1 -T 60 "$node"
compare wd_keepalive wd_keepalive -c /run/no.conf
compare wd_keepalive,realtime wd_keepalive -c /run/yes.conf
