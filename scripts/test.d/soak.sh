#!/bin/sh
# Ten minutes of faults in a machine of their own. A part of scripts/test, which
# sources it.
# shellcheck disable=SC2034,SC2154 # what test uses, and sets

soak=./pkg/contract/soak

# The figures are shown in any case: docs/soak.md has those of a run. The seed is
# the same each time: what is found with another one is not the last change's.
step_soak() {
	bad=0
	bounded 600 go vet -tags soak $soak $soak/testdata/chaos $soak/testdata/check || bad=1
	mkdir -p "$tmp/t" && chmod 1777 "$tmp/t" && chmod 711 "$tmp" || return 1
	bounded 3600 env TMPDIR="$tmp/t" go test -tags soak -count=1 -v -timeout 55m -run '^TestSoak$' $soak -args -seed 1 >"$tmp/soak" 2>&1 || bad=1
	grep -v '^=== RUN\|^go: downloading ' "$tmp/soak" || :
	grep -q '^--- \(PASS\|SKIP\): ' "$tmp/soak" || bad=1 # no test is no success
	count=$(grep -c '^--- PASS: ' "$tmp/soak") || :
	passed=$((passed + count))
	skipped soak "$tmp/soak" >>"$tmp/skips"
	left=$(leftovers)
	if [ -n "$left" ]; then
		printf 'left behind by the soak:\n%s\n' "$left"
		bad=1
	fi
	return "$bad"
}
