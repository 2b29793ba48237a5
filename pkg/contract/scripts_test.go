package contract

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"vigil/pkg/contract/tree"
	"vigil/pkg/gate"
)

// scripts lists the shell scripts that are started by a user, as opposed to
// sourced; those of scripts/service an init starts.
func scripts(t *testing.T) []string {
	t.Helper()
	return slices.DeleteFunc(files(t), func(name string) bool {
		info, err := os.Stat(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		return info.Mode()&0o111 == 0 || strings.HasPrefix(name, "scripts/service/") || !strings.HasPrefix(read(t, name), "#!")
	})
}

// speaks says how a script answers -h and a flag that it does not have.
func speaks(t *testing.T, argv ...string) {
	t.Helper()
	script := argv[len(argv)-1]
	help := run(t, nil, append(slices.Clone(argv), "-h")...)
	if help.code != 0 || !strings.HasPrefix(help.stdout, "usage: ") || help.stderr != "" {
		t.Errorf("%s -h: exit status %d, stdout %q, stderr %q", argv, help.code, help.stdout, help.stderr)
	}
	if !strings.Contains(help.stdout, "exit status: 0 ") {
		t.Errorf("%s -h: says nothing of its exit status", script)
	}
	wrong := run(t, nil, append(slices.Clone(argv), "-Z")...)
	if wrong.code != 100 || wrong.stdout != "" || !strings.Contains(wrong.stderr, "-Z") || !strings.Contains(wrong.stderr, "\nusage: ") {
		t.Errorf("%s -Z: exit status %d, stdout %q, stderr %q", argv, wrong.code, wrong.stdout, wrong.stderr)
	}
}

func TestScriptsSpeak(t *testing.T) {
	for _, name := range scripts(t) {
		speaks(t, filepath.Join(root, name))
	}
}

func TestScriptsUnderEveryShell(t *testing.T) {
	gate.Need(t, "shells")
	for _, shell := range gate.Shells() {
		t.Run(strings.Join(shell, "-"), func(t *testing.T) {
			for _, name := range scripts(t) {
				speaks(t, append(slices.Clone(shell), filepath.Join(root, name))...)
			}
		})
	}
}

var careful = regexp.MustCompile(`(?m)^\t*set -eu$`)

// TestScriptsArePortable sees to what shellcheck takes the author's word for.
func TestScriptsArePortable(t *testing.T) {
	for _, name := range scripts(t) {
		text := read(t, name)
		if !strings.HasPrefix(text, "#!/bin/sh\n") {
			t.Errorf("%s: its first line is not #!/bin/sh", name)
		}
		if !careful.MatchString(text) {
			t.Errorf("%s: no set -eu", name)
		}
	}
}

var promise = regexp.MustCompile(`(?m)^VIGIL_TEST_MUST='([^']*)'$`)

// TestCIPromisesEveryGate: a gate that nobody promises may stay shut for ever.
func TestCIPromisesEveryGate(t *testing.T) {
	m := promise.FindStringSubmatch(read(t, ".ci/run"))
	if m == nil {
		t.Fatal(".ci/run: no VIGIL_TEST_MUST")
	}
	promised := strings.Fields(m[1])
	for _, name := range gate.Names() {
		if !slices.Contains(promised, name) {
			t.Errorf(".ci/run: does not promise %s", name)
		}
	}
	for _, name := range promised {
		if !slices.Contains(gate.Names(), name) {
			t.Errorf(".ci/run: promises %s, which is no gate", name)
		}
	}
}

// installed lists what lies under dir, with modes.
func installed(t *testing.T, dir string) map[string]os.FileMode {
	t.Helper()
	found := map[string]os.FileMode{}
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		found[name] = info.Mode()
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestInstall(t *testing.T) {
	install := filepath.Join(tree.Built(t), "scripts/install")
	stage := filepath.Join(t.TempDir(), "a stage")
	env := []string{"DESTDIR=" + stage, "PREFIX=/opt/vigil"}
	step := func(args ...string) result {
		t.Helper()
		got := run(t, env, append([]string{install}, args...)...)
		if got.code != 0 || got.stderr != "" {
			t.Fatalf("install %s: exit status %d\n%s", args, got.code, got.stderr)
		}
		return got
	}

	said := step("-n").stdout
	if _, err := os.Stat(stage); err == nil {
		t.Error("install -n made something")
	}
	for range 2 { // over itself, too
		step()
	}
	found := installed(t, stage)
	for _, tool := range tools(t) {
		if mode := found["opt/vigil/bin/"+tool]; mode != 0o755 {
			t.Errorf("bin/%s: mode %v", tool, mode)
		}
		if mode := found["opt/vigil/share/man/man8/"+tool+".8"]; mode != 0o644 {
			t.Errorf("man8/%s.8: mode %v", tool, mode)
		}
	}
	for _, name := range []string{"share/man/man5/heartbeat.5", "share/man/man5/hold.5", "share/man/man7/vigil.7",
		"share/bash-completion/completions/hbsend", "share/bash-completion/completions/vigil-debug", "share/zsh/site-functions/_vigil",
		"share/vigil/vigil.sh", "share/vigil/vigil.gdb", "share/doc/vigil/README.md", "share/doc/vigil/docs/debugging.md",
		"share/doc/vigil/docs/alerts.yml", "share/doc/vigil/scripts/examples/selfdump.c", "share/doc/vigil/scripts/examples/service/main.go"} {
		if mode := found["opt/vigil/"+name]; mode != 0o644 {
			t.Errorf("%s: mode %v", name, mode)
		}
	}
	if lines := strings.Count(said, "\n"); lines != len(found) {
		t.Errorf("install -n named %d files, %d were installed", lines, len(found))
	}
	got := digest(t, filepath.Join(stage, "opt/vigil/bin", tools(t)[0]))
	if want := digest(t, filepath.Join(tree.Built(t), "dist", tools(t)[0])); got != want {
		t.Errorf("installed %s, built %s", got, want)
	}

	stranger := filepath.Join(stage, "opt/vigil/bin/stranger")
	if err := os.WriteFile(stranger, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	step("-u")
	if left := installed(t, stage); len(left) != 1 || left["opt/vigil/bin/stranger"] == 0 {
		t.Errorf("after install -u: %v, want only what somebody else put there", left)
	}
	for _, name := range []string{"vigil", "doc/vigil"} {
		if _, err := os.Stat(filepath.Join(stage, "opt/vigil/share", name)); err == nil {
			t.Errorf("after install -u: share/%s is still there", name)
		}
	}
}

func TestInstallRefuses(t *testing.T) {
	install := filepath.Join(tree.Built(t), "scripts/install")
	if got := run(t, []string{"PREFIX=opt"}, install); got.code != 100 || !strings.Contains(got.stderr, "PREFIX") {
		t.Errorf("relative PREFIX: %+v", got)
	}
	occupied := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(occupied, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := run(t, []string{"DESTDIR=" + occupied}, install); got.code != 111 || !strings.Contains(got.stderr, occupied) {
		t.Errorf("DESTDIR that is a file: %+v", got)
	}
}
