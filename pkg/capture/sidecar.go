package capture

import (
	"os"
	"strings"

	"vigil/pkg/boottime"
	"vigil/pkg/jsonline"
)

// Schema names the form of the sidecar.
const Schema = "vigil.capture/1"

// About is what only the caller of a capture knows.
type About struct {
	Build string // version of the program that captures
	Why   string // what the capture was made for; "" if nobody said
	Held  *Hold  // the hold that the service was under, if any

	// More, if set, adds members of its own at the end.
	More func(w *jsonline.Writer)
}

// Hold is a lease that excused the service's silence (package hold).
type Hold struct {
	ID, By, Reason string
}

// Subject is the process that a core is of.
type Subject struct {
	PID      int
	Comm     string
	Exe      string
	UID      int // effective
	Dumpable bool
}

// Sidecar describes a core, however it was made.
type Sidecar struct {
	Core string // its file
	Subject
	Report
	About
}

// Append appends the description as one line of JSON. The names of its members
// are a contract with its readers. The order is: who, why and how, what is
// missing, sizes, when and by whom.
func (s *Sidecar) Append(dst []byte) ([]byte, error) {
	boot, err := boottime.ID()
	if err != nil {
		return nil, err
	}
	var w jsonline.Writer
	w.Object("")
	w.Str("schema", Schema)
	w.Str("core", s.Core[strings.LastIndexByte(s.Core, '/')+1:])
	w.Int("pid", int64(s.PID))
	w.Str("comm", s.Comm)
	w.Str("exe", s.Exe)
	w.Int("uid", int64(s.UID))
	w.Bool("dumpable", s.Dumpable)
	w.Str("why", s.Why)
	s.appendHeld(&w)
	w.Str("mode", s.Mode)
	w.Str("mode_reason", s.Reason)
	w.Int("pause_us", s.Pause.Microseconds())
	w.Int("threads", int64(s.Threads))
	s.appendMissing(&w)
	w.Int("bytes", s.Bytes)
	w.Int("size", s.Size)
	w.Int("unread_bytes", s.Unread)
	s.appendBuildIDs(&w)
	w.Time("time", s.Time.UnixMilli())
	w.Int("bt_ms", s.BootMS)
	w.Str("boot", boot)
	w.Int("by_uid", int64(os.Getuid()))
	w.Str("build", s.Build)
	if s.More != nil {
		s.More(&w)
	}
	w.End()
	return append(append(dst, w.Bytes()...), '\n'), nil
}

func (s *Sidecar) appendHeld(w *jsonline.Writer) {
	if s.Held == nil {
		w.Null("held")
		return
	}
	w.Object("held")
	w.Str("id", s.Held.ID)
	w.Str("by", s.Held.By)
	w.Str("reason", s.Held.Reason)
	w.End()
}

func (s *Sidecar) appendMissing(w *jsonline.Writer) {
	w.Str("partial", s.Partial)
	w.Array("left_out")
	for _, l := range s.LeftOut {
		w.Object("")
		w.Int("tid", int64(l.TID))
		w.Str("state", string(rune(l.State)))
		w.End()
	}
	w.End()
	w.Array("shared")
	for _, r := range s.Shared {
		w.Object("")
		w.Str("start", Address(r.Start))
		w.Str("end", Address(r.End))
		w.Str("name", r.Name)
		w.End()
	}
	w.End()
}

func (s *Sidecar) appendBuildIDs(w *jsonline.Writer) {
	w.Array("build_ids")
	for _, b := range s.BuildIDs {
		w.Object("")
		w.Str("file", b.File)
		w.Str("start", Address(b.Start))
		w.Str("id", b.ID)
		w.End()
	}
	w.End()
}
