#!/bin/sh
# The examples of diag.sh(8).

### $ diag.sh /run/vigil/ctl/web status
service web
server web
example
has /t/out "pid=$(cat /run/web.pid)"
has /t/out 'nonce='
has web.folded '^sleep;.* [0-9]+$'
has /run/vigil/hold/web.hold '"reason":"gdb by me"'

### $ . /usr/local/bin/diag.sh
service web
server web
example
has /t/out "pid=$(cat /run/web.pid)"
