package watch

import (
	"cmp"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"vigil/pkg/fmt"
	"vigil/pkg/heartbeat"
	"vigil/pkg/rundir"
)

// Log hears what a person should know.
type Log interface {
	Warn(msg string, kv ...any)
}

const (
	// scanEvery finds files whose directory has a clock too coarse to show them:
	// two changes within one tick of it leave the same time. scanCalm is how old
	// that time has to be for any change after the look at it to show, and scanRest
	// is for what keeps no such time.
	scanEvery = 5 * time.Second
	scanCalm  = 5 * time.Second
	scanRest  = time.Minute
	// scanLeast bounds the cost of senders that rename a file for each beat, and
	// so change the directory all the time.
	scanLeast = time.Second
	// scanShare of the time goes into listing at most: 1 in so much.
	scanShare = 50
)

// source is one directory that is watched.
type source struct {
	path  string
	dir   *rundir.Dir
	all   bool     // else only those files that were named
	named []string // files
	bare  bool     // files of any name

	opened os.FileInfo // of the directory behind dir
	mtime  time.Time   // of the directory at the last scan
	looked time.Duration
	scan   time.Duration
	took   time.Duration // the last one
	calm   bool          // the time of change was old then
	fault  string        // that was told
	bogus  int
	buried map[string]uint64 // files of forgotten ids, and their marks
}

// openSources opens what the paths name: directories, or files ID.hb; bare
// ones have any name.
func openSources(paths []string, bare bool) ([]*source, error) {
	var all []*source
	for _, path := range paths {
		s := &source{path: path, all: true, bare: bare}
		st, err := os.Stat(path)
		if _, _, ok := s.identify(filepath.Base(path)); ok && (err != nil || !st.IsDir()) {
			s = &source{path: filepath.Dir(path), named: []string{filepath.Base(path)}, bare: bare}
		}
		if err := s.open(); err != nil {
			for _, s := range all {
				_ = s.dir.Close()
			}
			return nil, err
		}
		if i := slices.IndexFunc(all, func(o *source) bool { return os.SameFile(o.opened, s.opened) }); i >= 0 {
			all[i].all = all[i].all || s.all
			all[i].named = append(all[i].named, s.named...)
			_ = s.dir.Close()
			continue
		}
		all = append(all, s)
	}
	return all, nil
}

// open opens the directory that the path names now. What it was is asked
// first: if it is replaced in between, the next heal sees that.
func (s *source) open() error {
	st, statErr := os.Stat(s.path)
	dir, err := rundir.Open(s.path)
	if err != nil {
		return err
	}
	if statErr != nil {
		_ = dir.Close()
		return fmt.Errorf("%s: open directory: %w", s.path, statErr)
	}
	if s.dir != nil {
		_ = s.dir.Close()
	}
	s.dir, s.opened, s.mtime, s.scan = dir, st, time.Time{}, 0
	return nil
}

// heal opens the directory again if another one is under its path now, and
// gives its time of change; ok is false while there is none to be trusted.
// Until then senders may go on in the one that was there before.
func (s *source) heal(log Log) (mtime time.Time, ok bool) {
	st, err := os.Stat(s.path)
	switch {
	case err == nil && os.SameFile(st, s.opened):
		return st.ModTime(), true
	case err == nil:
		err = s.open()
	default:
		err = fmt.Errorf("%s: directory is gone", s.path)
	}
	s.tell(log, err)
	return time.Time{}, err == nil
}

// worth tells whether to list the directory again, this long after the last
// time: if it has changed, or may have without showing it.
func (s *source) worth(since time.Duration, mtime time.Time) bool {
	switch {
	case since < s.took*scanShare:
		return false
	case s.calm && mtime.Equal(s.mtime):
		return since >= scanRest
	}
	return since >= scanEvery || !mtime.Equal(s.mtime)
}

// tell warns of a fault, once as long as it stays the same.
func (s *source) tell(log Log, err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text != s.fault && text != "" {
		log.Warn(text)
	}
	s.fault = text
}

// found is a file of a directory.
type found struct {
	name string
	ino  uint64
}

// list gives the names of the files that stand for ids, in the order of their
// inodes, but for those that are settled. Names of temporary files are not
// counted among those that are no ids.
func (s *source) list(log Log, settled func(id string, bare bool) bool) ([]string, error) {
	var files []found
	bogus := 0
	err := s.dir.Each(func(name string, ino uint64) {
		id, bare, ok := s.identify(name)
		switch {
		case ok && (s.all || slices.Contains(s.named, name)):
			if !settled(id, bare) {
				files = append(files, found{strings.Clone(name), ino})
			}
		case !ok && s.all && strings.HasSuffix(name, heartbeat.Suffix) && name[0] != '.':
			bogus++
		}
	})
	if err != nil {
		return nil, err
	}
	if bogus != s.bogus && bogus > 0 {
		log.Warn(s.path+": some names are no ids with "+heartbeat.Suffix+": ignored", "names", bogus)
	}
	s.bogus = bogus
	slices.SortFunc(files, func(a, b found) int { return cmp.Compare(a.ino, b.ino) })
	names := make([]string, len(files))
	for i, f := range files {
		names[i] = f.name
	}
	return names, nil
}

func (s *source) file(name string) string { return filepath.Join(s.path, name) }
