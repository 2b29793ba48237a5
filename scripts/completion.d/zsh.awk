# Makes the completion for zsh of the table that table.awk prints.

BEGIN { FS = "\t" }

function action(kind) {
	if (kind == "f") return "_files"
	if (kind == "d") return "_files -/"
	if (kind == "u") return "_users"
	if (kind == "g") return "_groups"
	if (kind == "i") return "_vigil_ids"
	if (kind ~ /^w/) return "(" substr(kind, 3) ")"
	return " "
}

# plain is a text without what _arguments or the quotes would take for their own.
function plain(text) {
	gsub(/'/, "", text)
	gsub(/\[|\]|:|\\/, " ", text)
	return text
}

{
	key = $1 " " $2
	if (!(key in lines)) order[++n] = key
	if (!($1 in named)) commands = commands " " $1
	named[$1]
	if ($3 == "@") {
		subs[$1] = subs[$1] substr($4, 2)
		if (!(key in lines)) lines[key] = ""
		next
	}
	if ($3 == "") spec = "'*:argument:" action($4) "'"
	else spec = "'*" $3 "[" plain($5) "]" ($4 == "-" ? "" : ":value:" action($4)) "'"
	if (!((key, $3) in seen)) lines[key] = lines[key] " \\\n\t\t\t" spec
	seen[key, $3]
}

END {
	print "#compdef" commands " vigil"
	print "# Completion for zsh of vigil's commands. Made by scripts/completion: what is"
	print "# changed here is lost."
	while ((getline line < "scripts/completion.d/_vigil.in") > 0) print line
	print "_vigil() {"
	print "\tlocal command=${words[1]:t} sub="
	print "\tif [[ $command = vigil ]]; then"
	print "\t\tif (( CURRENT == 2 )); then"
	print "\t\t\tcompadd -- corecap diagfifo hbsend hbwatch wdping -list -version"
	print "\t\t\treturn"
	print "\t\tfi"
	print "\t\tshift words"
	print "\t\t(( CURRENT-- ))"
	print "\t\tcommand=${words[1]:t}"
	print "\tfi"
	print "\tcase $command in"
	for (i = 1; i <= n; i++) {
		split(order[i], part, " ")
		if (!(part[1] in subs) || part[1] in done_) continue
		done_[part[1]]
		print "\t" part[1] ") _vigil_sub" subs[part[1]] " ;;"
	}
	print "\tesac"
	print "\tcase \"$command $sub\" in"
	for (i = 1; i <= n; i++) if (lines[order[i]] != "") {
		print "\t'" order[i] "')"
		print "\t\t_arguments" lines[order[i]]
		print "\t\t;;"
	}
	print "\tesac"
	print "}"
	print ""
	print "_vigil \"$@\""
}
