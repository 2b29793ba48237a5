#!/bin/sh
# The examples of vigil-drill(8).

### runit $ vigil-drill -n web
mkdir -p /etc/service/web
program /etc/service/web/run <<'END_OF_PROGRAM'
#!/bin/sh
echo $$ >/run/web.pid
exec sleep 100000
END_OF_PROGRAM
runsvdir /etc/service &
await test -s /run/web.pid
sender web -pidfile /run/web.pid
watcher -timeout 2s
await grep -q '"to":"alive"' /run/vigil/events
example
has /t/out "^stop "
lacks /t/out 'nobody'

### runit $ vigil-drill -y -f 16 web
umount /run/vigil 2>/dev/null || :
mount -t tmpfs -o size=8m,mode=755 run /run/vigil
mkdir /run/vigil/hb /run/vigil/hold
mkdir -p /etc/service/web /etc/service/beat
program /etc/service/web/run <<'END_OF_PROGRAM'
#!/bin/sh
echo $$ >/run/web.pid
exec sleep 100000
END_OF_PROGRAM
program /etc/service/beat/run <<'END_OF_PROGRAM'
#!/bin/sh
exec hbsend -interval 1s -pidfile /run/web.pid -hold /run/vigil/hold /run/vigil/hb/web.hb
END_OF_PROGRAM
runsvdir /etc/service &
await test -s /run/vigil/hb/web.hb
hbwatch -hold /run/vigil/hold -events /var/log/events /run/vigil/hb >/dev/null 2>/t/hbwatch &
await grep -q '"to":"alive"' /var/log/events
example
for fault in stop hog fill stop-hbsend kill-hbsend kill; do
	has /t/out "^$fault "
done
