#!/bin/sh
# What vigil-doctor finds out of the host: its directories, processes, watchdogs
# and clock, and where crashes go. It reads this file after vigil.sh.

# The scripts use what is set here, and the other way round.
# shellcheck disable=SC2034,SC2154

# fact FILE: its first line into $value.
fact() {
	value=''
	{ IFS= read -r value <"$top$1"; } 2>/dev/null || [ -n "$value" ]
}

# nearest DIR: it, or the first above it that exists, into $near.
nearest() {
	near=$1
	while [ ! -d "$near" ]; do
		near=${near%/*}
		[ -n "$near" ] || near=/
	done
}

# plant DIR: a directory of our own in it into $place.
plant() {
	place=$(mktemp -d "${1%/}/.vigil-doctor.XXXXXX" 2>/dev/null) || place=''
	[ -n "$place" ] || return 1
	{ echo >"$place/probe"; } 2>/dev/null && [ -s "$place/probe" ] && return
	rm -rf -- "$place"
	place=''
	return 1
}

# volume DIR: its file system's type into $kind, options into $flags, what is
# free into $free, in MiB, and both as words into $space.
volume() {
	set -- "$1" "$(df -Pk -- "$1" 2>/dev/null | awk 'NR == 2 { print $6 }')"
	kind='' flags=''
	# The latest mount there is the one that is seen.
	while read -r _ point type options _; do
		[ "$point" != "$2" ] || kind=$type flags=$options
	done 2>/dev/null <"$top/proc/mounts" || :
	: "${kind:=an unknown file system}"
	free=$(free_mb "$1" 2>/dev/null) || free=''
	is_number "$free" || free=''
	space="$kind${free:+, $free MiB free}"
}

# directory WHAT DIR COMMAND VARIABLE: can we write there, and nobody else? Where
# we can, $place is ours. COMMAND makes the directory.
directory() {
	nearest "$2"
	volume "$near"
	place=''
	if ! plant "$near"; then
		case ,$flags, in
		*,ro,*) row no "$1" "$2: $kind, mounted read-only" "mount -t tmpfs -o mode=755 tmpfs $near; or $4=DIR elsewhere" ;;
		*)
			if [ "$free" = 0 ]; then
				row no "$1" "$2: $kind is full" "df $near; du -x $near: make room"
			elif [ "$uid" = 0 ]; then
				row no "$1" "$2: cannot be written, though we are root" "$4=DIR elsewhere"
			else
				row no "$1" "$2: uid $uid cannot write into $near" "as root: mkdir -p $2 && chown $uid $2; or $4=DIR elsewhere"
			fi
			;;
		esac
		return
	fi
	if [ "$near" != "$2" ] && [ -n "$3" ]; then
		row no "$1" "$2: no such directory" "$3"
		return
	fi
	# shellcheck disable=SC2046 # fields
	set -- "$@" $(ls -ldn -- "$near/." 2>/dev/null) - - -
	mode=$5 owned=$7
	told="$2: $space, $mode, uid $owned"
	case $mode in
	d????w* | d???????w*) [ "$near" != "$2" ] || mode=shared ;;
	esac
	if [ "$mode" = shared ]; then
		row no "$1" "$told: others may write there, so nothing in it is trusted" "chmod go-w $2"
	elif [ "$owned" != 0 ] && [ "$owned" != "$uid" ] && [ "$near" = "$2" ]; then
		row no "$1" "$told: not ours, so nothing in it is trusted" "chown $uid $2"
	elif [ "$near" != "$2" ]; then
		row ok "$1" "$2: is made when it is needed; $space"
	else
		row ok "$1" "$told"
	fi
}

places() {
	directory 'run directory' "$run" "umask 022; mkdir -p $run/hb $run/hold $run/ctl" VIGIL_DIR
	field=$place
	missing=''
	for one in hb hold ctl; do
		[ -d "$run/$one" ] || missing="$missing $run/$one"
	done
	if [ -d "$run" ] && [ -n "$missing" ]; then
		row limited 'run directory' "it lacks$missing" "umask 022; mkdir$missing"
	fi
	directory spool "$spool" '' VIGIL_SPOOL
	store=$place
	case $kind in
	tmpfs | ramfs | overlay) row limited spool "$kind: evidence in it does not outlive the machine or the container" 'VIGIL_SPOOL=DIR on a disk' ;;
	esac
	for one in "${TMPDIR:-/tmp}" /dev/shm "$field" "$store"; do
		if [ -d "$one" ] && plant "$one"; then
			scratch=$place
			break
		fi
	done
	if [ -z "$scratch" ]; then
		row no 'a place to try' 'no directory can be written: nothing can be tried' 'mount -t tmpfs tmpfs /tmp'
		return
	fi
	# What has no place of its kind is tried in another one.
	[ -n "$field" ] || field=$scratch/field
	[ -n "$store" ] || store=$scratch/store
	mkdir -p "$field/hb" "$field/hold" "$field/ctl" "$store/core"
}

# isolation: what of the machine cannot be seen from here.
isolation() {
	if [ ! -r "$top/proc/self/stat" ]; then
		row no /proc 'is not mounted: nothing works without it, so nothing else is tried' 'mount -t proc proc /proc'
		return 1
	fi
	if { read -r self _ </proc/self/stat; } 2>/dev/null && [ "$self" != $$ ]; then
		row no /proc 'is that of another pid namespace: who reads it takes one process for another, so nothing else is tried' 'mount -t proc proc /proc; unshare --mount-proc'
		return 1
	fi
	alone='' remedy=''
	pids=$(readlink "$top/proc/self/ns/pid" 2>/dev/null) || pids=''
	case $pids in
	'pid:[4026531836]' | '') ;;
	*) alone='a pid namespace of its own: processes outside, and debuggers, cannot be seen' remedy='docker run --pid=host; Kubernetes: hostPID: true' ;;
	esac
	if [ ! -d "$top/proc/1" ]; then
		alone="${alone:+$alone; }processes of other users are hidden (hidepid)" remedy='mount -o remount,hidepid=0 /proc'
	fi
	users=$(readlink "$top/proc/self/ns/user" 2>/dev/null) || users=''
	case $users in
	'user:[4026531837]' | '') ;;
	*) alone="${alone:+$alone; }a user namespace of its own: root here is none outside" ;;
	esac
	if [ -n "$alone" ]; then
		row limited processes "$alone" "$remedy"
	else
		row ok processes 'all of this machine are seen'
	fi
	if [ "$uid" -eq 0 ] && [ "${users:-user:[4026531837]}" != 'user:[4026531837]' ]; then
		row limited 'other users' 'root of this user namespace: reaches no process outside of it' 'start it outside'
	elif [ "$uid" -eq 0 ] && may 19; then
		row ok 'other users' 'root: explains and captures processes of all users'
	elif [ "$uid" -eq 0 ]; then
		row limited 'other users' 'root without CAP_SYS_PTRACE: captures processes of root only' 'docker run --cap-add SYS_PTRACE; systemd: CapabilityBoundingSet='
	else
		row limited 'other users' "uid $uid: explains and captures processes of its own only" "run it as root"
	fi
}

# sandbox: is there a filter? What it refuses, the attempts show.
sandbox() {
	filter=$(sed -n 's/^Seccomp:[^0-9]*//p' "$top/proc/self/status" 2>/dev/null) || filter=''
	case $filter in
	1 | 2) row ok seccomp 'a filter is in force: what it refuses is told below' ;;
	*) row ok seccomp 'no filter' ;;
	esac
}

