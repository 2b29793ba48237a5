package drill

import (
	"os"
	"path/filepath"
	"testing"

	"vigil/pkg/contract/tree"
	"vigil/pkg/gate"
	"vigil/pkg/vmtest"
)

// TestDoctorInMachine: a machine with nothing but a busybox, Yama in each of its
// states, a kernel too old for pre-copy, and a watchdog of its own.
func TestDoctorInMachine(t *testing.T) {
	gate.Need(t, "vm")
	t.Parallel()
	files := map[string][]byte{}
	for _, name := range []string{"hbsend", "hbwatch", "wdping", "diagfifo", "corecap"} {
		files["/bin/"+name] = vmtest.Program(t, "amd64", name)
	}
	for _, name := range []string{"vigil-doctor", "vigil-incident", "vigil-debug", "hb.sh", "diag.sh", "vigil.sh", "doctor.sh"} {
		text, err := os.ReadFile(filepath.Join(tree.Root(), "scripts", name))
		if err != nil {
			t.Fatal(err)
		}
		files["/bin/"+name] = text
	}
	script, err := os.ReadFile("testdata/vm/doctor.sh")
	if err != nil {
		t.Fatal(err)
	}
	got := vmtest.Boot(t, vmtest.Machine{Files: files, Modules: []string{"softdog"}, Script: string(script)})
	if got.End != vmtest.Off || got.Has(`FAIL`) || !got.Has(`script ended with 0$`) {
		t.Errorf("end %s, console:\n%s", got.End, got.Console)
	}
	t.Logf("%s of the host's time", got.Host)
}
