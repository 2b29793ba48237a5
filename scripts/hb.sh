#!/bin/sh
# Sends heartbeats and takes holds where there is nothing but a shell: as a
# command (hb.sh beat ...) or as functions for a script (. hb.sh; hb_beat ...).
#
# Read by another script it only defines functions, all named hb_*, those for
# scripts as subshells, so that they change nothing of their caller. It is a
# command when it is started under the name of hb.sh.
#
# mksh counts in 32 bits, hence seconds and milliseconds kept apart, and its
# printf is a program of its own, to which no key may be given.
#
# long: it is copied to a machine, and read by a script, as one file.

# Each function for scripts is a subshell, and counts on no other's variables.
# shellcheck disable=SC2030,SC2031

hb__usage() {
	cat <<'END'
usage: hb.sh beat|run [flags] FILE.hb
       hb.sh hold DIR ID TTL [REASON ...]
       hb.sh renew DIR ID NONCE TTL
       hb.sh release DIR ID NONCE
       hb.sh wait [-t TIME] DIR ID NONCE TOOL ...

beat sends one heartbeat, run one in each interval until it is told to end.
hold excuses the silence of ID for TTL and prints the nonce that renews and
releases it; wait returns when each TOOL has acknowledged the hold. Scripts
read this file (. hb.sh) and call hb_beat, hb_hold, hb_renew, hb_release and
hb_wait with the same arguments.

flags of beat and run:
  -i TIME        the next beat comes within this (default 5s; none with -t)
  -k FILE        sign with the key in FILE, or in FILE/ID.key if it is a directory
  -M TEXT        a message to send
  -m NAME=VALUE  a number to send; up to 16 times
  -p PID         the process it speaks of (default: the caller; 0 for none)
  -s WORD        ok (default), starting, degraded, error, stopping or held
  -t TIME        ask to be called dead after this much silence
flag of wait:
  -t TIME        wait this long at most (default 10s)
TIME has a unit, as in 500ms, 5s, 1h30m; a bare number counts milliseconds.

exit status: 0 done; 1 held by somebody else, not held by that nonce, or not
acknowledged in time; 100 wrong usage; 111 the system refused
END
}

hb__say() {
	text=$*
	case $text in
	*[!\ -~]*) text=$(printf %s "$text" | tr -c '\040-\176' '?') ;;
	esac
	printf 'hb.sh: error: %s\n' "$text" >&2
}

hb__die() {
	code=$1
	shift
	hb__say "$@"
	exit "$code"
}

hb__misuse() {
	hb__say "$@"
	printf 'usage: hb.sh beat|run|hold|renew|release|wait ... (-h explains)\n' >&2
	exit 100
}

# hb__guard sees to it that no end leaves something behind.
hb__guard() {
	tmp='' busy=''
	trap '[ -z "$tmp" ] || rm -f "$tmp"; [ -z "$busy" ] || rmdir "$busy"' EXIT
	trap 'exit 129' HUP
	trap 'exit 130' INT
	trap 'exit 143' TERM
}

# hb__begin makes a copy of the caller's shell fit for what follows. What holds
# the key must not be exported, as set -a or a variable of that name in the
# environment would do.
hb__begin() {
	set +aefvC
	unset IFS TIME_STYLE BLOCK_SIZE LS_BLOCK_SIZE BLOCKSIZE hex inner outer octets
	export LC_ALL=C
	umask 022
	hb__guard
}

