package capture

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"strings"

	"vigil/pkg/corefile"
	"vigil/pkg/fmt"
	"vigil/pkg/spool"
)

// Save captures t into the file path and describes it in a JSON file of the
// same base name. Both appear complete or not at all, never replace anything,
// have mode 0600 and, when root captured a dumpable process, belong to the
// process's user.
func (t *Target) Save(ctx context.Context, path string, opt Options, about About) (*Report, error) {
	core, err := spool.Create(path)
	if err != nil {
		return nil, err
	}
	defer core.Discard()
	side, err := spool.Create(sidecarPath(path))
	if err != nil {
		return nil, err
	}
	defer side.Discard()
	if err := reserve(side); err != nil {
		return nil, objectFirst(err)
	}
	out, err := newBounded(core, opt.KeepFree)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	r, err := t.Capture(ctx, out, opt)
	if err != nil {
		return nil, objectFirst(err)
	}
	if err := verify(core, r); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	line, err := (&Sidecar{Core: path, Subject: t.subject(), Report: *r, About: about}).Append(nil)
	if err != nil {
		return nil, err
	}
	if _, err := side.WriteAt(line, 0); err != nil {
		return nil, objectFirst(err)
	}
	if err := side.Truncate(int64(len(line))); err != nil {
		return nil, objectFirst(err)
	}
	for _, f := range []*spool.File{core, side} {
		if err := t.own(f); err != nil {
			return nil, objectFirst(err)
		}
		if err := f.Commit(); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// reserve takes the space of the description before the core takes it all.
func reserve(f *spool.File) error {
	_, err := f.WriteAt(bytes.Repeat([]byte{' '}, 32<<10), 0)
	return err
}

func (t *Target) subject() Subject {
	return Subject{PID: t.PID, Comm: t.Comm, Exe: t.Exe, UID: t.status.UID[1], Dumpable: t.Dumpable}
}

// objectFirst words the errors of os.File as all others here.
func objectFirst(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return fmt.Errorf("%s: %s: %w", pe.Path, pe.Op, pe.Err)
	}
	return err
}

func (t *Target) own(f *spool.File) error {
	if os.Geteuid() != 0 || !t.Dumpable {
		return nil
	}
	return f.Chown(t.status.UID[1], t.status.GID[1])
}

func sidecarPath(core string) string { return strings.TrimSuffix(core, ".core") + ".json" }

// verify reads back what a debugger reads first.
func verify(f io.ReaderAt, r *Report) error {
	c, err := corefile.Parse(f)
	if err != nil {
		return err
	}
	threads := 0
	err = c.Notes(func(n corefile.Note) error {
		if n.Type != corefile.NTPrstatus {
			return nil
		}
		threads++
		_, err := corefile.ParsePrstatus(n.Desc)
		return err
	})
	if err == nil && threads != r.Threads {
		err = fmt.Errorf("core: %d threads written, %d read back", r.Threads, threads)
	}
	return err
}
