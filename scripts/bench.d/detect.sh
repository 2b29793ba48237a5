#!/bin/sh
# The detectors against each other on made-up traces. A section of scripts/bench, which sources it.
# shellcheck disable=SC2154 # what bench sets

# replay MISTAKES: every detector, and each one's soonest setting that makes so
# few a day. None may do; that is told by 1.
replay() {
	"$bin/hbwatch" tune -tsv -interval 1s -mistakes "$1" "$dir/trace" || [ $? -eq 1 ] || die 111 'hbwatch tune: see above'
}

detect() {
	title 'detect: mean seconds to notice a crash, for at most 24/1 mistakes a day; 1000000 beats, one each second'
	printf '%-10s %12s %12s %12s %12s %12s %12s %12s %9s  %-13s  %-13s  %s\n' trace fixed constant missed phi phi,pause=0 phi-exp chen \
		frontier 'fixed default' 'phi 8' 'fixed for as few mistakes as phi 8'
	on=0
	worse=0
	traces='normal jitter lognormal pauses pareto bimodal periodic storms'
	for t in $traces; do
		"$bin/hbwatch" tune -synth "$t" >"$dir/trace"
		replay 1 >"$dir/one.tsv"
		same=$(awk -F '\t' '$1 == "phi" && $9 == "default" {print $6}' "$dir/one.tsv")
		replay "$same" >"$dir/two.tsv"
		verdict=0
		awk -v trace="$t" -f "$root/scripts/testdata/detect.awk" "$dir/one.tsv" "$dir/two.tsv" || verdict=$?
		[ "$verdict" -le 3 ] || die 111 "awk: exit status $verdict"
		on=$((on + 1 - verdict % 2))
		worse=$((worse + verdict / 2))
	done
	printf 'fixed is on the frontier (within 5 %% of the best at both rates) on %d of 8, and worse than phi 8 (over 5 %% slower for as few mistakes) on %d\n' "$on" "$worse"
}
