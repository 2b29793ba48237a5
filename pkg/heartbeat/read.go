package heartbeat

import (
	"errors"
	"io/fs"
	"os"
	"time"

	"vigil/pkg/fmt"
	"vigil/pkg/rundir"
)

// Terms are what a reader grants and demands beyond the format. The zero Terms
// are for a file of root or of the effective user, signed or not.
type Terms struct {
	Owner  int                       // one more uid that may own the file
	Verify func(record []byte) error // checks the signature, as Key.Verify does; nil: none is wanted
}

// ReadUnder reads and judges a heartbeat file by what it is and holds, not by
// its age. The file must be regular, belong to root, to the effective user or
// to the owner of the terms, and be writable for nobody else. Errors are *Reject,
// but for a missing file, which matches fs.ErrNotExist. Info is what fstat said
// of the file read, also with a *Reject of its contents.
func ReadUnder(d *rundir.Dir, name string, terms Terms) (r Record, info rundir.Info, err error) {
	err = read(d, name, &terms, &r, &info)
	return
}

func read(d *rundir.Dir, name string, terms *Terms, r *Record, info *rundir.Info) error {
	id, ok := FileID(name)
	if !ok {
		return &Reject{WrongID, "file name is not an id with " + Suffix}
	}
	b, got, err := d.Read(name, MaxSize)
	*info = got
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return err
	case errors.Is(err, rundir.ErrNotRegular):
		return &Reject{Reason: NotRegular}
	case errors.Is(err, rundir.ErrTooLong):
		return &Reject{Oversize, fmt.Sprintf("%d bytes, want at most %d", info.Size, MaxSize)}
	case err != nil:
		return &Reject{Unreadable, err.Error()}
	case info.UID != 0 && info.UID != os.Geteuid() && info.UID != terms.Owner:
		return &Reject{ForeignOwner, fmt.Sprintf("uid %d", info.UID)}
	case info.Mode&0o002 != 0:
		return &Reject{Writable, fmt.Sprintf("mode %04o", uint32(info.Mode))}
	}
	p := parse{wantID: id}
	if err := p.whole(b); err != nil {
		return err
	}
	if terms.Verify != nil {
		if err := terms.Verify(b); err != nil {
			return err
		}
	}
	*r = p.rec
	return nil
}

// tries are the pauses before each look of Read; in all 20 ms.
var tries = [...]time.Duration{0, 5 * time.Millisecond, 15 * time.Millisecond}

// Read is ReadUnder the zero Terms that looks again when a write may have been caught half-way,
// as `echo >FILE` leaves the file empty for a moment. It may take 20 ms.
func Read(d *rundir.Dir, name string) (r Record, info rundir.Info, err error) {
	for _, pause := range tries {
		time.Sleep(pause)
		err = read(d, name, &Terms{}, &r, &info)
		rej, ok := errors.AsType[*Reject](err)
		if !ok || !rej.Transient() {
			break
		}
	}
	return
}
