package crash

import (
	"os"
	"path/filepath"
	"time"

	"vigil/pkg/boottime"
	"vigil/pkg/capture"
	"vigil/pkg/heartbeat"
	"vigil/pkg/hold"
	"vigil/pkg/jsonline"
	"vigil/pkg/procfs"
	"vigil/pkg/rundir"
)

// Sources of the memory in a core, the modes of its description.
const (
	fromProcess = "crash"      // headers and notes from the kernel, memory from the process
	fromPipe    = "crash-pipe" // all of it from the kernel
	noCore      = "crash-none" // no room for a core
)

// scene is what a description tells of a crash besides its core.
type scene struct {
	event   *Event
	notes   *notes
	subject *subject // nil where /proc could not be had
	args    bool     // tell all arguments
	number  int64    // of the crash within its window
	window  time.Duration
	now     time.Duration // CLOCK_BOOTTIME
	beat    *heartbeat.Record
	beatMS  int64 // its age
	lease   *hold.Lease
}

// subjectOf fills in who crashed.
func (sc *scene) subjectOf() capture.Subject {
	c := capture.Subject{PID: sc.event.PID, Comm: sc.notes.comm, UID: sc.event.UID, Dumpable: !sc.event.Private()}
	if s := sc.subject; s != nil {
		c.Comm, c.Exe, c.UID = s.stat.Comm, s.exe, s.status.UID[1]
	}
	return c
}

// append adds the member "crash" to a description.
func (sc *scene) append(w *jsonline.Writer) {
	w.Object("crash")
	sc.appendSignal(w)
	w.Int("uid", int64(sc.event.UID))
	w.Int("gid", int64(sc.event.GID))
	w.Int("suid_dumpable", int64(sc.event.Dumpable))
	w.Int("number", sc.number)
	w.Int("window_ms", sc.window.Milliseconds())
	host, _ := os.Hostname()
	w.Str("host", host)
	w.Int("host_uptime_ms", sc.now.Milliseconds())
	if sc.subject != nil {
		sc.subject.append(w, sc.args, sc.now)
	}
	sc.appendBeat(w)
	w.End()
}

func (sc *scene) appendSignal(w *jsonline.Writer) {
	appendSignal(w, sc.event.Signal, sc.notes.cause, sc.notes.caused)
}

// Describe is for a crash of which only the signal is known, and its siginfo_t:
// it gives what adds the member "crash" to a description.
func Describe(signal int, siginfo []byte, uid, gid int) func(w *jsonline.Writer) {
	return func(w *jsonline.Writer) {
		c, known := parseCause(siginfo)
		w.Object("crash")
		appendSignal(w, signal, c, known)
		w.Int("uid", int64(uid))
		w.Int("gid", int64(gid))
		w.Int("suid_dumpable", 1)
		w.Int("number", 1)
		w.Null("heartbeat")
		w.End()
	}
}

func appendSignal(w *jsonline.Writer, signal int, c cause, known bool) {
	w.Object("signal")
	w.Int("number", int64(signal))
	w.Str("name", SignalName(signal))
	if known && c.signal == signal {
		w.Int("code", int64(c.code))
		w.Str("code_name", codeName(c.signal, c.code))
		if c.hasAddress() {
			w.Str("address", capture.Address(c.address))
		}
		if c.sent() {
			w.Int("sender_pid", int64(c.pid))
			w.Int("sender_uid", int64(c.uid))
		}
	}
	w.End()
}

// append adds what /proc told of the process. Arguments may hold secrets.
func (s *subject) append(w *jsonline.Writer, args bool, now time.Duration) {
	w.Int("args_count", int64(len(s.args)))
	told := s.args
	if !args {
		told = told[:min(1, len(told))]
	}
	w.Array("args")
	for _, a := range told {
		w.Str("", a)
	}
	w.End()
	w.Array("pid_in_namespaces")
	for _, pid := range s.status.NSPID {
		w.Int("", int64(pid))
	}
	w.End()
	w.Str("cgroup", s.cgroup)
	w.Str("root", s.root)
	w.Int("ppid", int64(s.stat.PPID))
	started := time.Duration(s.stat.StartTime) * (time.Second / procfs.TicksPerSecond)
	w.Int("uptime_ms", (now - started).Milliseconds())
	w.Int("rss_anon_bytes", int64(s.status.RSSAnon))
	w.Object("limits")
	for _, l := range s.limits {
		w.Array(l.Name)
		w.Int("", l.Soft)
		w.Int("", l.Hard)
		w.End()
	}
	w.End()
}

func (sc *scene) appendBeat(w *jsonline.Writer) {
	if sc.beat == nil {
		w.Null("heartbeat")
		return
	}
	w.Object("heartbeat")
	w.Str("id", sc.beat.ID)
	w.Uint("seq", sc.beat.Seq)
	w.Str("status", sc.beat.Status.String())
	w.Str("msg", sc.beat.Msg)
	w.Int("age_ms", sc.beatMS)
	w.End()
}

// maxBeats bounds how many records are looked at for that of one process.
const maxBeats = 4096

// findBeat looks for the last heartbeat of the process, and for a hold of its id.
// What cannot be read is none: a crash is saved without it.
func (sc *scene) findBeat(beats, holds string) {
	if beats == "" || sc.subject == nil {
		return
	}
	dir, err := rundir.Open(beats)
	if err != nil {
		return
	}
	defer dir.Close()
	names, _ := dir.Names()
	boot, _ := boottime.ID()
	for _, name := range names[:min(len(names), maxBeats)] {
		if filepath.Ext(name) != heartbeat.Suffix {
			continue
		}
		r, _, err := heartbeat.Read(dir, name)
		if err != nil || r.PID != sc.event.PID || r.Boot != boot {
			continue
		}
		sc.beat, sc.beatMS = &r, sc.now.Milliseconds()-r.BTMS
		sc.findHold(holds)
		return
	}
}

// longestHold is what every reader grants at most by default.
const longestHold = time.Hour

func (sc *scene) findHold(path string) {
	if path == "" {
		return
	}
	r, err := hold.NewReader(path, "", longestHold)
	if err != nil {
		return
	}
	defer r.Close()
	_, _ = r.Refresh(sc.now)
	if l, ok := r.Active(sc.beat.ID, sc.now); ok {
		sc.lease = &l
	}
}

func (sc *scene) held() *capture.Hold {
	if sc.lease == nil {
		return nil
	}
	return &capture.Hold{ID: sc.lease.ID, By: sc.lease.By, Reason: sc.lease.Reason}
}