# may BIT: is that capability, of the first 32, in force? The digits are looked
# at one by one: not every shell counts that far.
may() {
	word=$(sed -n 's/^CapEff:[^0-9a-f]*//p' "$top/proc/self/status" 2>/dev/null) || word=''
	skip=$(($1 / 4))
	while [ "$skip" -gt 0 ]; do
		word=${word%?}
		skip=$((skip - 1))
	done
	case $(($1 % 4)):${word#"${word%?}"} in
	0:[13579bdf] | 1:[2367abef] | 2:[4567cdef] | 3:[89abcdef]) ;;
	*) return 1 ;;
	esac
}

# watchdogs looks, and opens none: that would arm it.
watchdogs() {
	# With /dev/null there are always several, which are then told apart by a line.
	# shellcheck disable=SC2012 # only numbers and names of devices are taken from it
	holders=$(ls -l /dev/null "$top"/proc/[0-9]*/fd 2>/dev/null | awk '
		/^\/.*:$/ { n = split($0, part, "/"); pid = part[n - 1] }
		/ -> \/dev\/watchdog/ { print $NF, pid }')
	seen=''
	for dir in "$top"/sys/class/watchdog/watchdog[0-9]*; do
		if [ -d "$dir" ]; then
			seen=yes
			watchdog "${dir##*/}"
		fi
	done
	[ -z "$seen" ] || return 0
	if [ ! -d "$top/sys/class" ]; then
		row limited /dev/watchdog '/sys is not mounted: the state of a watchdog is not seen' 'mount -t sysfs sysfs /sys'
	elif [ -c "$top/dev/watchdog" ]; then
		row limited /dev/watchdog 'has no entry in /sys/class/watchdog: its state shows only to who opens it, which arms it' 'load a driver that has one'
	else
		row no /dev/watchdog 'there is none: nothing resets this host when all else hangs' 'modprobe softdog, or the driver of the board; docker run --device /dev/watchdog; else wdping -device none'
	fi
}

watchdog() {
	told=''
	for one in identity state timeout nowayout; do
		! fact "/sys/class/watchdog/$1/$one" || told="$told${told:+, }$one $value"
	done
	node=/dev/$1
	[ "$1" != watchdog0 ] || [ -c "$top$node" ] || node=/dev/watchdog
	holder=$(printf '%s\n' "$holders" | awk -v node="/dev/$1" '
		$1 == node || node == "/dev/watchdog0" && $1 == "/dev/watchdog" { print $2; exit }')
	who=''
	if [ -n "$holder" ]; then
		fact "/proc/$holder/comm" || value='somebody'
		who=$value holder="$value (pid $holder)"
	fi
	case $who:$told in
	wdping:*) row ok "$1" "pinged by $holder: $told" ;;
	systemd:*) row no "$1" "held by $holder: $told" 'RuntimeWatchdogSec=0 in /etc/systemd/system.conf, then systemctl daemon-reexec' ;;
	?*:*) row no "$1" "held by $holder: $told" "end $who so that it disarms, then start wdping" ;;
	*'state active'*) row limited "$1" "armed, and who holds it is not seen from here: $told" 'look from the first pid namespace, as root' ;;
	*)
		if [ ! -c "$top$node" ]; then
			row no "$1" "$node: no such device: $told" "mknod /dev/watchdog c 10 130; docker run --device /dev/watchdog"
		elif [ ! -w "$top$node" ]; then
			row no "$1" "$node: uid $uid may not write: $told" 'run wdping as root'
		else
			case $told in
			*'nowayout 1'*) row limited "$1" "once armed it cannot be disarmed: $told" 'load its driver with nowayout=0, if that is not wanted' ;;
			*) row ok "$1" "free: $told" ;;
			esac
		fi
		;;
	esac
}

