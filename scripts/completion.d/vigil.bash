# Completion for bash of vigil's commands. Made by scripts/completion: what is
# changed here is lost.

# _vigil_flags COMMAND SUBCOMMAND: a line for each flag: it, and the kind of its
# value (see table.awk); that of @ is its subcommands, that of . its arguments.
_vigil_flags() {
	case "$1 $2" in
	'corecap ')
		printf '%s\n' '@ w stacks pattern handler run prune' \
			'. d' '-force -' '-gzip -' '-hold d' '-id i' '-keep-free v' '-log w text json' '-max-size v' \
			'-mode w auto precopy fork stop mini' '-o f' '-q -' '-spool d' '-v -' '-version -' '-why v'
		;;
	'corecap stacks')
		printf '%s\n' \
			'. f' '-force -' '-json -' '-log w text json' '-n v' '-q -' '-v -' '-version -'
		;;
	'corecap pattern')
		printf '%s\n' \
			'. f' '-log w text json' '-q -' '-restore -' '-set -' '-v -' '-version -'
		;;
	'corecap handler')
		printf '%s\n' \
			'. f' '-config f' '-log w text json' '-q -' '-v -' '-version -'
		;;
	'corecap run')
		printf '%s\n' \
			'. d' '-gzip -' '-keep v' '-keep-free v' '-log w text json' '-max-size v' '-pidfile f' '-q -' \
			'-spool d' '-v -' '-version -'
		;;
	'corecap prune')
		printf '%s\n' \
			'. d' '-keep v' '-keep-bytes v' '-keep-free v' '-log w text json' '-q -' '-v -' '-version -'
		;;
	'diagfifo ')
		printf '%s\n' '@ w send dump sample hold renew release' \
			'. d' '-corecap f' '-cores d' '-group g' '-hold d' '-id v' '-keep v' '-leave -' '-log w text json' \
			'-max-bytes v' '-out d' '-pid v' '-pidfile f' '-q -' '-rate v' '-ready-fd v' '-run d' '-signals v' \
			'-socket -' '-v -' '-version -'
		;;
	'diagfifo send')
		printf '%s\n' \
			'. d' '-admin -' '-log w text json' '-q -' '-socket -' '-timeout v' '-v -' '-version -'
		;;
	'diagfifo dump')
		printf '%s\n' \
			'. f' '-id v' '-log w text json' '-pid v' '-pidfile f' '-q -' '-v -' '-version -'
		;;
	'diagfifo sample')
		printf '%s\n' \
			'. f' '-id v' '-log w text json' '-pid v' '-pidfile f' '-q -' '-v -' '-version -'
		;;
	'diagfifo hold')
		printf '%s\n' \
			'. i' '-dir d' '-log w text json' '-q -' '-v -' '-version -' '-wait w hbsend hbwatch wdping' \
			'-wait-for v'
		;;
	'diagfifo renew')
		printf '%s\n' \
			'. i' '-dir d' '-log w text json' '-nonce v' '-q -' '-v -' '-version -'
		;;
	'diagfifo release')
		printf '%s\n' \
			'. i' '-dir d' '-force -' '-log w text json' '-nonce v' '-q -' '-v -' '-version -'
		;;
	'hbsend ')
		printf '%s\n' \
			'. f' '-absent f' '-atomic -' '-check f' '-count v' '-create -' '-exists f' '-fresh f' '-grace v' \
			'-group g' '-hold d' '-hold-max v' '-hold-on-trace v' '-id i' '-interval v' '-jitter v' '-key f' \
			'-log w text json' '-m v' '-m-from f' '-msg v' '-once -' '-owner u' '-pid v' '-pidfile f' '-q -' \
			'-ready-fd v' '-relay f' '-state f' '-status w ok starting degraded error' '-stdin v' '-touch -' \
			'-ttl v' '-v -' '-version -' '-withhold -'
		;;
	'hbwatch ')
		printf '%s\n' '@ w tune' \
			'. f' '-bare -' '-confirm f' '-detector w fixed missed phi phi-exp chen' '-events f' '-expect i' \
			'-fail-on w suspect dead' '-feed f' '-feed-after v' '-feed-for i' '-forget v' '-grace v' '-hold d' \
			'-hold-max v' '-hook-jobs v' '-hook-timeout v' '-json -' '-key f' '-log w text json' '-on-change f' \
			'-once -' '-owner i' '-prom f' '-q -' '-ready-fd v' '-record f' '-state f' '-stopped-max v' \
			'-suspect v' '-timeout i' '-timeout-max v' '-ttl-max v' '-v -' '-version -'
		;;
	'hbwatch tune')
		printf '%s\n' \
			'. f' '-beats v' '-detector w fixed missed phi phi-exp chen' '-interval v' '-log w text json' \
			'-mistakes v' '-q -' '-seed v' \
			'-synth w normal jitter lognormal pauses pareto bimodal periodic storms' '-tsv -' '-v -' \
			'-version -'
		;;
	'wdping ')
		printf '%s\n' \
			'. f' '-absent f' '-arm-after v' '-check f' '-device f' '-dry-run -' '-exists f' \
			'-exit w disarm stay' '-fresh f' '-grace v' '-hold d' '-hold-max v' '-hook-timeout v' '-interval v' \
			'-latch -' '-ledger f' '-log w text json' '-max-resets v' '-notify -' '-on-starve f' '-pidfile f' \
			'-pretimeout v' '-q -' '-ready-fd v' '-rt v' '-state f' '-status -' '-stdin v' '-timeout v' '-v -' \
			'-version -'
		;;
	'diag.sh ')
		printf '%s\n' \
			'. d' '-a -' '-t v' '-h -'
		;;
	'flame-graph ')
		printf '%s\n' \
			'. f' '-t v' '-w v' '-h -'
		;;
	'hb-forward ')
		printf '%s\n' \
			'. f' '-c f' '-d d' '-i v' '-k v' '-l -' '-t -' '-w v' '-h -'
		;;
	'hb.sh ')
		printf '%s\n' '@ w beat run hold renew release wait' \
			'. f' '-i v' '-k f' '-M v' '-m v' '-p v' '-s w ok starting degraded error stopping held' '-t v'
		;;
	'tune-plot ')
		printf '%s\n' \
			'. f' '-t v' '-h -'
		;;
	'vigil-crashes ')
		printf '%s\n' \
			'. d' '-l -' '-n v' '-p v' '-h -'
		;;
	'vigil-cron ')
		printf '%s\n' \
			'. i' '-b v' '-e v' '-i i' '-k v' '-n -' '-o -' '-t v' '-h -'
		;;
	'vigil-debug ')
		printf '%s\n' \
			'. i' '-f -' '-n -' '-p f' '-t v' '-W v' '-w w hbsend hbwatch wdping' '-h -'
		;;
	'vigil-doctor ')
		printf '%s\n' \
			'. f' '-q -' '-t -' '-h -'
		;;
	'vigil-drill ')
		printf '%s\n' \
			'. i' '-d v' '-e f' '-f v' '-n -' '-p f' '-t v' '-y -' '-h -'
		;;
	'vigil-incident ')
		printf '%s\n' \
			'. i' '-c w mini auto none' '-d d' '-e f' '-f v' '-k v' '-l f' '-p v' '-t v' '-h -'
		;;
	'vigil-restart ')
		printf '%s\n' \
			'. i' '-e -' '-i f' '-m v' '-n -' '-s v' '-u v' '-h -'
		;;
	'vigil-run ')
		printf '%s\n' \
			'. i' '-b v' '-c -' '-d -' '-D v' '-e -' '-f -' '-H v' '-i i' '-L -' '-n -' '-p f' '-h -'
		;;
	esac
}

