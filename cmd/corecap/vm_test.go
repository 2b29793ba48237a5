package main

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"vigil/pkg/gate"
	"vigil/pkg/vmtest"
)

// target compiles the program of pkg/stacks for a machine, static.
func target(t *testing.T, compiler string) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "target")
	out, err := exec.Command(compiler, "-O1", "-g", "-fno-inline", "-pthread", "-static", "-o", path, "../../pkg/stacks/testdata/target.c").CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", compiler, err, out)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// script is tried on both machines. Each mode of the target is stopped; its
// stacks have to be the same of the live process, of both cores, and as wanted.
const script = `
echo core >/proc/sys/kernel/core_pattern
# functions FILE: those of the first thread, innermost first.
functions() { awk '/^TID/ { n++ } n == 1 && /^#/ { sub(/\+0x.*/, "", $3); print $3 } n == 1 && /\.\.\. / { print $0 }' "$1" | tr '\n' ' '; }
look() {
	name=$1
	shift
	"$@" >"$name.out" 2>&1 &
	pid=$!
	await grep -q ready "$name.out"
	# The first thread of the server may be the one that computes.
	[ "$name" = goserver ] || await grep -q '^State:.S' /proc/$pid/status
	[ "$name" = vforked ] || kill -STOP $pid
	corecap stacks $pid >"$name.live" || die "$name: stacks"
	corecap -q -mode stop -o "$name.core" $pid || die "$name: stop"
	corecap -q -mode mini -o "$name.mini" $pid || die "$name: mini"
	for core in core mini; do
		corecap stacks "$name.$core" | grep '^[#T]' | sed 's/,* signal [0-9]*//' >"$name.a"
		grep '^[#T]' "$name.live" | sed 's/,* signal [0-9]*//; s/^\(TID [0-9]*\).*:/\1:/' >"$name.b"
		[ "$name" = vforked ] || cmp -s "$name.a" "$name.b" || { stamp <"$name.a"; stamp <"$name.b"; die "$name: $core differs"; }
	done
	log "$name $(wc -c <"$name.mini") bytes, threads $(grep -c ^TID "$name.live"), ended $(grep -c ' _start+\|clone+\|clone3+\|thread_start+\|goexit+\|mstart+\|mcall+\| rt0_go+' "$name.live"): $(functions "$name.live")"
	! grep -q 'unable\|fail' "$name.out" || die "$name: $(cat "$name.out")"
	kill -CONT $pid
	grep -q '^TracerPid:.0$' /proc/$pid/status || die "$name: still traced"
	kill -9 $pid
	wait $pid 2>/dev/null
}
look threads target threads 50
look signal target signal
look altstack target altstack
look jit target jit
look vforked target vforked
stamp <vforked.live
GODEBUG=asyncpreemptoff=1 look goserver goserver
grep -A9 main.compute goserver.live | stamp
look few target threads 5
target threads 5 >modes.out &
pid=$!
await grep -q ready modes.out
for mode in auto fork precopy; do
	log "$mode: $(corecap -mode $mode -o $mode.core $pid 2>&1)"
done
log "running: $(grep '^State\|^TracerPid' /proc/$pid/status | tr '\n' ' ')"
kill -9 $pid
echo "core: $(gzip -c few.mini | base64 -w 0)"
grep '^[#T]' few.live | stamp
ulimit -c unlimited
target nowhere >nowhere.out
corecap stacks core* >nowhere.kernel || die 'the core of the kernel'
log "nowhere $(head -n 2 nowhere.kernel | tail -n 1) $(functions nowhere.kernel)"
`