# trace_remedy: what would let us trace, into $remedy.
trace_remedy() {
	fact /proc/sys/kernel/yama/ptrace_scope || value=0
	scope=$value
	case $scope:$uid in
	3:*) remedy='boot without kernel.yama.ptrace_scope=3 (/etc/sysctl.d): it cannot be lowered' ;;
	[12]:0) remedy="kernel.yama.ptrace_scope=$scope: wants CAP_SYS_PTRACE: docker run --cap-add SYS_PTRACE" ;;
	[12]:*) remedy='as root: sysctl -w kernel.yama.ptrace_scope=0' ;;
	*)
		remedy='docker run --cap-add SYS_PTRACE'
		[ "$filter" != 2 ] || remedy="$remedy --security-opt seccomp=unconfined"
		;;
	esac
}

# crash_handler: where the kernel sends the core of any program.
crash_handler() {
	fact /proc/sys/kernel/core_pattern || :
	pattern=$value
	case $uid:$pids in
	0:'pid:[4026531836]' | 0:) remedy='mkdir -p /var/lib/vigil/core && corecap pattern -set' ;;
	0:*) remedy='outside of the container: corecap pattern -set; here: corecap run -spool DIR -- PROG' ;;
	*) remedy='as root: corecap pattern -set; else: corecap run -spool DIR -- PROG' ;;
	esac
	program=${pattern#?}
	program=${program%% *}
	case $uid:$pids:$pattern in
	*:'pid:[4026531836]:|'*corecap*' handler '* | *::'|'*corecap*' handler '*)
		our_handler
		return
		;;
	esac
	case $pattern in
	'|'*/systemd-coredump*) row limited 'crashes' 'go to systemd-coredump: coredumpctl list' "$remedy" ;;
	'|'*/apport*) row limited 'crashes' 'go to apport: /var/crash' "$remedy" ;;
	'|'*corecap*' handler '*) row limited 'crashes' "go to $program of the machine outside" "$remedy" ;;
	'|'*) row limited 'crashes' "go to $program" "$remedy" ;;
	@*) row limited 'crashes' "go to the socket $program" "$remedy" ;;
	'') row no 'crashes' 'core_pattern is empty: nothing is left of them' "$remedy" ;;
	*) core_file ;;
	esac
}

