#!/bin/sh
# The examples of hb-forward(8).
# shellcheck disable=SC2034 # what prelude.sh reads

### $ (umask 077; od -An -vtx1 -N32 /dev/urandom | tr -d ' \n' >/etc/vigil/keys/north.web.key)
mkdir /etc/vigil/keys
example
[ "$(stat -c %a%s /etc/vigil/keys/north.web.key)" = 60064 ] || fail "$(ls -l /etc/vigil/keys)"

### $ vigil-run -i north.web -b -key=/etc/vigil/keys /usr/local/bin/web &
echo '127.0.0.1 watch.example.org' >>/etc/hosts
mkdir /etc/vigil/keys
(umask 077 && printf '%064d' 7 >/etc/vigil/keys/north.web.key)
program /usr/local/bin/web <<'END_OF_PROGRAM'
#!/bin/sh
exec sleep 100000
END_OF_PROGRAM
# Here: the far end has a /run of its own.
hb-forward -l -k /etc/vigil/keys 7007 >/t/here 2>&1 &
unshare --mount sh -ec 'mount -t tmpfs far /run; mkdir -p /run/vigil/hb /run/vigil/hold; exec sh /t/example' >/t/out 2>/t/err &
shell=$!
await hbwatch -once -key /etc/vigil/keys /run/vigil/hb/north.web.hb
going

### $ hb-forward -l -k /etc/vigil/keys 7007 &
mkdir /etc/vigil/keys
(umask 077 && printf '%064d' 7 >/etc/vigil/keys/north.web.key)
begin
unshare --mount sh -ec 'mount -t tmpfs far /run; mkdir -p /run/vigil/hb; hbsend -interval 250ms -key /etc/vigil/keys /run/vigil/hb/north.web.hb & exec hb-forward 127.0.0.1 7007 /run/vigil/hb' >/t/far 2>&1 &
await grep -q '"id":"north.web",.*"to":"alive"' /t/out
going

### $ hb-forward - /run/vigil/hb >/dev/ttyS1
mkfifo /dev/ttyS1
sender north.web
begin
head -n 1 /dev/ttyS1 >/t/line
has /t/line '"id":"north.web"'

### $ hb-forward -l -k /etc/vigil/keys - </dev/ttyS1
mkfifo /dev/ttyS1
mkdir /etc/vigil/keys
(umask 077 && printf '%064d' 7 >/etc/vigil/keys/north.web.key)
hbsend -interval 250ms -id north.web -key /etc/vigil/keys - >/dev/ttyS1 &
begin
await hbwatch -once -key /etc/vigil/keys /run/vigil/hb/north.web.hb
going

### $ ssh -n north hb-forward - /run/vigil/hb | hb-forward -l - north.web
stand_in ssh <<'END_OF_PROGRAM'
#!/bin/sh
[ "$1 $2" = '-n north' ] && shift 2 && exec unshare --mount sh -ec 'mount -t tmpfs far /run; mkdir -p /run/vigil/hb; hbsend -interval 250ms /run/vigil/hb/north.web.hb & exec "$@"' far "$@"
END_OF_PROGRAM
begin
await hbwatch -once /run/vigil/hb/north.web.hb
going

### $ hbsend -id north.web -pid 4242 - | hb-forward watch.example.org 7007 -
echo '127.0.0.1 watch.example.org' >>/etc/hosts
numbered 4242 sleep 100000
hb-forward -l 7007 north.web >/t/here 2>&1 &
begin
await grep -q '"via":{' /run/vigil/hb/north.web.hb
going
