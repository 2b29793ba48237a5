#!/bin/sh
# What the fuzz functions find. A part of scripts/test, which sources it.
# shellcheck disable=SC2154 # what test sets

# targets prints a line "PACKAGE FUNCTION" for each fuzz function of the tree.
targets() {
	bounded 900 go test -list '^Fuzz' ./... >"$tmp/list" || return 1
	awk '
	/^Fuzz/ { name[++n] = $1 }
	/^(ok|\?) / { for (i = 1; i <= n; i++) print $2, name[i]; n = 0 }
	' "$tmp/list"
}

# Executions are counted, not seconds, so that a slow machine tries as much.
step_fuzz() {
	bad=0
	targets >"$tmp/targets" || return 1
	while read -r package name; do
		if bounded 600 go test -run '^$' -fuzz "^$name\$" -fuzztime "${fuzz_runs}x" \
			-fuzzminimizetime 100x "$package" >"$tmp/fuzz" 2>&1 </dev/null; then
			printf 'ok  \t%s\t%s\n' "$package" "$name"
			fuzzed=$((fuzzed + 1))
		else
			cat "$tmp/fuzz"
			bad=1
		fi
	done <"$tmp/targets"
	if [ "$fuzzed" -eq 0 ]; then
		printf 'no fuzz function passed\n'
		bad=1
	fi
	return "$bad"
}