func TestStacksInVM(t *testing.T) {
	for _, m := range []struct {
		gate, arch, compiler, restorer, tail string
		modes                                [3]string // what auto, fork and precopy give there
	}{
		{"vm", "amd64", "gcc", "__restore_rt", "main __libc_start_call_main __libc_start_main[a-z_]* _start", [3]string{"mode=fork ", "mode=fork ", "error: precopy: this kernel has no "}},
		{"vm-arm64", "arm64", "aarch64-linux-gnu-gcc", "__kernel_rt_sigreturn", "main __libc_start_call_main __libc_start_main[a-z_]* _start",
			[3]string{"mode=stop ", "error: calls in another process are not proven on this kind of machine", "error: calls in another process are not proven"}},
	} {
		t.Run(m.arch, func(t *testing.T) {
			t.Parallel()
			gate.Need(t, m.gate, "gcc", "elfutils")
			if m.arch == "arm64" {
				gate.Need(t, "gcc-arm64")
			}
			files := map[string][]byte{
				"/bin/corecap":  vmtest.Program(t, m.arch, "corecap"),
				"/bin/target":   target(t, m.compiler),
				"/bin/goserver": vmtest.Helper(t, m.arch, "../../pkg/stacks/testdata/goserver"),
			}
			got := vmtest.Boot(t, vmtest.Machine{Arch: m.arch, Script: script, Shift: 3, Memory: 512, Files: files})
			if got.End != vmtest.Off || got.Has("FAIL") {
				t.Fatalf("end %s\n%s", got.End, got.Console)
			}
			interrupted := " " + m.restorer + " syscall " + strings.Repeat("interrupted ", 6) + "signalled " + m.tail
			for _, want := range []string{
				"threads [0-9]+ bytes, threads 51, ended 51: .*" + m.tail,
				"signal [0-9]+ bytes, threads 1, ended 1: .*rest handler" + interrupted,
				"altstack [0-9]+ bytes, threads 1, ended 1: .*rest handler" + interrupted,
				`jit [0-9]+ bytes, threads 1, ended 1: .*rest called \? jit ` + m.tail,
				"vforked [0-9]+ bytes, threads 2, ended 1: .*" + m.tail,
				"     \\.\\.\\. the thread could not be stopped \\(state D\\)",
				"#7 .* runtime.goexit\\+",
				"auto: .*" + m.modes[0], "fork: .*" + m.modes[1], "precopy: .*" + m.modes[2], "running: State:\\sS .* TracerPid:\\s0 ",
				`nowhere TID [0-9]+, signal 11: \? nowhere ` + m.tail,
			} {
				if !got.Has(`^\[[0-9.]+\] ` + want) {
					t.Errorf("no line %s", want)
				}
			}
			elfutilsAgree(t, got, files["/bin/target"])
			if size := regexp.MustCompile(`threads ([0-9]{1,6}) bytes`).FindString(got.Console); size == "" {
				t.Error("the mini core of 50 threads has more than a million bytes")
			}
			t.Log(got.Console)
		})
	}
}

// elfutilsAgree gives a mini core out of the guest to eu-stack, which knows all
// processors: it has to see what was printed in there.
func elfutilsAgree(t *testing.T, got *vmtest.Result, program []byte) {
	t.Helper()
	dir := t.TempDir()
	m := regexp.MustCompile(`(?m)^core: (.*)$`).FindStringSubmatch(got.Console)
	if m == nil {
		t.Fatalf("no core\n%s", got.Console)
	}
	core, err := unpack(m[1])
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{"core": core, "target": program} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	out, err := exec.Command("eu-stack", "-r", "--core="+filepath.Join(dir, "core"), "-e", filepath.Join(dir, "target")).CombinedOutput()
	if err != nil {
		t.Errorf("eu-stack: %v: %s", err, out)
	}
	theirs := regexp.MustCompile(`(?m)^#\d+ +0x0*([0-9a-f]+)(?: - 1)?(?: ([^ \n]+))?$`).FindAllStringSubmatch(string(out), -1)
	_, console, _ := strings.Cut(got.Console, "\ncore: ")
	ours := regexp.MustCompile(`(?m)^\[[0-9.]+\] #\d+ +0x0*([0-9a-f]+) ([^ +]+)`).FindAllStringSubmatch(console, -1)
	if len(ours) < 30 || len(ours) != len(theirs) {
		t.Fatalf("%d frames, eu-stack has %d: %s", len(ours), len(theirs), out)
	}
	for i, want := range theirs {
		if ours[i][1] != want[1] || ours[i][2] != want[2] {
			t.Errorf("frame %d: %q, want %q", i, ours[i][1:], want[1:])
		}
	}
}