# hb__id ID: is it one?
hb__id() {
	case $1 in
	'' | [.-]* | *[!A-Za-z0-9._-]*) return 1 ;;
	esac
	[ ${#1} -le 64 ]
}

# hb__trim DIGITS: without leading zeros into $number.
hb__trim() {
	number=${1#"${1%%[!0]*}"}
	number=${number:-0}
}

# hb__join SECONDS MILLISECONDS: as milliseconds into $number.
hb__join() {
	set -- $(($1 + $2 / 1000)) $(($2 % 1000 + 1000))
	hb__trim "$1${2#1}"
}

# hb__time WHAT TEXT: a length of time into $s and $ms, and into $number. The
# bounds keep each sum within 32 bits.
hb__time() {
	s=0 ms=0 left=$2
	case $left in
	*[!0-9]*) ;;
	*) left=${left}ms ;;
	esac
	while [ ${#2} -le 16 ] && [ -n "$left" ]; do
		digits=${left%%[!0-9]*}
		left=${left#"$digits"}
		hb__trim "$digits"
		case ${#digits}$left in
		[1-9]ms*) left=${left#ms} s=$((s + number / 1000)) ms=$((ms + number % 1000)) ;;
		[1-9]s*) left=${left#s} s=$((s + number)) ;;
		[1-7]m*) left=${left#m} s=$((s + number * 60)) ;;
		[1-5]h*) left=${left#h} s=$((s + number * 3600)) ;;
		*) break ;;
		esac
	done
	case $s$ms$left in
	00 | *[!0-9]*) hb__misuse "$1 $2: want a time such as 500ms, 5s, 2m, 1h30m" ;;
	esac
	hb__join "$s" "$ms"
}

# hb__uuid NAME: 32 digits of a file that holds a uuid into $uuid.
hb__uuid() {
	IFS=- read -r uuid b c d e <"/proc/sys/kernel/random/$1" || hb__die 111 '/proc: not mounted'
	uuid=$uuid$b$c$d$e
}

# hb__now: CLOCK_BOOTTIME into $up and $up_ms, the boot into $boot.
hb__now() {
	hb__uuid boot_id
	boot=$uuid
	read -r up _ </proc/uptime
	up_ms=$((1${up#*.}0 - 1000)) up=${up%.*}
}

# hb__octal rwxrwxrwx: the mode in octal digits into $octal.
hb__octal() {
	set -- "$1" 4 0 ''
	while [ "$2" -gt 0 ]; do
		n=0
		case $1 in r*) n=4 ;; esac
		case $1 in ?w*) n=$((n + 2)) ;; esac
		case $1 in ??[xst]*) n=$((n + 1)) ;; esac
		case $1 in
		??[sStT]*) set -- "${1#???}" $(($2 / 2)) $(($3 + $2)) "$4$n" ;;
		*) set -- "${1#???}" $(($2 / 2)) "$3" "$4$n" ;;
		esac
	done
	octal=$3$4
}

