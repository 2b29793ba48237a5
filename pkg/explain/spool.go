package explain

import (
	"errors"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"vigil/pkg/fmt"
	"vigil/pkg/heartbeat"
	"vigil/pkg/jsonline"
	"vigil/pkg/rundir"
)

// Spool is a directory with the latest dumps of each id, ID_PID_TIME.json.
type Spool struct {
	dir  *rundir.Dir
	keep int
	most int64 // bytes
}

// OpenSpool opens a directory, trusted as rundir says, to keep the latest keep
// dumps of each id in it, as far as they have no more than most bytes together;
// the very latest always. A most of 0 is no limit.
func OpenSpool(path string, keep int, most int64) (*Spool, error) {
	dir, err := rundir.Open(path)
	if err != nil {
		return nil, err
	}
	return &Spool{dir, max(1, keep), most}, nil
}

// FileName is how a file of evidence about a process is called: ID_PID_TIME.
func FileName(id string, pid int, at time.Time, suffix string) string {
	return fmt.Sprintf("%s_%d_%s%s", id, pid, stamp(at), suffix)
}

// stamp writes a time as 20060102T150405.000Z: fixed in width, so that names
// sort as times do.
func stamp(t time.Time) string {
	return strings.NewReplacer("-", "", ":", "").Replace(string(jsonline.AppendTime(nil, t.UnixMilli())))
}

// isStamp says whether s has the shape of a stamp.
func isStamp(s string) bool {
	shape := func(r rune) rune {
		if r >= '0' && r <= '9' {
			return '0'
		}
		return r
	}
	return strings.Map(shape, s) == "00000000T000000.000Z"
}

// Keep writes a dump, and removes the oldest of id beyond the limits. The name
// that is given back is that of the file; there may be one and yet an error,
// when older ones could not be removed.
func (s *Spool) Keep(id string, pid int, now time.Time, text []byte) (name string, err error) {
	for range 100 {
		name = FileName(id, pid, now, ".json")
		err = s.dir.Create(name, text, 0o600)
		if !errors.Is(err, fs.ErrExist) {
			break
		}
		now = now.Add(time.Millisecond) // two within one, or a clock set back
	}
	if err != nil {
		return "", err
	}
	return name, s.prune(id)
}

// prune goes by the time in the name, not by the file's, which anybody who may
// write the file can set. What was not made here is not removed.
func (s *Spool) prune(id string) error {
	names, err := s.dir.Names()
	if err != nil {
		return err
	}
	names = slices.DeleteFunc(names, func(name string) bool { return !isDump(name, id) })
	slices.SortFunc(names, func(a, b string) int { return strings.Compare(when(b), when(a)) })
	kept, bytes := 0, int64(0)
	for _, name := range names {
		size, ours := s.ours(name)
		if !ours {
			continue
		}
		kept++
		bytes += size
		if kept <= s.keep && (s.most == 0 || bytes <= s.most) || kept == 1 {
			continue
		}
		if err := s.dir.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// ours says whether the file is one that Keep could have made.
func (s *Spool) ours(name string) (size int64, yes bool) {
	f, info, err := s.dir.OpenFile(name, os.O_RDONLY)
	if err != nil {
		return 0, false
	}
	f.Close()
	return info.Size, info.UID == os.Geteuid() && info.Nlink == 1
}

// isDump says whether name is one that Keep gives for id.
func isDump(name, id string) bool {
	rest, ok := strings.CutPrefix(name, id+"_")
	if !ok || !heartbeat.ValidID(id) {
		return false
	}
	rest, ok = strings.CutSuffix(rest, ".json")
	pid, at, _ := strings.Cut(rest, "_")
	n, err := strconv.Atoi(pid)
	return ok && err == nil && n > 0 && strconv.Itoa(n) == pid && isStamp(at)
}

// when is the time in a name that isDump has accepted.
func when(name string) string { return name[strings.LastIndexByte(name, '_')+1:] }
