package service

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"vigil/pkg/gate"
	"vigil/pkg/vmtest"
)

// whole is run at both boots of a machine with a real watchdog. Times are the
// guest's.
const whole = `
modprobe i6300esb
await test -c /dev/watchdog
ln -s /disk /var/lib/vigil
ln -s ../bin/sh /usr/bin/sh
cd /usr/local/share/vigil/service/busybox
cp web on-change /etc/vigil/
sed 's,-device none,-device /dev/watchdog,' inittab >/etc/inittab

alive() { /usr/local/bin/hbwatch -once -q -hold /run/vigil/hold /run/vigil/hb/web.hb >/dev/null 2>&1; }
fed() { [ "$(grep -c '"event":"armed"' /disk/ledger)" -ge "$1" ]; }
another() { now=$(pidof wdping) && [ "$now" != "$old" ]; }

# The first process of a pid namespace: the machine's own is the test's.
unshare -p -f init &
await alive
if [ -e /disk/second ]; then
	log "alive after the reset"
	/usr/local/bin/wdping -status -ledger /disk/ledger
	exit
fi
await fed 1
log "armed"
old=$(pidof wdping)
kill -9 "$old"
await another
await fed 2
sleep 70
alive || die "not alive 70 s after wdping was killed"
log "outlived wdping's timeout"
: >/disk/second
sync
kill -STOP "$(pidof hbwatch)"
log "hbwatch hangs"
n=0
while [ "$n" -lt 200 ]; do
	n=$((n + 1))
	sleep 1
	log "second $n"
done
die "no reset"
`

// TestHost boots a machine whose busybox init starts everything, with a watchdog
// that is armed. A wdping that is killed is started again soon enough; when
// hbwatch hangs, the host is reset; after that all is up again, and it is known
// why.
func TestHost(t *testing.T) {
	gate.Need(t, "vm")
	t.Parallel()
	files := map[string][]byte{
		"/etc/passwd":       []byte("root:x:0:0::/root:/bin/sh\nweb:x:1000:1000::/:/bin/sh\n"),
		"/etc/group":        []byte("root:x:0:\nweb:x:1000:\n"),
		"/etc/vigil/.keep":  nil,
		"/var/lib/.keep":    nil,
		"/usr/bin/.keep":    nil,
		"/disk/.mountpoint": nil,
	}
	from := installed(t)
	err := filepath.WalkDir(filepath.Join(from, "usr/local"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.Contains(path, "/share/doc/") || strings.Contains(path, "/share/man/") {
			return err
		}
		name, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		files["/"+name], err = os.ReadFile(path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	got := vmtest.Boot(t, vmtest.Machine{
		Script: whole, Files: files, Modules: []string{"i6300esb"}, Disk: true, Resets: 1,
		Qemu: []string{"-device", "i6300esb", "-action", "watchdog=reset"},
	})
	if got.End != vmtest.Off || got.Happened("WATCHDOG") != 1 {
		t.Errorf("ended as %s after %d resets by the watchdog", got.End, got.Happened("WATCHDOG"))
	}
	for _, want := range []string{"outlived wdping's timeout", `\] second 1[0-9][0-9]$`, "alive after the reset", "certain.*feed"} {
		if !got.Has(want) {
			t.Errorf("the console does not show %q", want)
		}
	}
	if got.Has(`\] second 1[4-9][0-9]$`) {
		t.Error("reset too late")
	}
	if t.Failed() {
		t.Log(got.Console)
	}
}
