package heartbeat

import (
	"errors"
	"io/fs"
	"os"
	"syscall"

	"vigil/pkg/fmt"
	"vigil/pkg/rundir"
)

// noBoot is the boot of a record that is no beat: no machine has it, so that
// no reader takes the record for one.
const noBoot = "00000000000000000000000000000000"

// Create makes the heartbeat file at path for a sender that may not write into
// its directory: mode 0644, owned by uid and gid (-1: as the system has it), with
// a record in it that no reader judges alive. A file that is there already, and
// is as it should be, is left alone; otherwise nothing is changed.
func Create(path string, interval int64, uid, gid int) error {
	parent, name := split(path)
	id, ok := FileID(name)
	if !ok {
		return nameError(path)
	}
	block, err := AppendBlock(nil, &Record{ID: id, Boot: noBoot, IntervalMS: interval, Status: Starting, CRC: true}, 0)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	dir, err := rundir.Open(parent)
	if err != nil {
		return err
	}
	defer dir.Close()
	f, err := dir.CreateOpen(name, block, 0o644, func(f *os.File) error {
		if uid < 0 && gid < 0 {
			return nil
		}
		if err := syscall.Fchown(int(f.Fd()), uid, gid); err != nil {
			return fmt.Errorf("chown to %d:%d: %w", uid, gid, err)
		}
		return nil
	})
	if errors.Is(err, fs.ErrExist) {
		f, _, err = dir.OpenFile(name, os.O_RDONLY)
		if err == nil {
			err = matches(f, uid, gid)
		}
	}
	if f != nil {
		// Nothing is written that a close could lose: the file is local, or
		// the sender's first beat says so.
		_ = f.Close()
	}
	return err
}

func matches(f *os.File, uid, gid int) error {
	var st syscall.Stat_t
	if err := syscall.Fstat(int(f.Fd()), &st); err != nil {
		return fmt.Errorf("%s: stat: %w", f.Name(), err)
	}
	if uid < 0 {
		uid = os.Geteuid()
	}
	if int(st.Uid) != uid || gid >= 0 && int(st.Gid) != gid || st.Mode&0o7777 != 0o644 {
		return fmt.Errorf("%s: exists, owned by %d:%d with mode %04o; remove it first", f.Name(), st.Uid, st.Gid, st.Mode&0o7777)
	}
	return nil
}