our_handler() {
	fact /proc/sys/kernel/core_pipe_limit || value=0
	if [ ! -x "$top$program" ]; then
		row no 'crashes' "go to $program, which is not there" "corecap pattern -restore, or scripts/install"
	elif [ "$value" = 0 ]; then
		row limited 'crashes' "go to $program, which may lose the process while it reads (core_pipe_limit 0)" 'sysctl -w kernel.core_pipe_limit=16'
	elif [ ! -f "$top/etc/vigil/corecap" ] && [ ! -d "$top/var/lib/vigil/core" ]; then
		row no 'crashes' "go to $program, and /var/lib/vigil/core is not there" 'mkdir -p /var/lib/vigil/core'
	else
		row ok 'crashes' "go to $program: vigil-crashes lists them"
	fi
}

# changed_user: a service that is started as root and becomes somebody else.
changed_user() {
	fact /proc/sys/fs/suid_dumpable || return 0
	case $value in
	0) row limited 'changed user' 'programs that change their user leave no core (fs.suid_dumpable 0)' 'as root: sysctl -w fs.suid_dumpable=2' ;;
	*) row ok 'changed user' "programs that change their user leave a core (fs.suid_dumpable $value)" ;;
	esac
}

# core_file: the kernel writes it, within the limits of whoever crashes; ours are
# those that what is started from here would have.
core_file() {
	# shellcheck disable=SC2046 # fields
	set -- $(sed -n 's/^Max core file size//p' "$top/proc/self/limits" 2>/dev/null) '?' '?'
	where="$pattern in the directory of who crashes"
	case $pattern in
	/*) where=$pattern ;;
	esac
	case $1:$2 in
	*:0) row no 'crashes' "leave nothing: the hard limit of a core is 0 ($where)" "$remedy; or LimitCORE=infinity in the unit" ;;
	0:*) row no 'crashes' "leave nothing: the limit of a core is 0 ($where)" "$remedy; or ulimit -c unlimited before the service starts" ;;
	*) row limited 'crashes' "leave the kernel's own file, $where, of $1 bytes at most" "$remedy" ;;
	esac
}

versions() {
	first='' differ='' all=''
	for one in hbsend hbwatch wdping diagfifo corecap; do
		has "$one" || continue
		try "$one" -version || continue
		read -r _ version _ <"$scratch/out" || :
		all="$all $one $version"
		: "${first:=$version}"
		[ "$version" = "$first" ] || differ=yes
	done
	if [ -n "$differ" ]; then
		row limited versions "the programs are not of one version:$all" 'scripts/install'
	elif [ -n "$first" ]; then
		row ok versions "$first"
	fi
}

# The wall clock is only shown; but a wrong one misleads who reads the evidence.
clock() {
	touch "$scratch/now"
	if [ -n "$(find "$lib/vigil.sh" -newer "$scratch/now" 2>/dev/null)" ]; then
		row limited clock "$(date -u +%Y-%m-%d): behind the time of our own files: all that is shown is misdated" "date -u -s 'YYYY-MM-DD hh:mm:ss'"
	else
		row ok clock "$(date -u '+%Y-%m-%d %H:%M:%S') UTC; no deadline depends on it"
	fi
}

supervisors() {
	found=''
	! has sv || found="$found runit"
	! has s6-svc || found="$found s6"
	[ ! -d /run/systemd/system ] || ! has systemctl || found="$found systemd"
	! has rc-service || [ ! -e /run/openrc/softlevel ] || found="$found openrc"
	if [ -n "$found" ]; then
		row ok vigil-restart "can ask$found"
	else
		row limited vigil-restart 'no supervisor that it knows' 'vigil-restart -s respawn, where a loop starts the service; or -s /PROGRAM'
	fi
}