# hb__enter DIR NAME: makes DIR the working directory, so that nobody can put
# another in its place, and sees whether it is trusted. $kind and $size tell of
# NAME in it: - for a regular file, empty for none.
hb__enter() {
	path=${1%/}/$2
	case $1 in
	/*) set -- "$1" "$2" "$1" ;;
	*) set -- "$1" "$2" "./$1" ;; # neither an option nor cd's -
	esac
	if ! cd -P "$3" 2>/dev/null; then
		[ -e "$3" ] || hb__die 111 "$1: open directory: no such file or directory"
		[ -d "$3" ] || hb__die 111 "$1: open directory: not a directory"
		# It may have come meanwhile.
		cd -P "$3" 2>/dev/null || hb__die 111 "$1: open directory: permission denied"
	fi
	# shellcheck disable=SC2046 # the fields of two lines
	set -- "$1" $(ls -ldn . "$2" 2>/dev/null)
	[ $# -ge 10 ] || hb__die 111 "$1: stat: ls tells nothing"
	[ "$4" = 0 ] || [ "$4" = "$(id -u)" ] ||
		hb__die 111 "$1: directory belongs to uid $4, want root or uid $(id -u): not trusted"
	case $2 in
	d????-??-*) ;;
	*)
		hb__octal "${2#d}"
		hb__die 111 "$1: directory has mode $octal, want no write right for group and others: not trusted"
		;;
	esac
	kind=${11-} size=${15-}
	kind=${kind%"${kind#?}"}
}

# hb__line NAME: its first line into $line, if it can be a record.
hb__line() {
	line=''
	case $kind${#size} in
	-[1-3]) ;;
	-4) [ "$size" -le 4096 ] || return 1 ;;
	*) return 1 ;;
	esac
	{ IFS= read -r line <"$1"; } 2>/dev/null
}

# hb__member KEY: the value of a member of $line into $value. Quotes inside a
# string are escaped: none can look like a member.
hb__member() {
	case $line in
	*"\"$1\":"*) value=${line#*"\"$1\":"} ;;
	*) value='' && return 1 ;;
	esac
	case $value in
	\"*) value=${value#?} value=${value%%\"*} ;;
	*) value=${value%%[!0-9]*} ;;
	esac
}

# hb__fail VERB TEXT: what was refused, and why: the end of what a program said.
hb__fail() {
	hb__die 111 "$path: $1: $(printf %s "${2##*: }" | tr '[:upper:]' '[:lower:]')"
}

# hb__put: $text as a line into the new file $tmp.
hb__put() {
	{ printf '%s\n' "$text" >"$tmp"; } 2>/dev/null && return
	# The shells do not say why, cat does.
	why=$({ printf '%s\n' "$text" 2>/dev/null | cat >"$tmp"; } 2>&1) || hb__fail write "$why"
}

# hb__place: $tmp under the name $1.
hb__place() {
	why=$(mv -f "$tmp" "$1" 2>&1) || hb__fail rename "$why"
	tmp=''
}

# hb__json WHAT LIMIT TEXT: TEXT as the inside of a JSON string into $json.
# Bytes that are not UTF-8 become U+FFFD.
hb__json() {
	json=$3 size=${#3}
	case $3 in
	*[!\ -~]* | *\"* | *\\*) [ ${#3} -gt "$2" ] || hb__escape "$3" ;;
	esac
	[ "$size" -le "$2" ] || hb__misuse "$1: $size bytes, want at most $2"
}

# hb__escape works on octal digits, of which printf makes bytes again.
hb__escape() {
	out='' char='' want=- more=0 size=0
	# shellcheck disable=SC2046 # the empty word ends a character that is cut off
	set -- $(printf %s "$1" | od -bv) ''
	for octet; do
		# shellcheck disable=SC2254 # it is a pattern
		case $octet in
		????*) continue ;; # an offset
		$want)
			size=$((size + 1)) more=$((more - 1))
			char=$char\\0$octet want='2??'
			[ "$more" -gt 0 ] || out=$out$char char='' want=-
			continue
			;;
		esac
		while [ -n "$char" ]; do
			out=$out'\0357\0277\0275' size=$((size + 2)) char=${char#?????} want=-
		done
		size=$((size + 1))
		case $octet in
		'') size=$((size - 1)) ;;
		042 | 134) out=$out'\\\0'$octet ;;
		0[0-3]? | 177) out=$out'\\u00'$(printf %02x "0$octet") ;;
		[01]??) out=$out'\0'$octet ;;
		30[2-7] | 3[1-3]?) more=1 want='2??' ;;
		340) more=2 want='2[4-7]?' ;;
		355) more=2 want='2[0-3]?' ;;
		34? | 35?) more=2 want='2??' ;;
		360) more=3 want='2[2-7]?' ;;
		36[1-3]) more=3 want='2??' ;;
		364) more=3 want='2[01]?' ;;
		*) out=$out'\0357\0277\0275' size=$((size + 2)) ;;
		esac
		[ "$want" = - ] || char='\0'$octet
	done
	json=$(printf %b "$out")
}

# hb__number TEXT: a decimal number as JSON has it, and finite?
hb__number() {
	n=${1#-}
	case $n in
	*[eE][+-][0-9] | *[eE][+-][0-9][0-9] | *[eE][0-9] | *[eE][0-9][0-9]) n=${n%[eE]*} ;;
	esac
	case $n in
	*.*[!0-9]* | *.) return 1 ;;
	esac
	case ${n%%.*} in
	'' | *[!0-9]* | 0?*) return 1 ;;
	esac
	[ ${#1} -le 64 ]
}

# hb__metric NAME=VALUE: one more into $metrics.
hb__metric() {
	metric=${1%%=*} count=$((count + 1))
	case $metric in
	'' | *[!A-Za-z0-9._-]*) hb__misuse "-m $1: want a name of 1 to 64 of A-Za-z0-9._-, =, a number" ;;
	esac
	[ ${#metric} -le 64 ] || hb__misuse "-m $1: want a name of 1 to 64 of A-Za-z0-9._-"
	hb__number "${1#*=}" || hb__misuse "-m $1: want a finite decimal number, such as -12.5"
	[ "$count" -le 16 ] || hb__misuse "-m: $count metrics, want at most 16"
	case ,$metrics in
	*",\"$metric\":"*) hb__misuse "-m $metric: given twice" ;;
	esac
	metrics=$metrics${metrics:+,}\"$metric\":${1#*=}
}

# hb__key FILE|DIR: the digits of the key in FILE, or in DIR/ID.key, into $hex.
# What is judged is the file that was opened, whatever the name stands for by
# then.
hb__key() {
	[ ! -d "$1" ] || set -- "${1%/}/$id.key"
	[ ! -h "$1" ] || hb__die 111 "$1: key file is a symbolic link"
	[ -e "$1" ] || hb__die 111 "$1: open key file: no such file or directory"
	[ -f "$1" ] || hb__die 111 "$1: open key file: not a regular file"
	hex=''
	# shellcheck disable=SC2046,SC2094 # fields; ls does not read
	{
		{
			read -r hex <&3 || :
			set -- "$1" $(ls -ldnL /proc/self/fd/0 <&3)
		} 3<"$1"
	} 2>/dev/null
	[ $# -gt 4 ] || hb__die 111 "$1: open key file: permission denied"
	[ "$4" = 0 ] || [ "$4" = "$(id -u)" ] ||
		hb__die 111 "$1: key file belongs to uid $4, want root or uid $(id -u)"
	hb__octal "${2#-}"
	case $octal in
	0[0246]00) ;;
	*) hb__die 111 "$1: key file has mode $octal, want 0600 or less" ;;
	esac
	n=${#hex}
	case $((n % 2))$hex in
	1* | *[!0-9A-Fa-f]*) n=0 ;;
	esac
	if [ "$n" -lt 32 ] || [ "$n" -gt 128 ]; then
		hb__die 111 "$1: key file: want 32 to 128 hexadecimal digits, an even number"
	fi
}

# hb__pads: the key in $hex, mixed with the two pads of HMAC (RFC 2104), into
# $inner and $outer. Only what is built into the shell may print them, for the
# arguments of a program are there for all to see.
hb__pads() {
	case $(command -v printf && command -v print) in
	printf*) raw='printf %b' ;;
	*/printf?print) raw='print -n --' ;; # mksh
	*) hb__die 111 '-k: this shell has no printf of its own: the key would be seen' ;;
	esac
	inner='' outer='' n=0
	while [ "$n" -lt 64 ]; do
		octet=${hex%"${hex#??}"} hex=${hex#??} n=$((n + 1))
		i=$((0x${octet:-0} ^ 0x36)) o=$((0x${octet:-0} ^ 0x5c))
		inner=$inner'\0'$((i / 64))$((i / 8 % 8))$((i % 8))
		outer=$outer'\0'$((o / 64))$((o / 8 % 8))$((o % 8))
	done
}

