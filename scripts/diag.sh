#!/bin/sh
# Asks a diagfifo where there is nothing but a shell: as a command (diag.sh DIR
# VERB ...) or as a function for a script (. diag.sh; diag_send DIR VERB ...).
#
# Read by another script it only defines functions, all named diag_*, the one for
# scripts as a subshell, so that it changes nothing of its caller. It is a command
# when it is started under the name of diag.sh. Of other programs it needs cat,
# head, mkfifo, od, rm, sed, sleep, tr and, for mksh, printf: busybox has them.

diag__usage() {
	cat <<'END'
usage: diag.sh [-ah] [-t SECONDS] DIR VERB [KEY=VALUE ...]

Sends one command to the diagfifo that serves DIR and prints its answer: the
data if there are any, otherwise "ok" with the pairs. Scripts read this file
(. diag.sh) and call diag_send with the same arguments.

  -a  send it to DIR/ctl.admin instead of DIR/ctl
  -t  wait this long for the answer, and as long for the data behind it (default 5)
  -h  print this

exit status: 0 the answer is ok; 1 the answer is err; 100 wrong usage; 111 nobody
serves DIR, or there was no answer in time
END
}

diag__say() {
	text=$*
	case $text in
	*[!\ -~]*) text=$(printf %s "$text" | tr -c '\040-\176' '?') ;;
	esac
	printf 'diag.sh: error: %s\n' "$text" >&2
}

diag__die() {
	code=$1
	shift
	diag__say "$@"
	exit "$code"
}

diag__misuse() {
	diag__say "$@"
	printf 'usage: diag.sh [-ah] [-t SECONDS] DIR VERB [KEY=VALUE ...]\n' >&2
	exit 100
}

# diag__word WORD: is it a verb or a key?
diag__word() {
	case $1 in
	'' | [!a-z]* | *[!a-z0-9_-]*) return 1 ;;
	esac
	[ ${#1} -le 32 ]
}

# diag__pair KEY=VALUE: adds it to $line. What a value may not have is written as
# %XX; so may be the rest of it.
diag__pair() {
	if [ "${1%%=*}" = "$1" ] || ! diag__word "${1%%=*}"; then
		diag__misuse "argument $1: want KEY=VALUE"
	fi
	value=${1#*=}
	case $value in
	*[!!-~]* | *%*) value=$(printf %s "$value" | od -An -v -tx1 | tr -d ' \n' | tr a-f A-F | sed 's/../%&/g') ;;
	esac
	line="$line ${1%%=*}=$value"
}

# diag__keep COMMAND...: runs it after the time, unless diag__free comes before.
# The sleep is always ended with it, and holds no output of ours open: by SIGKILL,
# for a shell that has yet to become sleep may lose another signal.
diag__keep() {
	(
		nap='' over=''
		trap 'over=yes; [ -z "$nap" ] || kill -KILL "$nap"' TERM
		sleep "$time" &
		nap=$!
		[ -z "$over" ] || kill -KILL "$nap"
		wait "$nap" || :
		[ -n "$over" ] || "$@"
	) >/dev/null 2>&1 &
	keeper=$!
}

diag__free() {
	[ -z "$keeper" ] || kill "$keeper" 2>/dev/null || :
	keeper=''
}

# diag__write: may wait for ever in its open, so it is started in the background,
# to become a cat that can be killed. That writes all of it at once; the line feed
# before ends what a stranger may have begun.
diag__write() {
	exec cat >"$ctl" <<END

$line
END
}

diag__late() { printf '%s late\n' "$id" >&4; }

# diag__answer: the first line from our FIFO, into $answer.
diag__answer() {
	diag__write 4>&- 2>/dev/null &
	writer=$!
	diag__keep diag__late
	IFS= read -r answer <&4
	diag__free
	if [ "$answer" = "$id late" ]; then
		kill "$writer" 2>/dev/null || :
		wait "$writer" 2>/dev/null || diag__die 111 "$ctl: nobody serves it"
	fi
}

# diag__data COUNT: so many bytes that follow.
diag__data() {
	head -c "$1" <&4 &
	reader=$!
	diag__keep kill "$reader"
	wait "$reader" || diag__die 111 "$dir: the answer breaks off"
	diag__free
}

diag_send() (
	set +aefvC
	unset IFS
	export LC_ALL=C
	time=5 name=ctl keeper='' fifo=''
	OPTIND=1
	while getopts :aht: flag; do
		case $flag in
		a) name=ctl.admin ;;
		h) diag__usage && exit 0 ;;
		t) time=$OPTARG ;;
		:) diag__misuse "-$OPTARG: wants a value" ;;
		*) diag__misuse "unknown flag: -$OPTARG" ;;
		esac
	done
	shift $((OPTIND - 1))
	case $time in
	'' | *[!0-9]* | 0 | ?????*) diag__misuse "-t $time: want whole seconds, up to 9999" ;;
	esac
	[ $# -ge 2 ] || diag__misuse "want DIR and VERB, have $# arguments"
	dir=$1
	diag__word "$2" || diag__misuse "verb $2: want a word such as status"
	IFS=- read -r id b c d e </proc/sys/kernel/random/uuid || diag__die 111 '/proc: not mounted'
	id=$id$b$c$d$e
	line="@$id:p $2"
	shift 2
	for pair; do
		diag__pair "$pair"
	done
	[ ${#line} -le 4000 ] || diag__misuse "command of ${#line} bytes, want at most 4000"
	ctl=$dir/$name
	[ -p "$ctl" ] || diag__die 111 "$ctl: nobody serves it"
	trap 'diag__free; [ -z "$fifo" ] || rm -f "$fifo"' EXIT
	trap 'exit 129' HUP
	trap 'exit 130' INT
	trap 'exit 143' TERM
	why=$(mkfifo -m 620 "$dir/p/$id" 2>&1) || diag__die 111 "$dir/p: no reply FIFO: $why"
	fifo=$dir/p/$id
	exec 4<>"$fifo" # both ways: it neither blocks nor ends
	diag__answer
	case $answer in
	"$id ok") echo ok ;;
	"$id ok "*' bytes='* | "$id ok bytes="*) diag__data "${answer##* bytes=}" ;;
	"$id ok "*) printf '%s\n' "${answer#"$id "}" ;;
	"$id err "*)
		answer=${answer#"$id err "}
		diag__die 1 "${answer%% *}: ${answer#* }"
		;;
	"$id late") diag__die 111 "$dir: no answer within $time s" ;;
	*) diag__die 111 "$dir: not an answer: $answer" ;;
	esac
)

[ "${0##*/}" = diag.sh ] || return 0
set -eu
diag_send "$@"
