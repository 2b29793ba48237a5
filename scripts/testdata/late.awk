# The truth of a herd, then the events of hbwatch: prints for each death by how many
# milliseconds it was told after the deadline. With -v false=1, the ids that were told dead
# and had not ceased.

# ms gives the milliseconds of a day, of 2026-11-27T05:57:19.995Z.
function ms(time) { return ((substr(time, 12, 2) * 60 + substr(time, 15, 2)) * 60 + substr(time, 18, 6)) * 1000 }

# member gives what stands behind a key.
function member(key,   rest) {
	rest = $0
	if (!sub(".*\"" key "\":\"?", "", rest))
		return ""
	sub("[\",}].*", "", rest)
	return rest
}

FNR == NR && NF == 2 { last[$1] = $2 % 86400000 }

FNR != NR && /"to":"dead"/ {
	id = member("id")
	if (!(id in last)) {
		if (false) print id
		next
	}
	if (false) next
	late = ms(member("time")) - last[id] - member("deadline_ms")
	if (late < -43200000) late += 86400000 # over midnight
	printf "%d\n", late
}
