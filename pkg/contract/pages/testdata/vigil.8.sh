#!/bin/sh
# The examples of vigil(8).

### $ cd /usr/local/bin && for tool in $(./vigil -list); do ln -sf vigil "$tool"; done
example
[ "$(readlink /usr/local/bin/hbsend)" = vigil ] || fail "$(ls -l /usr/local/bin)"
hbsend -once -ttl 1h /run/vigil/hb/web.hb
hbwatch -once /run/vigil/hb

### $ vigil hbwatch -once /run/vigil/hb
steady web
example
has /t/out '^web +alive'
