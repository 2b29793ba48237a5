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
	b, info, err := d.Read(name, MaxSize)
	id, ok := FileID(name)
	if ok {
		err = admit(&info, &terms, err)
	} else {
		err = &Reject{WrongID, "file name is not an id with " + Suffix}
	}
	if err == nil {
		err = take(b, id, &terms, &r)
	}
	if err == nil && r.bald(&terms) {
		again, _, err := d.Read(name, MaxSize)
		if err = same(string(b), again, err); err != nil {
			return Record{}, info, err
		}
	}
	return r, info, err
}

// bald tells whether nothing proves that a record is whole. In a mixed one the
// checksum of the shorter text can end up within the message of the longer.
func (r *Record) bald(terms *Terms) bool { return !r.CRC && !r.Foreign && terms.Verify == nil }

// same holds what a second reading gave against the first.
func same(first string, b []byte, err error) error {
	if err == nil && string(b) != first {
		err = &Reject{Torn, "changed while it was read"}
	}
	return err
}

// admit judges a file by what it is, and by the error that reading it gave.
func admit(info *rundir.Info, terms *Terms, err error) error {
	switch {
	case err == nil:
	case errors.Is(err, fs.ErrNotExist):
		return err
	case errors.Is(err, rundir.ErrNotRegular):
		return &Reject{Reason: NotRegular}
	case errors.Is(err, rundir.ErrTooLong):
		return &Reject{Oversize, fmt.Sprintf("%d bytes, want at most %d", info.Size, MaxSize)}
	default:
		return &Reject{Unreadable, err.Error()}
	}
	switch {
	case info.UID != 0 && info.UID != me && info.UID != terms.Owner:
		return &Reject{ForeignOwner, fmt.Sprintf("uid %d", info.UID)}
	case info.Mode&0o002 != 0:
		return &Reject{Writable, fmt.Sprintf("mode %04o", uint32(info.Mode))}
	}
	return nil
}

// me is the effective user: no program changes it after its start.
var me = os.Geteuid()

// take judges what a file holds.
func take(b []byte, id string, terms *Terms, r *Record) error {
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
		r, info, err = ReadUnder(d, name, Terms{})
		rej, ok := errors.AsType[*Reject](err)
		if !ok || !rej.Transient() {
			break
		}
	}
	return
}
