#!/bin/sh
# Nobody is blamed for a machine that stands still. A section of scripts/bench, which
# sources it.
# shellcheck disable=SC2154 # what bench sets

freeze() {
	title 'freeze: 600 senders and hbwatch stopped together, 20 times, every other time amid its reads'
	for i in go strace; do
		command -v "$i" >/dev/null || die 111 "$i: not found"
	done
	(cd "$root" && VIGIL_TEST_MUST='strace ptrace' VIGIL_FREEZES=20 \
		go test -count=1 -v -run '^TestFreezes$' ./cmd/hbwatch) >"$dir/freeze" ||
		{ cat "$dir/freeze" >&2 && die 1 'freeze: somebody was blamed'; }
	sed -n 's/.*freezes_test.go:[0-9]*: //p' "$dir/freeze"
}
