package watch

import (
	"errors"
	"io/fs"
	"os"

	"vigil/pkg/fmt"
	"vigil/pkg/heartbeat"
	"vigil/pkg/rundir"
)

// identify gives the id that a file stands for. Under -bare every file is a
// heartbeat, which beats whenever somebody touches it, and its id is its name.
func (s *source) identify(name string) (id string, bare, ok bool) {
	if id, ok = heartbeat.FileID(name); ok || !s.bare {
		return id, false, ok
	}
	return name, true, heartbeat.ValidID(name)
}

// name is the name of the file of e.
func (e *entry) name() string {
	if e.bare {
		return e.id
	}
	return e.id + heartbeat.Suffix
}

// regular tells whether name is a file: a directory among bare ones is no
// sender that went wrong.
func (s *source) regular(name string) bool {
	_, err := s.dir.Stat(name)
	return !errors.Is(err, rundir.ErrNotRegular)
}

// readBare looks at a file of which only the times count. It has to be
// somebody's who may say that he is alive, as a record has to.
func (s *source) readBare(name string, terms heartbeat.Terms) (r heartbeat.Record, info rundir.Info, err error) {
	info, err = s.dir.Stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case errors.Is(err, rundir.ErrNotRegular):
		err = &heartbeat.Reject{Reason: heartbeat.NotRegular}
	case err != nil:
		err = &heartbeat.Reject{Reason: heartbeat.Unreadable, Detail: err.Error()}
	case info.UID != 0 && info.UID != os.Geteuid() && info.UID != terms.Owner:
		err = &heartbeat.Reject{Reason: heartbeat.ForeignOwner, Detail: fmt.Sprintf("uid %d", info.UID)}
	case info.Mode&0o002 != 0:
		err = &heartbeat.Reject{Reason: heartbeat.Writable, Detail: fmt.Sprintf("mode %04o", uint32(info.Mode))}
	}
	return heartbeat.Record{Foreign: true, ID: name}, info, err
}
