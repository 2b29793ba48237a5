# Makes the completion for bash of the table that table.awk prints.

BEGIN {
	FS = "\t"
	print "# Completion for bash of vigil's commands. Made by scripts/completion: what is"
	print "# changed here is lost."
	print ""
	print "# _vigil_flags COMMAND SUBCOMMAND: a line for each flag: it, and the kind of its"
	print "# value (see table.awk); that of @ is its subcommands, that of . its arguments."
	print "_vigil_flags() {"
	print "\tcase \"$1 $2\" in"
}

{
	key = $1 " " $2
	if (!(key in lines)) order[++n] = key
	flag = $3 == "" ? "." : $3
	if (flag == "@") {
		subs[key] = subs[key] substr($4, 2)
		if (!(key in lines)) lines[key] = ""
	} else if (!((key, flag) in seen)) {
		# Lines of a hundred characters or so.
		word = "'" flag " " $4 "'"
		room[key] += length(word) + 1
		if (!(key in room) || room[key] > 100 || lines[key] == "") room[key] = length(word)
		lines[key] = lines[key] (room[key] == length(word) ? " \\\n\t\t\t" : " ") word
	}
	seen[key, flag]
	if (!($1 in named)) commands = commands " " $1
	named[$1]
}

END {
	for (i = 1; i <= n; i++) {
		key = order[i]
		print "\t'" key "')"
		printf "\t\tprintf '%%s\\n'"
		if (key in subs) printf " '@ w%s'", subs[key]
		print lines[key]
		print "\t\t;;"
	}
	print "\tesac"
	print "}"
	while ((getline line < "scripts/completion.d/vigil.bash.in") > 0) print line
	print "complete -F _vigil" commands " vigil"
}
