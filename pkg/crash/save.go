package crash

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"vigil/pkg/boottime"
	"vigil/pkg/capture"
	"vigil/pkg/fmt"
	"vigil/pkg/rundir"
	"vigil/pkg/spool"
)

// Handler saves crashes as its Config says.
type Handler struct {
	Config
	Build string   // version of this program
	Core  *os.File // the core that the kernel writes; Save closes it
}

// Saved is what became of a crash.
type Saved struct {
	Counted bool   // a newer crash of the same program is saved instead
	Base    string // name that its files share, in the spool
	Program string
	Signal  string
	Number  int64 // of the crash within its window
	Private bool  // the files belong to root
	Mode    string
	capture.Report
	Removed []spool.Entry // had to go for it, or after it
}

// leastRoom is what has to be left on the disk for a core to be begun: as much
// as shows a backtrace.
const leastRoom = 1 << 20

// patience is how long memory may not come. Whoever waits for the process waits as
// long, and so do all crashes if there are as many as the kernel lets be saved at
// once.
const patience = 30 * time.Second

const unanswered = "a page of memory did not come: its file does not answer"

// save is one crash under way.
type save struct {
	*Handler
	scene
	head    *head
	strange error // why the core is copied unseen, or the process not asked
	dir     *rundir.Dir
	report  capture.Report
	mode    string
}

// Save saves a crash and lets its process go. An error says that nothing was
// saved; the process has gone all the same. What is missing of a core is told
// by Partial of the Report.
func (h *Handler) Save(ctx context.Context, e Event) (*Saved, error) {
	defer h.Core.Close()
	s := &save{Handler: h, scene: scene{event: &e, notes: &notes{}, args: h.Args, window: h.Window}}
	begun := time.Now()
	s.report.Time, s.now = e.Time, boottime.Now()
	s.report.BootMS = s.now.Milliseconds()
	if err := s.look(); err != nil {
		return nil, err
	}
	if s.subject != nil {
		defer s.subject.close()
	}
	var err error
	if s.dir, err = rundir.Open(h.Spool); err != nil {
		return nil, err
	}
	defer s.dir.Close()
	name := program(s.subject, s.notes)
	base := spool.Base(name, e.PID, e.Time)
	done := &Saved{Base: base, Program: name, Signal: SignalName(e.Signal), Private: !s.owned()}
	boot, err := boottime.ID()
	if err != nil {
		return nil, err
	}
	turn, mine, err := take(s.dir, tallyName(spool.Program(base), e.UID), boot, h.Window, boottime.Now)
	if err != nil {
		return nil, err
	}
	done.Number, s.number = turn.number, turn.number
	if !mine {
		done.Counted = true
		return done, nil
	}
	err = s.write(ctx, base, begun, done)
	if err != nil {
		base = ""
	}
	replaced, terr := turn.done(base)
	if err != nil {
		return nil, err
	}
	done.Mode, done.Report = s.mode, s.report
	return done, errors.Join(terr, s.clear(replaced, done))
}

// look reads the head of the core and examines the process.
func (s *save) look() error {
	var err error
	s.head, err = readHead(s.Core)
	switch {
	case errors.Is(err, errNotParsed):
		s.strange = err
		return nil
	case err != nil:
		return fmt.Errorf("pid %d: %w", s.event.PID, err)
	}
	n := readNotes(s.head.core)
	s.notes = &n
	s.report.Threads = n.threads
	s.subject, s.strange = examine(s.event, s.notes)
	s.findBeat(s.Beats, s.Holds)
	return nil
}

// owned says whether the files are for the user of the process to see. Of a core
// that is copied unseen nobody knows whether its program was set-uid.
func (s *save) owned() bool {
	return s.head.core != nil && !s.event.Private() && !s.notes.secure() && (s.subject == nil || s.subject.owns(s.event.UID, s.event.GID))
}

// write makes the files of the crash. It lets the process go as soon as its
// memory is saved: what takes long after that, it does not wait for.
func (s *save) write(ctx context.Context, base string, begun time.Time, done *Saved) error {
	path := filepath.Join(s.Spool, base+".core")
	room, err := s.room(done)
	if err != nil {
		return err
	}
	var core *spool.File
	if room >= 0 {
		if core, err = spool.Create(path); err != nil {
			return err
		}
		defer core.Discard()
		if err := s.fill(ctx, core, room); err != nil {
			return fmt.Errorf("%s: write: %w", path, cause0(err))
		}
	} else {
		s.mode = noCore
	}
	s.Core.Close()
	s.report.Pause = time.Since(begun)
	if s.strange != nil {
		s.report.Reason = s.strange.Error()
	}
	side := capture.Sidecar{
		Core: path, Subject: s.subjectOf(), Report: s.report,
		About: capture.About{Build: s.Build, Why: "crash", Held: s.held(), More: s.append},
	}
	side.Report.Mode = s.mode
	text, err := side.Append(nil)
	if err != nil {
		return err
	}
	about, err := spool.Create(filepath.Join(s.Spool, base+".json"))
	if err != nil {
		return err
	}
	defer about.Discard()
	if _, err := about.Write(text); err != nil {
		return fmt.Errorf("%s/%s.json: write: %w", s.Spool, base, cause0(err))
	}
	return s.publish(about, core)
}