func unpack(text string) ([]byte, error) {
	r, err := gzip.NewReader(base64.NewDecoder(base64.StdEncoding, strings.NewReader(text)))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}

// Debian's kernel has Yama. A user may trace its own processes at 0 only, and
// root never at 3; a seccomp filter is told from that.
func TestDeniedInVM(t *testing.T) {
	gate.Need(t, "vm")
	got := vmtest.Boot(t, vmtest.Machine{
		Files: map[string][]byte{
			"/bin/corecap":  vmtest.Program(t, "amd64", "corecap"),
			"/bin/diagfifo": vmtest.Program(t, "amd64", "diagfifo"),
			"/bin/deny":     vmtest.Helper(t, "amd64", "testdata/deny"),
			"/etc/passwd":   []byte("root:x:0:0::/:/bin/sh\nuser:x:1000:1000::/:/bin/sh\n"),
		},
		Script: `
chmod 777 /t
as_user() { su user -c "cd /t; $1"; }
as_user 'echo $$ >pid; exec sleep 1000' &
await test -s pid
pid=$(cat pid)
await grep -q '^State:.S' "/proc/$pid/status"
scope=/proc/sys/kernel/yama/ptrace_scope
for n in 0 1 2; do
	echo $n >$scope
	log "user at $n: $(as_user "corecap stacks -n 1 $pid" 2>&1 | grep -v ^#)"
	log "capture at $n: $(as_user "corecap -o $n.core $pid" 2>&1 | sed 's/=.*//'; as_user "ls $n.*" 2>&1)"
done
log "dump at 2: $(as_user "diagfifo dump -pid $pid" | cut -c 1-60)"
log "root at 2: $(corecap stacks -n 1 $pid 2>&1 | grep -v ^#)"
log "filtered root: $(deny corecap stacks $pid 2>&1)"
echo 3 >$scope
log "root at 3: $(corecap stacks $pid 2>&1)"
`,
	})
	if got.End != vmtest.Off {
		t.Fatalf("end %s\n%s", got.End, got.Console)
	}
	const without = `: permission denied; without ptrace: diagfifo dump -pid [0-9]+$`
	for _, want := range []string{
		"user at 0: PID [0-9]+ - sleep, threads: 1, stopped",
		"user at 1: corecap: error: pid [0-9]+: kernel.yama.ptrace_scope is 1, which leaves ptrace to root .CAP_SYS_PTRACE.+" + without,
		"user at 2: corecap: error: pid [0-9]+: kernel.yama.ptrace_scope is 2, which leaves ptrace to root .CAP_SYS_PTRACE.+" + without,
		"capture at 0: corecap: info: 0.core captured threads",
		"capture at 1: corecap: error: pid [0-9]+: kernel.yama.ptrace_scope",
		`dump at 2: \{"schema":"vigil.dump/1"`,
		"root at 2: PID [0-9]+ - sleep, threads: 1, stopped",
		"filtered root: corecap: error: pid [0-9]+: the seccomp profile of this program, or of its container, forbids ptrace" + without,
		"root at 3: corecap: error: pid [0-9]+: kernel.yama.ptrace_scope is 3, which forbids ptrace to everybody until the next boot" + without,
	} {
		if !got.Has(`^\[[0-9.]+\] ` + want) {
			t.Errorf("no line %s", want)
		}
	}
	if bytes.Contains([]byte(got.Console), []byte("1.core\n")) {
		t.Error("a core was left by a capture that was denied")
	}
	if t.Failed() {
		t.Log(got.Console)
	}
}