# _vigil_ids: the ids of the heartbeats, where the scripts would look for them.
_vigil_ids() {
	local dir=${VIGIL_DIR:-} file
	if [[ -z $dir && $EUID -eq 0 ]]; then
		dir=/run/vigil
	elif [[ -z $dir && -d ${XDG_RUNTIME_DIR:-/nonexistent}/vigil ]]; then
		dir=$XDG_RUNTIME_DIR/vigil
	fi
	for file in "${dir:-$HOME/.vigil/run}"/hb/*.hb; do
		file=${file##*/}
		[[ $file = '*.hb' ]] || printf '%s\n' "${file%.hb}"
	done
}

# _vigil_values KIND CUR: completes a value into COMPREPLY.
_vigil_values() {
	local kind=${1%% *}
	case $kind in
	f | d)
		compopt -o filenames 2>/dev/null
		mapfile -t COMPREPLY < <(compgen "-${kind/f/f}" -- "$2")
		;;
	i) mapfile -t COMPREPLY < <(compgen -W "$(_vigil_ids)" -P "${2%"${2##*,}"}" -- "${2##*,}") ;;
	w) mapfile -t COMPREPLY < <(compgen -W "${1#w}" -P "${2%"${2##*,}"}" -- "${2##*,}") ;;
	u | g) mapfile -t COMPREPLY < <(compgen "-$kind" -- "$2") ;;
	esac
}

_vigil() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} command=${COMP_WORDS[0]##*/}
	local first=1 sub='' subs='' flags=() arguments=f flag kind line
	COMPREPLY=()
	# A word is broken at = and :, as in -flag=value and ID:FILE.
	if [[ $cur = [=:] ]]; then
		cur=''
	elif [[ $prev = [=:] ]]; then
		prev=${COMP_WORDS[COMP_CWORD - 2]}
		[[ $prev = -* || $COMP_CWORD -lt 4 ]] || prev=${COMP_WORDS[COMP_CWORD - 3]}
	fi
	if [[ $command = vigil ]]; then
		if [[ $COMP_CWORD -eq 1 ]]; then
			mapfile -t COMPREPLY < <(compgen -W 'corecap diagfifo hbsend hbwatch wdping -list -version' -- "$cur")
			return
		fi
		command=${COMP_WORDS[1]} first=2
	fi
	subs=" $(_vigil_flags "$command" '' | sed -n 's/^@ w //p') "
	if [[ $COMP_CWORD -gt $first && $subs = *" ${COMP_WORDS[first]} "* ]]; then
		sub=${COMP_WORDS[first]}
		[[ -z $(_vigil_flags "$command" "$sub") ]] && sub=''
	fi
	while IFS= read -r line; do
		flag=${line%% *} kind=${line#* }
		case $flag in
		@) ;;
		.) arguments=$kind ;;
		"$prev" | "${prev#-}")
			[[ $kind = - ]] || {
				_vigil_values "$kind" "$cur"
				return
			}
			flags+=("$flag")
			;;
		*) flags+=("$flag") ;;
		esac
	done < <(_vigil_flags "$command" "$sub")
	if [[ $cur = -* ]]; then
		mapfile -t COMPREPLY < <(compgen -W "${flags[*]}" -- "$cur")
	elif [[ $COMP_CWORD -eq $first && $subs = *[a-z]* ]]; then
		_vigil_values "$arguments" "$cur"
		mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -W "$subs" -- "$cur")
	else
		_vigil_values "$arguments" "$cur"
	fi
}
complete -F _vigil corecap diagfifo hbsend hbwatch wdping diag.sh flame-graph hb-forward hb.sh tune-plot vigil-crashes vigil-cron vigil-debug vigil-doctor vigil-drill vigil-incident vigil-restart vigil-run vigil