// publish gives the files to their user, and their names to them.
func (s *save) publish(files ...*spool.File) error {
	for _, f := range files {
		if f == nil {
			continue
		}
		if os.Geteuid() == 0 && s.owned() {
			if err := f.Chown(s.event.UID, s.event.GID); err != nil {
				return err
			}
		}
		if err := f.Commit(); err != nil {
			return err
		}
	}
	return nil
}

// room makes room in the spool and says how many bytes a core may take; 0 is as
// many as it wants, -1 none at all.
func (s *save) room(done *Saved) (int64, error) {
	limit := int64(s.MaxSize)
	if s.Limits.KeepFree == 0 {
		return limit, nil
	}
	l := s.Limits
	l.KeepFree += leastRoom
	gone, err := spool.Prune(s.dir, l)
	if err != nil {
		return 0, err
	}
	done.Removed = append(done.Removed, gone...)
	free, err := spool.Free(s.dir)
	if err != nil {
		return 0, err
	}
	free -= s.Limits.KeepFree
	switch {
	case free < leastRoom:
		s.report.Partial = "no room: the disk is to keep " + spool.Size(s.Limits.KeepFree).String() + " free"
		return -1, nil
	case limit == 0 || limit > free:
		limit = free
	}
	return limit, nil
}

// fill writes the core. What there is no room for is left out and told.
func (s *save) fill(ctx context.Context, f *spool.File, room int64) error {
	if s.subject == nil {
		return s.fillFromPipe(f, room)
	}
	s.mode = fromProcess
	h := s.head
	if err := f.Truncate(h.size); err != nil {
		return err
	}
	if _, err := f.WriteAt(h.bytes, 0); err != nil {
		return err
	}
	if _, err := f.WriteAt(h.section, h.at); err != nil {
		return err
	}
	if room > 0 {
		room = max(room-int64(len(h.bytes)), 1)
	}
	got, err := s.subject.remains.Refill(ctx, h.core.Segments, s.notes.sps, room, patience, output{f})
	s.report.Bytes, s.report.Unread, s.report.Size = got.Bytes+int64(len(h.bytes)), got.Unread, h.size
	s.report.Shared, s.report.BuildIDs = got.Shared, got.BuildIDs
	switch {
	case capture.Killed(err):
		s.report.Partial = "the process was killed while it was saved"
	case errors.Is(err, os.ErrDeadlineExceeded):
		s.report.Partial = unanswered
		// The kernel may wait for that page, too. It ends by the signal that it had.
		_ = s.subject.process.Signal(int(syscall.SIGKILL))
	case full(err):
		s.report.Partial = "the disk is full"
	case err != nil:
		return err
	case got.LeftOut > 0:
		s.report.Partial = fmt.Sprintf("no room for %s more", spool.Size(got.LeftOut))
	}
	return nil
}

// fillFromPipe writes the core as the kernel gives it.
func (s *save) fillFromPipe(f *spool.File, room int64) error {
	s.mode = fromPipe
	w := &bounded{WriterAt: f, limit: room}
	_, err := w.WriteAt(s.head.bytes, 0)
	end := int64(len(s.head.bytes))
	if err == nil {
		end, err = copySparse(w, patient{s.Core, patience}, end)
	}
	s.report.Bytes = w.written
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		s.report.Partial = unanswered
	case full(err):
		s.report.Partial = "no room for the rest"
	case err != nil:
		return err
	case end < s.head.size:
		s.report.Partial = "the process was killed while it was saved"
	}
	s.report.Size = max(end, s.head.size)
	return f.Truncate(s.report.Size)
}

// output lets the copier write to a file of the spool.
type output struct{ *spool.File }

func (o output) SetSize(size int64) error { return o.Truncate(size) }

func (o output) Ordered() bool { return false }

var _ io.WriterAt = output{}

// clear removes the capture that this one replaces, and what exceeds the limits.
func (s *save) clear(replaced string, done *Saved) error {
	sweep(s.dir, s.Window, time.Now())
	if replaced != "" && replaced != done.Base {
		entries, err := spool.List(s.dir)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if e.Base != replaced {
				continue
			}
			if err := spool.Remove(s.dir, e); err != nil {
				return err
			}
			done.Removed = append(done.Removed, e)
		}
	}
	gone, err := spool.Prune(s.dir, s.Limits)
	done.Removed = append(done.Removed, gone...)
	return err
}
