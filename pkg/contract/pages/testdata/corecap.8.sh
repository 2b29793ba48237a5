#!/bin/sh
# The examples of corecap(8).

### gdb $ corecap -o svc.core "$(cat /run/svc.pid)"
cp /bin/sleep /usr/local/sbin/svc
/usr/local/sbin/svc 100000 &
echo "$!" >/run/svc.pid
example
has /t/out 'Thread 1 '
has /t/out '^#0 '
kill -0 "$(cat /run/svc.pid)"

### $ corecap stacks 4242; sleep 1; corecap stacks 4242
numbered 4242 sleep 100000
example
[ "$(grep -c '^TID 4242' /t/out)" -eq 2 ] || fail 'not twice'

### $ corecap stacks 4242 | awk '$1 == "#0" { print $3 }' | sort | uniq -c
numbered 4242 sleep 100000
example
has /t/out '^ +1 [a-z_]*nanosleep'

### $ corecap -spool /var/lib/vigil/core -gzip -max-size 2G -why 'slow since noon' 4242
mkdir /var/lib/vigil/core
numbered 4242 sleep 100000
example
has /var/lib/vigil/core/sleep_4242_*.json 'slow since noon'
gzip -t /var/lib/vigil/core/sleep_4242_*.core.gz

### $ corecap -o - 4242 | gzip | ssh elsewhere 'cat >svc.core.gz'
stand_in ssh <<'END_OF_PROGRAM'
#!/bin/sh
[ "$1" = elsewhere ] && cd /tmp && exec sh -c "$2"
END_OF_PROGRAM
numbered 4242 sleep 100000
example
gunzip /tmp/svc.core.gz
corecap stacks /tmp/svc.core >/t/stacks
has /t/stacks '^TID 4242'

### $ mkdir -p -m 755 ~/.vigil/core
program /usr/local/bin/svc <<'END_OF_PROGRAM'
#!/bin/sh
kill -SEGV $$
END_OF_PROGRAM
example 139
ls "$HOME"/.vigil/core/*.core

### $ corecap prune -keep 3 -keep-bytes 2G /var/lib/vigil/core
mkdir /var/lib/vigil/core
numbered 4242 sleep 100000
for _ in 1 2 3 4; do
	corecap -spool /var/lib/vigil/core 4242
done
corecap -o - 4242 | gzip >svc.core.gz
example
[ "$(find /var/lib/vigil/core -name "*.json" | wc -l)" -eq 3 ] || fail "$(ls /var/lib/vigil/core)"
has /t/out '^TID 4242'

### vm $ mkdir -p /var/lib/vigil/core
# A core is not to fill a machine whose files are in memory.
echo keep-free 0 >/etc/vigil/corecap
example 1
has /proc/sys/kernel/core_pattern '^\|/usr/local/bin/corecap handler '
sleep 1000 &
kill -SEGV "$!"
await vigil-crashes
vigil-crashes >/t/out
has /t/out '(sleep|busybox) .*SIGSEGV'
