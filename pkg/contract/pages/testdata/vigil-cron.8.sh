#!/bin/sh
# The examples of vigil-cron(8).

### $ 15 3 * * *   vigil-cron -e 26h -t 2h -i backup /usr/local/sbin/backup /srv
edit 's/^[0-9*@\/]* .* [*] [*] *//; s/^@reboot *//'
program /usr/local/sbin/backup <<'END_OF_PROGRAM'
#!/bin/sh
[ "$1" = /srv ]
END_OF_PROGRAM
stand_in rsync <<'END_OF_PROGRAM'
#!/bin/sh
[ "$*" = '-a /srv/ /mnt/srv/' ]
END_OF_PROGRAM
lacks /t/example '[*@]'
example
hbwatch -once -ttl-max 200h /run/vigil/hb
has /run/vigil/hb/backup.hb '"ttl_ms":93600000'
has /run/vigil/hb/sync.hb '"ttl_ms":720000'

### $ cat /var/lib/vigil/cron/backup.failed
code=0
vigil-cron -e 26h -i backup sh -c 'echo the disk is full; exit 3' || code=$?
[ "$code" -eq 3 ] || fail "the job ended with $code"
example 2
has /t/out 'the disk is full'
has /t/out '^backup +failed'

### $ vigil-cron -e 26h -i backup -b -key=/etc/vigil/key -b -m-from=/run/backup.numbers backup
program /usr/local/bin/backup <<'END_OF_PROGRAM'
#!/bin/sh
echo files=42 >/run/backup.numbers
END_OF_PROGRAM
(umask 077 && printf '%064d' 7 >/etc/vigil/key)
example
has /run/vigil/hb/backup.hb '"files":42.*"sig":"'
hbwatch -once -key /etc/vigil/key /run/vigil/hb/backup.hb
