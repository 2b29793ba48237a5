#!/bin/sh
# The examples of heartbeat(5).

### $ hbwatch -once /run/vigil/hb/web.hb
steady web
example
has /t/out '^web +alive'

### $ sed 's/ *$//' /run/vigil/hb/web.hb
sender web
example
has /t/out '^\{"v":1,"id":"web",.*\}$'

### $ n=1
begin
await hbwatch -once /run/vigil/hb/job.hb
going
has /run/vigil/hb/job.hb '^\{"id":"job","seq":[0-9]+,"status":"ok"\}$'

### python3 $ python3 - /run/vigil/hb/web.hb <<'END'
hbsend -once -ttl 1h /run/vigil/hb/web.hb
example
[ "$(uniq -d /t/out | wc -l) $(wc -l </t/out)" = "1 2" ] || fail 'not alike'
has /t/out '^[0-9a-f]{8}$'