# hb__sign: HMAC-SHA256 of $text into $sig.
hb__sign() {
	hex=$({ $raw "$inner" && printf %s "$text"; } | sha256sum) octets=''
	hex=${hex%% *}
	while [ -n "$hex" ]; do
		i=$((0x${hex%"${hex#??}"})) hex=${hex#??}
		octets=$octets'\0'$((i / 64))$((i / 8 % 8))$((i % 8))
	done
	sig=$($raw "$outer$octets" | sha256sum)
	sig=${sig%% *}
	[ ${#sig} -eq 64 ] || hb__die 111 'sha256sum: gives no digest'
}

# hb__options FLAGS FILE: what beat and run are told. $$ is not the shell that
# asks when that has started hb.sh as a command: then it says -p first.
hb__options() {
	interval='' ttl='' status=ok json='' metrics='' count=0 pid=$$ key='' inner='' OPTIND=1
	while getopts :hi:k:M:m:p:s:t: flag; do
		case $flag in
		h) hb__usage && exit 0 ;;
		i) hb__time -i "$OPTARG" && interval=$number ;;
		k) key=$OPTARG ;;
		M) hb__json -M 4096 "$OPTARG" ;;
		m) hb__metric "$OPTARG" ;;
		p) pid=$OPTARG ;;
		s) status=$OPTARG ;;
		t) hb__time -t "$OPTARG" && ttl=$number ;;
		:) hb__misuse "-$OPTARG: wants a value" ;;
		*) hb__misuse "unknown flag: -$OPTARG" ;;
		esac
	done
	shift $((OPTIND - 1))
	case $pid in
	'' | *[!0-9]* | 0?* | ????????*) hb__misuse "-p $pid: want a process id, or 0" ;;
	esac
	case $status in
	ok | starting | degraded | error | stopping | held) ;;
	*) hb__misuse "-s $status: want ok, starting, degraded, error, stopping or held" ;;
	esac
	[ $# -eq 1 ] || hb__misuse "want one FILE.hb, have $#"
	id=${1##*/} dir=.
	case $1 in */*) dir=${1%/*} dir=${dir:-/} ;; esac
	id=${id%.hb}
	[ "$id.hb" = "${1##*/}" ] || id=''
	hb__id "$id" ||
		hb__misuse "$1: file name: want ID.hb with an id of 1 to 64 of A-Za-z0-9._- not starting with . or -"
	# Without -i or -t no reader would know when to worry.
	[ -n "$interval$ttl" ] || interval=5000
	[ -z "$key" ] || { hb__key "$key" && hb__pads; }
}

