# Reads what hbwatch tune -tsv printed of one trace, twice: once for 24 and 1
# mistakes a day, once for as many as phi 8 makes. Prints a line of the table of
# scripts/bench detect, and leaves with 0, plus 1 if fixed is off the frontier,
# plus 2 if it is worse than phi 8.
#
# A detector is on the frontier if it needs at most 5 % more time than the best
# one, for 24 mistakes a day and for 1. It is worse than phi 8 if it needs over
# 5 % more time to make no more mistakes.
BEGIN {
	FS = "\t"
	n = split("fixed constant missed phi phi%pause=0s phi-exp chen", line, " ")
	sub("%", " ", line[5])
}

FNR == 1 {
	run++
	next
}

$9 == "default" {
	if ($1 == "phi") {
		phi8 = $3 + 0
		same = $6 + 0
	}
	if ($1 == "fixed")
		default_is = sprintf("%.2f s, %.1f", $3, $6)
	next
}

run == 1 {
	keep(24)
	keep(1)
}

run == 2 && $1 == "fixed" && $6 <= same && (equal == "" || $3 < equal) { equal = $3 + 0 }

function keep(budget) {
	if ($6 > budget)
		return
	if (!(($1, budget) in need) || $3 + 0 < need[$1, budget])
		need[$1, budget] = $3 + 0
	if (!(budget in best) || $3 + 0 < best[budget])
		best[budget] = $3 + 0
}

function show(name, budget) {
	return (name, budget) in need ? sprintf("%.2f", need[name, budget]) : "-"
}

function near(budget) {
	return ("fixed", budget) in need && need["fixed", budget] <= 1.05 * best[budget]
}

END {
	printf "%-10s", trace
	for (i = 1; i <= n; i++)
		printf " %12s", show(line[i], 24) "/" show(line[i], 1)
	printf " %9s", near(24) && near(1) ? "yes" : "no"
	printf "  %-13s  %-13s  %s\n", default_is, sprintf("%.2f s, %.1f", phi8, same), sprintf("%.2f s", equal)
	code = 0
	if (!near(24) || !near(1))
		code += 1
	if (equal == "" || equal > 1.05 * phi8)
		code += 2
	exit code
}
