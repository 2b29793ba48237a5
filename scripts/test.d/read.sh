#!/bin/sh
# What can be told without running anything of the tree. A part of scripts/test, which sources it.
# shellcheck disable=SC2154 # what test sets

# silent runs a checker whose every word is a complaint.
silent() {
	bounded "$@" >"$tmp/out" 2>"$tmp/err" || cat "$tmp/err" >>"$tmp/out"
	[ -s "$tmp/out" ] || return 0
	cat "$tmp/out"
	return 1
}

step_format() { silent 60 gofmt -l .; }

step_modules() { bounded 300 go mod tidy -diff && bounded 300 go mod verify; }

step_vet() { bounded 600 go vet ./...; }

step_staticcheck() { bounded 900 go run "$staticcheck" ./...; }

# No program reaches the packages that only tests use; there, the tests are the
# programs.
step_deadcode() {
	bad=0
	bounded 600 go run "$deadcode" ./... >"$tmp/dead" || bad=1
	grep -vE '^pkg/(gate|vmtest|contract)/' "$tmp/dead" && bad=1
	silent 600 go run "$deadcode" -test -filter '^vigil/pkg/(gate|vmtest|contract/.*)$' ./... || bad=1
	return "$bad"
}

scripts() {
	{ find scripts .ci -type f && find cmd pkg -name '*.sh'; } | sort | while read -r file; do
		case $(sed -n '1{p;q;}' "$file") in
		'#!/bin/sh'*) printf '%s\n' "$file" ;;
		esac
	done
}

# The names of our scripts hold no blanks, which the splitting relies on.
# shellcheck disable=SC2086
step_shell() {
	bad=0
	files=$(scripts)
	! want shellcheck || bounded 300 shellcheck -s sh $files || bad=1
	! want shfmt || bounded 60 shfmt -ln posix -d $files || bad=1
	for shell in sh dash 'busybox ash' mksh bash; do
		want "${shell%% *}" || continue
		for file in $files; do
			bounded 10 $shell -n "$file" || bad=1
		done
	done
	return "$bad"
}

step_man() {
	bad=0
	pages=$(find cmd scripts docs -name '*.[1-8]')
	# shellcheck disable=SC2086
	! want mandoc || silent 60 mandoc -T lint -W warning $pages </dev/null || bad=1
	return "$bad"
}

# The machines but arm64 have all that corecap does not need.
step_cross() {
	export CGO_ENABLED=0 GOARCH=arm64
	bad=0
	bounded 600 go vet ./... || bad=1
	bounded 600 go build -o "$tmp/arm64/" ./... || bad=1
	for GOARCH in arm 386 riscv64 mips mipsle ppc64le s390x; do
		go list -deps ./cmd/vigil ./cmd/hbsend ./cmd/hbwatch ./cmd/wdping ./cmd/diagfifo | grep '^vigil/' >"$tmp/portable"
		# shellcheck disable=SC2046 # a list of packages
		bounded 600 go vet $(cat "$tmp/portable") || bad=1
	done
	unset CGO_ENABLED GOARCH
	return "$bad"
}
