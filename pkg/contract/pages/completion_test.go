package pages

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"vigil/pkg/contract/tree"
	"vigil/pkg/gate"
)

// TestCompletionIsFresh: what lies in scripts/completion.d is what the programs say
// of themselves now.
func TestCompletionIsFresh(t *testing.T) {
	built := tree.Built(t)
	output, err := exec.Command(filepath.Join(built, "scripts/completion"), "-c").CombinedOutput()
	if err != nil {
		t.Errorf("scripts/completion -c: %v: %s", err, output)
	}
	copied := filepath.Join(t.TempDir(), "tree")
	if err := tree.Clone(built, copied); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(copied, "scripts/completion.d/_vigil")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	stale := strings.Replace(string(text), "'*-interval[", "'*-intervals[", 1)
	if stale == string(text) {
		t.Fatal("_vigil: no -interval")
	}
	if err := os.WriteFile(file, []byte(stale), 0o644); err != nil {
		t.Fatal(err)
	}
	output, err = exec.Command(filepath.Join(copied, "scripts/completion"), "-c", filepath.Join(built, "dist")).CombinedOutput()
	if err == nil || !strings.Contains(string(output), "_vigil: has changed") {
		t.Errorf("scripts/completion -c, with a stale file: %v: %s", err, output)
	}
}

// runDirectory makes one with the heartbeats of web and db.
func runDirectory(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"hb", "files"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"hb/web.hb", "hb/db.hb", "files/x.hb", "files/y.hb"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// shell runs a script of a shell with the words that follow.
func shell(t *testing.T, dir, script string, argv ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	completions, err := filepath.Abs(filepath.Join(tree.Root(), "scripts/completion.d"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, argv[0], append([]string{"-c", script}, argv[1:]...)...)
	if argv[0] == "zsh" {
		cmd.Args = slices.Insert(cmd.Args, 1, "-f")
	}
	cmd.Dir = filepath.Join(dir, "files")
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "VIGIL_DIR=" + dir, "TERM=dumb", "COMPLETIONS=" + completions}
	cmd.Stderr = t.Output()
	cmd.WaitDelay = 10 * time.Second
	output, err := cmd.Output()
	if err != nil {
		t.Fatalf("%q: %v", argv, err)
	}
	return strings.TrimSpace(string(output))
}

const inBash = `
. "$COMPLETIONS/vigil.bash"
complete -p "$1" >/dev/null || exit
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
_vigil
# Files come as they lie in the directory; bash sorts them for the user.
case $COMPREPLY in *.hb) mapfile -t COMPREPLY < <(printf '%s\n' "${COMPREPLY[@]}" | sort) ;; esac
echo "${COMPREPLY[*]}"
`

// TestCompletionInBash asks as bash does: with the words of the line, the last of
// which is to be completed.
func TestCompletionInBash(t *testing.T) {
	gate.Need(t, "shells")
	dir := runDirectory(t)
	for _, test := range []struct{ line, want string }{
		{"hbsend -sta", "-state -status"},
		{"hbsend -status ", "ok starting degraded error"},
		{"hbsend -key ", "x.hb y.hb"},
		{"hbsend ", "x.hb y.hb"},
		{"hbsend -owner roo", "root"},
		{"hbsend -fresh web : x", "x.hb"},
		{"hbsend -msg ", ""},
		{"hbwatch -detector p", "phi phi-exp"},
		{"hbwatch -fail-on ", "suspect dead"},
		{"hbwatch -expect web,d", "web,db"},
		{"hbwatch tu", "tune"},
		{"hbwatch tune -synth p", "pauses pareto periodic"},
		{"hbwatch tune -exp", ""},
		{"wdping -exit = d", "disarm"},
		{"wdping -log ", "text json"},
		{"corecap -mode ", "auto precopy fork stop mini"},
		{"corecap st", "stacks"},
		{"corecap stacks -", "-force -json -log -n -q -v -version"},
		{"diagfifo re", "renew release"},
		{"diagfifo hold -dir . w", "web"},
		{"diagfifo hold -wait hbwatch,w", "hbwatch,wdping"},
		{"vigil h", "hbsend hbwatch"},
		{"vigil hbwatch -fail", "-fail-on"},
		{"vigil-debug ", "db web"},
		{"vigil-debug -", "-f -n -p -t -W -w -h"},
		{"vigil-incident -c ", "mini auto none"},
		{"hb.sh w", "wait"},
		{"flame-graph -t ", ""},
	} {
		if got := shell(t, dir, inBash, append([]string{"bash", "bash"}, strings.Split(test.line, " ")...)...); got != test.want {
			t.Errorf("%q is completed by %q, want %q", test.line, got, test.want)
		}
	}
}

// inZsh types a line, a tab and a line feed into an interactive zsh, in which the
// command prints what it gets.
const inZsh = `
zmodload zsh/zpty
zpty z zsh -f -i
zpty -w z "PS1=; unsetopt zle_bracketed_paste; fpath=(${(q)COMPLETIONS} \$fpath); autoload -U compinit; compinit -u -D; for c in hbsend hbwatch wdping corecap diagfifo vigil vigil-debug hb.sh; do functions[\$c]='print -r -- GOT: \"\$*\" :END'; done; print REA''DY"
zpty -r z out '*READY*' || exit
for line; do
	zpty -n -w z "$line"$'\t\n'
	zpty -r z out '*GOT: *:END*' || exit
	out=${out##*GOT: }
	print -r -- "${out%% :END*}"
done
zpty -d z
`

func TestCompletionInZsh(t *testing.T) {
	gate.Need(t, "zsh")
	tests := []struct{ line, want string }{
		{"hbsend -statu", "-status"},
		{"hbsend -status deg", "-status degraded"},
		{"hbsend -key x", "-key x.hb"},
		{"hbwatch -detector mi", "-detector missed"},
		{"hbwatch tu", "tune"},
		{"hbwatch tune -synth sto", "tune -synth storms"},
		{"wdping -exit st", "-exit stay"},
		{"corecap -mode pre", "-mode precopy"},
		{"corecap stacks -js", "stacks -json"},
		{"diagfifo rel", "release"},
		{"vigil hbw", "hbwatch"},
		{"vigil corecap -mode fo", "corecap -mode fork"},
		{"vigil-debug we", "web"},
	}
	argv := []string{"zsh", "zsh"}
	for _, test := range tests {
		argv = append(argv, test.line)
	}
	got := strings.Split(shell(t, runDirectory(t), inZsh, argv...), "\n")
	if len(got) != len(tests) {
		t.Fatalf("%d answers: %q", len(got), got)
	}
	for i, test := range tests {
		if g := strings.TrimSpace(got[i]); g != test.want {
			t.Errorf("%q is completed to %q, want %q", test.line, g, test.want)
		}
	}
}