# hb__after NUMBER: the next one into $seq; 1 after what is no seq of ours.
hb__after() {
	seq=1
	case $1 in
	'' | *[!0-9]* | ??????????????????*) return ;;
	esac
	hb__trim "$1"
	if [ ${#number} -lt 9 ]; then
		seq=$((number + 1))
	else
		low=$((1${number#"${number%????????}"} + 1))
		seq=$((${number%????????} + low / 200000000))${low#?}
	fi
}

# hb__beat sends what the options say.
hb__beat() {
	hb__enter "$dir" "$id.hb"
	case $kind in
	'' | -) ;;
	*) hb__die 111 "$path: open: not a regular file" ;;
	esac
	hb__now
	hb__join "$up" "$up_ms"
	bt=$number seq=1
	if hb__line "$id.hb" && hb__member seq; then
		hb__after "$value"
		# The clock shows hundredths, but the beats of one boot go up.
		hb__member boot && [ "$value" = "$boot" ] && hb__member bt_ms &&
			case $value in
			*9) ;;
			"${bt%?}"?) bt=${bt%?}$((${value#"${value%?}"} + 1)) ;;
			esac
	fi
	text='{"v":1,"id":"'$id'",'
	[ "$pid" = 0 ] || text=$text'"pid":'$pid,
	hb__trim "$(date +%s)000"
	text=$text'"boot":"'$boot'","seq":'$seq',"ts_ms":'$number',"bt_ms":'$bt',"interval_ms":'${interval:-0}
	[ -z "$ttl" ] || text=$text',"ttl_ms":'$ttl
	text=$text',"status":"'$status'"'
	[ -z "$json" ] || text=$text',"msg":"'$json'"'
	[ -z "$metrics" ] || text=$text',"m":{'$metrics'}'
	if [ -n "$inner" ]; then
		hb__sign
		text=$text',"sig":"'$sig'"'
	fi
	text=$text'}'
	[ ${#text} -lt 4096 ] || hb__die 100 "$path: record of $((${#text} + 1)) bytes: want at most 4096"
	hb__uuid uuid
	tmp=.tmp.$id.hb,$uuid
	# Now and then, what was left by those that were killed.
	case $seq in
	*0) hb__sweep ;;
	esac
	hb__put
	hb__place "$id.hb"
}

# hb__sweep removes temporary files that are no newer than the record.
hb__sweep() {
	set -- ".tmp.$id.hb,"*
	[ ! -e "$1" ] || [ -z "$kind" ] ||
		find "$@" ! -newer "$id.hb" -exec rm -f {} + 2>/dev/null
}

hb_beat() (
	set +x # the key is not for a trace; mksh forgets this at the end of a function
	hb__begin
	hb__options "$@"
	hb__beat
)

# hb__run gives up only when the very first beat fails. It is not for scripts:
# in a subshell it would outlive the process that is told to end.
hb__run() {
	set +x
	hb__begin
	hb__options "$@"
	interval=${interval:-5000}
	hb__time -i "$interval"
	every=$s
	[ "$ms" = 0 ] || { sleep 0.001 && every=$s.$(printf %03d "$ms"); } 2>/dev/null || every=$((s + 1))
	end='' nap='' said='' begun=''
	# A signal that a shell takes before it has become sleep is lost there; not this one.
	trap 'end=1; [ -z "$nap" ] || kill -9 "$nap" 2>/dev/null' HUP INT TERM
	while :; do
		last=$end
		[ -z "$last" ] || status=stopping
		if why=$(hb__guard && hb__beat 2>&1); then
			begun=1 said=''
		else
			code=$?
			[ "$why" = "$said" ] || printf '%s\n' "$why${begun:+; trying on}" >&2
			[ -n "$begun" ] || exit "$code"
			said=$why
		fi
		[ -z "$last" ] || exit 0
		[ -z "$end" ] || continue
		# bash tells of a child that was killed, in here.
		{
			sleep "$every" &
			nap=$!
			[ -z "$end" ] || kill -9 "$nap"
			wait "$nap"
			[ -z "$end" ] || {
				kill -9 "$nap"
				wait "$nap"
			}
		} 2>/dev/null
		nap=''
	done
}

# hb__lock keeps others from changing holds until this shell ends. flock(1) is
# what the programs use; without it, shells keep at least each other out.
hb__lock() {
	tries=40
	if command -v flock >/dev/null; then
		umask 077
		# Of what ":" cannot redirect, some shells die, without a word here.
		{ true >>.hold.lock; } 2>/dev/null || {
			path=$dir/.hold.lock
			why=$({ printf '' | cat >>.hold.lock; } 2>&1) || hb__fail open "$why"
		}
		exec 3>>.hold.lock
		umask 022
		until flock -n 0 <&3; do
			hb__nap .hold.lock
		done
		return
	fi
	until mkdir .hold.busy 2>/dev/null; do
		# Whoever made it takes it away in a moment, unless killed.
		[ "$tries" -gt 0 ] || find .hold.busy -prune -mmin +0 -exec rmdir {} + 2>/dev/null
		hb__nap .hold.busy
	done
	busy=.hold.busy
}

hb__nap() {
	tries=$((tries - 1))
	[ "$tries" -ge -1 ] || hb__die 111 "$dir/$1: lock: somebody else holds it"
	sleep 0.05 2>/dev/null || sleep 1
}

# hb__lease: the hold in $id.hold, as text in $line, with its nonce in $lease.
# The status is 1 when there is none, 2 when it is over or was never one.
hb__lease() {
	lease=''
	[ -e "$id.hold" ] || return 1
	# shellcheck disable=SC2046 # fields
	set -- $(ls -ldn "$id.hold" 2>/dev/null) ''
	kind=${1%"${1#?}"} size=${5-}
	hb__line "$id.hold" && hb__member nonce && lease=$value &&
		hb__member boot && [ "$value" = "$boot" ] && hb__member until_bt_ms || return 2
	case $value in
	'') return 2 ;;
	?????????????*) return ;; # more than 31 years
	????*) set -- "${value%???}" $((1${value#"${value%???}"} - 1000)) ;;
	*) set -- 0 "$value" ;;
	esac
	[ "$1" -gt "$up" ] || { [ "$1" -eq "$up" ] && [ "$2" -gt "$up_ms" ]; } || return 2
}

# hb__held LEAST MOST ARGUMENT ...: opens what all that concerns holds begins
# with, DIR ID and where it is wanted NONCE.
hb__held() {
	least=$1 most=$2
	shift 2
	case ${1-} in
	-h) hb__usage && exit 0 ;;
	-*) hb__misuse "unknown flag: $1" ;;
	esac
	if [ $# -lt "$least" ] || [ $# -gt "$most" ]; then
		hb__misuse "wrong number of arguments: $#"
	fi
	dir=$1 id=$2 nonce=$3
	hb__id "$id" || hb__misuse "id $id: want 1 to 64 of A-Za-z0-9._- not starting with . or -"
}

hb__nonce() {
	case $nonce in
	'' | *[!0-9a-f]*) hb__misuse "nonce $nonce: want the 32 digits that hold has printed" ;;
	esac
}

# hb__mine: is the hold that of $nonce?
hb__mine() {
	hb__lock
	hb__now
	over=0
	hb__lease || over=$?
	[ "$over" -ne 1 ] || hb__die 1 "$id: nothing is held"
	[ -n "$lease" ] || hb__die 111 "$path: not a hold"
	[ "$lease" = "$nonce" ] || {
		hb__member by
		hb__die 1 "$id: held by $value: nonce is not that of the hold"
	}
}

hb_hold() (
	hb__begin
	hb__held 3 1000 "$@"
	hb__time TTL "$3"
	shift 3
	hb__json REASON 256 "${*:-none given}"
	reason=$json for=$s for_ms=$ms
	by=${SUDO_USER:-${USER:-${LOGNAME:-uid $(id -u)}}}
	hb__json USER 256 "$by"
	hb__enter "$dir" "$id.hold"
	hb__uuid uuid
	nonce=$uuid tmp=.tmp.$id.hold,$uuid
	hb__lock
	hb__now
	hb__join "$up" "$up_ms"
	text='{"v":1,"id":"'$id'","by":"'$json'","reason":"'$reason'","nonce":"'$nonce'","boot":"'$boot
	text=$text'","since_bt_ms":'$number
	hb__join $((up + for)) $((up_ms + for_ms))
	text=$text',"until_bt_ms":'$number'}'
	hb__put
	over=0
	hb__lease || over=$?
	[ "$over" -ne 2 ] || why=$(rm -f "$id.hold" 2>&1) || hb__fail remove "$why"
	# A link never replaces what somebody has put there without the lock.
	if [ "$over" -eq 0 ] || ! why=$(ln "$tmp" "$id.hold" 2>&1); then
		hb__lease || hb__fail link "$why"
		hb__member by && by=$value
		hb__member reason && reason=$value
		hb__member until_bt_ms
		hb__die 1 "$id: held by=$by reason=$reason until_ms=$value"
	fi
	printf '%s\n' "$nonce"
)

hb_renew() (
	hb__begin
	hb__held 4 4 "$@"
	hb__nonce
	hb__time TTL "$4"
	for=$s for_ms=$ms
	hb__enter "$dir" "$id.hold"
	hb__mine
	[ "$over" -eq 0 ] || hb__die 1 "$id: nothing is held: it has ended"
	hb__join $((up + for)) $((up_ms + for_ms))
	text=${line#*'"until_bt_ms":'}
	text=${line%%'"until_bt_ms":'*}'"until_bt_ms":'$number${text#"${text%%[!0-9]*}"}
	hb__uuid uuid
	tmp=.tmp.$id.hold,$uuid
	hb__put
	hb__place "$id.hold"
)

hb_release() (
	hb__begin
	hb__held 3 3 "$@"
	hb__nonce
	hb__enter "$dir" "$id.hold"
	hb__mine
	set -- "$id.hold"
	for ack in "$id.ack."*; do
		case $ack in
		*.hold) ;; # of an id that looks like an acknowledgement
		*) set -- "$@" "$ack" ;;
		esac
	done
	why=$(rm -f "$@" 2>&1) || hb__fail remove "$why"
)

# hb_wait polls: nothing else works everywhere.
hb_wait() (
	hb__begin
	hb__time -t 10s
	OPTIND=1
	while getopts :ht: flag; do
		case $flag in
		h) hb__usage && exit 0 ;;
		t) hb__time -t "$OPTARG" ;;
		:) hb__misuse "-$OPTARG: wants a value" ;;
		*) hb__misuse "unknown flag: -$OPTARG" ;;
		esac
	done
	shift $((OPTIND - 1))
	hb__held 4 1000 "$@"
	hb__nonce
	shift 3
	hb__enter "$dir" "$id.hold"
	hb__now
	end=$((up + s)) end_ms=$((up_ms + ms))
	while :; do
		missing=''
		for tool; do
			hb__id "$tool" || hb__misuse "tool $tool: want its name"
			ack=''
			[ ! -f "$id.ack.$tool" ] || { read -r ack <"$id.ack.$tool"; } 2>/dev/null
			[ "$ack" = "$nonce" ] || missing=$missing${missing:+, }$tool
		done
		[ -n "$missing" ] || exit 0
		hb__now
		[ $(((end - up) * 1000 + end_ms - up_ms)) -gt 0 ] ||
			hb__die 1 "$id: held, but not acknowledged by $missing; the hold stays until its end or its release"
		sleep 0.05 2>/dev/null || sleep 1
	done
)

hb__main() {
	case ${1-} in
	beat) shift && hb_beat -p "$PPID" "$@" ;;
	run) shift && hb__run "$@" ;;
	hold | renew | release | wait) hb__verb=$1 && shift && "hb_$hb__verb" "$@" ;;
	-h) hb__usage ;;
	-*) hb__misuse "unknown flag: $1" ;;
	'') hb__misuse 'want a command' ;;
	*) hb__misuse "unknown command: $1" ;;
	esac
}

[ "${0##*/}" = hb.sh ] || return 0
set -eu
hb__main "$@"
