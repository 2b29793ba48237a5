# Reads what commands say with -h, each below a line "@ COMMAND SUBCOMMAND", and
# prints a table with the columns command, subcommand, flag, kind, text, separated
# by tabs; flag is "" for the arguments. A kind is:
#
# The flag "@" stands for the subcommands.
#
#	-       no value            v  a value that nobody can guess
#	f d     a file, a directory u g  a user, a group
#	i       an id of a heartbeat, perhaps with = or , behind it
#	w WORD...  one of these words

BEGIN { OFS = "\t" }

function emit() {
	if (flag != "") print command, sub_, flag, kind(argument, text), brief(text)
	flag = ""
}

# brief is the first line of a text.
function brief(s) {
	sub(/\n.*/, "", s)
	sub(/:$/, "", s)
	return s
}

# words gives the list that a text ends in: "…: a, b or c (default a)", or a line
# for each.
function words(s,    n, lines, list, i) {
	n = split(s, lines, "\n")
	if (lines[1] ~ /:$/ && lines[2] ~ /^[a-z][a-z-]*: /) {
		for (i = 2; i <= n; i++)
			if (match(lines[i], /^[a-z][a-z-]*: /)) list = list " " substr(lines[i], 1, RLENGTH - 2)
		return list
	}
	gsub(/\n/, " ", s)
	gsub(/ \([^)]*\)/, "", s)
	sub(/;.*/, "", s)
	gsub(/, or /, " or ", s)
	if (s ~ /^[a-z]/) s = "x: " s
	if (!match(s, /: [a-z][a-z-]*(, [a-z][a-z-]*)*( or |, )[a-z][a-z-]*$/)) return ""
	s = substr(s, RSTART + 1)
	gsub(/,| or /, " ", s)
	gsub(/ +/, " ", s)
	return s
}

function kind(argument, text,    list) {
	if (argument == "") return "-"
	if (argument ~ /^(format|word|WORD|MODE|state|NAME\[.*|NAME)$/ && (list = words(text)) != "") return "w" list
	if (argument ~ /^(ID,\.\.\.|ID=.*|\[ID=\]D|ID|id|SVC)$/) return "i"
	if (argument ~ /(FILE|file|PATH|FIFO|NODE|PROG|program|trace|PID\|FILE)(=D|\[=D\])?$/) return "f"
	if (argument ~ /^(DIR|directory)$/) return "d"
	if (argument == "USER") return "u"
	if (argument == "GROUP" || argument == "NAME" && text ~ /group/) return "g"
	if (argument == "TOOL,...") return "w hbsend hbwatch wdping"
	return "v"
}

# takes notes from a usage line which letters want what, and the subcommands of a
# script.
function takes(line,    word) {
	if (match(line, " " command " [a-z]+([|][a-z]+)* ")) {
		word = substr(line, RSTART + length(command) + 2, RLENGTH - length(command) - 2)
		gsub(/[|]/, " ", word)
		sub(/ $/, "", word)
		subs = subs " " word
	}
	while (match(line, /\[-[A-Za-z] [A-Z]+/)) {
		word = substr(line, RSTART + 1, RLENGTH - 1)
		wants[command, substr(word, 1, 2)] = substr(word, 4)
		line = substr(line, RSTART + RLENGTH)
	}
}

/^@ / {
	emit()
	if (command != $2) {
		if (subs != "" && command ~ /\.sh$/) print command, "", "@", "w" subs, ""
		subs = ""
	}
	command = $2
	sub_ = $3
	usage = 0
	if (sub_ != "") print command, "", "@", "w " sub_, ""
	next
}
/^usage: / { usage = 1 }
sub_ == "" && (/^usage: / || /^       /) { takes(" " $0 " ") }
# Of the usage, what its arguments are.
usage {
	line = " " $0 " "
	if (line ~ /[ \[](ID|SVC)[] ]/) arguments = "i"
	else if (line ~ /[ \[]DIR[] ]/ && line !~ /FILE|PATH|-dir DIR/) arguments = "d"
	else arguments = "f"
	if ($0 ~ /-dir DIR/) arguments = "i"
	print command, sub_, "", arguments, ""
	usage = 0
	next
}
# A flag of a tool, whose text follows; of a tool, without a value; of a script.
/^  -[A-Za-z0-9]/ {
	emit()
	line = substr($0, 3)
	if (match(line, /\t|  +/)) {
		text = substr(line, RSTART + RLENGTH)
		line = substr(line, 1, RSTART - 1)
	} else text = ""
	n = split(line, part, " ")
	flag = part[1]
	argument = line
	sub(/^[^ ]+ ?/, "", argument)
	if (argument == "") argument = wants[command, flag]
	next
}
flag != "" && /^    \t|^           / { sub(/^[ \t]+/, ""); text = text (text == "" ? "" : "\n") $0; next }
flag != "" && /^[a-z].*: / { text = text "\n" $0; next }
flag != "" && /^[a-z, -]+ \(default/ { text = text "\n" $0; next }
flag != "" && /^  \(|^  [a-z-]+=/ { next }
{ emit() }
END {
	emit()
	if (subs != "" && command ~ /\.sh$/) print command, "", "@", "w" subs, ""
}
