package capture

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"vigil/pkg/boottime"
	"vigil/pkg/corefile"
	"vigil/pkg/jsonline"
	"vigil/pkg/spool"
)

// Schema names the form of the sidecar.
const Schema = "vigil.capture/1"

// sparse is an Output to a file, where unwritten parts are holes.
type sparse struct{ *spool.File }

func (f sparse) SetSize(size int64) error { return f.Truncate(size) }

func (f sparse) Ordered() bool { return false }

// Save captures t into the file path and describes it in a JSON file of the
// same base name. Both appear complete or not at all, never replace anything,
// have mode 0600 and, when root captured a dumpable process, belong to the
// process's user. build is the version of this program.
func (t *Target) Save(ctx context.Context, path, build string) (*Report, error) {
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
	r, err := t.Stop(ctx, sparse{core})
	if err != nil {
		return nil, objectFirst(err)
	}
	if err := verify(core, r); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	line, err := t.sidecar(r, path, build)
	if err != nil {
		return nil, err
	}
	if _, err := side.Write(line); err != nil {
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

func (t *Target) sidecar(r *Report, core, build string) ([]byte, error) {
	boot, err := boottime.ID()
	if err != nil {
		return nil, err
	}
	var w jsonline.Writer
	w.Object("")
	w.Str("schema", Schema)
	w.Str("core", core[strings.LastIndexByte(core, '/')+1:])
	w.Int("pid", int64(t.PID))
	w.Str("comm", t.Comm)
	w.Str("exe", t.Exe)
	w.Int("uid", int64(t.status.UID[1]))
	w.Bool("dumpable", t.Dumpable)
	w.Str("mode", r.Mode)
	w.Int("pause_us", r.Pause.Microseconds())
	w.Int("threads", int64(r.Threads))
	w.Array("left_out")
	for _, l := range r.LeftOut {
		w.Object("")
		w.Int("tid", int64(l.TID))
		w.Str("state", string(rune(l.State)))
		w.End()
	}
	w.End()
	w.Int("bytes", r.Bytes)
	w.Int("size", r.Size)
	w.Int("unread_bytes", r.Unread)
	w.Str("time", r.Time.UTC().Format(time.RFC3339Nano))
	w.Int("bt_ms", r.BootMS)
	w.Str("boot", boot)
	w.Int("by_uid", int64(os.Getuid()))
	w.Str("build", build)
	w.End()
	return append(w.Bytes(), '\n'), nil
}
