package control

import (
	"errors"
	"io/fs"
	"os"
	"strings"

	"vigil/pkg/fifo"
	"vigil/pkg/rundir"
)

// Clear removes what the servers of a directory leave there for the next one:
// the latest answers, those that nobody fetched, the lock. It does nothing
// where there is a server, or no directory that is trusted.
func Clear(path string) error {
	dir, err := rundir.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer dir.Close()
	lock, err := fifo.Lock(dir)
	if errors.Is(err, fifo.ErrServed) {
		return nil
	}
	if err != nil {
		return err
	}
	defer lock.Close()
	names, err := dir.Names()
	if err != nil {
		return err
	}
	var faults []error
	for _, name := range names {
		switch {
		case name == filesName, name == fifosName:
			faults = append(faults, os.RemoveAll(path+"/"+name))
		case name == lastName, name == DumpName, strings.HasPrefix(name, ".tmp."):
			faults = append(faults, dir.Remove(name))
		}
	}
	// The lock comes last: whoever waits for it finds nothing.
	return errors.Join(append(faults, fifo.Unlock(dir))...)
}
