#!/bin/sh
# The tests, and what they leave behind. A part of scripts/test, which sources it.
# shellcheck disable=SC2034,SC2154 # what test uses, and sets

# race prints -race if it can be had: it needs a C compiler that links.
race() {
	printf '#include <pthread.h>\nint main(void) { return 0; }\n' >"$tmp/race.c"
	if gcc -pthread -o "$tmp/race" "$tmp/race.c" 2>/dev/null || promised gcc; then
		printf '%s\n' -race
	else
		printf 'unit: -race: no C compiler that links\n' >>"$tmp/skips"
	fi
}

# digest shows of go test -v what a reader needs: the verdict of each package
# and, of one that failed, all that was not said by a test that passed; last,
# beside the verdict, what each test that failed said first.
digest() {
	awk '
	function causes(  k, i, shown) {
		for (k = 1; k <= m; k++) {
			shown = 0
			for (i = 1; i <= n && shown < 3; i++) {
				if (who[i] != wrong[k] || said[i] !~ /^ +[^ ]+\.go:[0-9]+: /) continue
				sub(/^ +/, "", said[i])
				printf "failed: %s: %s\n", wrong[k], substr(said[i], 1, 300)
				shown++
			}
		}
	}
	/^=== / { name = $3; next }
	/^ *--- (PASS|SKIP): / { quiet[$3]; next }
	/^ *--- FAIL: / { name = wrong[++m] = $3 }
	/^(PASS|FAIL)$/ { next }
	/^(ok  |FAIL|\?   )\t/ {
		if ($1 == "FAIL") {
			for (i = 1; i <= n; i++) if (!(who[i] in quiet)) print said[i]
			causes()
		}
		print
		fflush()
		n = m = 0
		name = ""
		split("", quiet)
		next
	}
	{ who[++n] = name; said[n] = $0 }
	END { for (i = 1; i <= n; i++) if (!(who[i] in quiet)) print said[i] }
	'
}

# skipped STEP FILE: what was skipped by the output of go test -v in FILE, and
# why: the last thing that the test said.
skipped() {
	awk -v step="$1" '
	/^=== / { name = $3; next }
	/^ *--- SKIP: / { printf "%s: %s: %s\n", step, $3, why[$3]; next }
	/^ *--- / { next }
	/^(ok  |FAIL|\?   )\t/ { split("", why) }
	name != "" { sub(/^ +([^ ]+\.go:[0-9]+: )?/, ""); why[name] = $0 }
	' "$2"
}

# leftovers names the files and the processes that the tests did not clear
# away. A process that was killed a moment ago may take a moment to go.
leftovers() {
	find "$tmp/t" -mindepth 1 -maxdepth 2
	tries=0
	while [ -n "$(strays)" ] && [ "$tries" -lt 50 ]; do
		tries=$((tries + 1))
		sleep 0.1
	done
	for pid in $(strays); do
		printf 'process %s: %s\n' "$pid" "$(tr '\0' ' ' <"/proc/$pid/cmdline")"
	done 2>/dev/null
}

step_unit() {
	bad=0
	flag=$(race)
	# As /tmp is: some tests start programs as another user. And the path is
	# short: that of a socket has 108 bytes.
	mkdir "$tmp/t" && chmod 1777 "$tmp/t" && chmod 711 "$tmp" && mkfifo "$tmp/pipe" || return 1
	tee "$tmp/unit" <"$tmp/pipe" | digest &
	reader=$!
	# shellcheck disable=SC2086
	bounded 2700 env TMPDIR="$tmp/t" ${flag:+CGO_ENABLED=1} \
		go test -v $flag -shuffle=on -timeout 30m ./... \
		>"$tmp/pipe" 2>"$tmp/err" || bad=1
	wait "$reader" || bad=1
	grep -v '^go: downloading ' "$tmp/err" || :
	count=$(grep -c '^ *--- PASS: ' "$tmp/unit") || bad=1
	passed=$((passed + count))
	skipped unit "$tmp/unit" >>"$tmp/skips"
	left=$(leftovers)
	if [ -n "$left" ]; then
		printf 'left behind by the tests:\n%s\n' "$left"
		bad=1
	fi
	return "$bad"
}
