package spool

import (
	"errors"
	"io/fs"

	"golang.org/x/sys/unix"

	"vigil/pkg/fmt"
	"vigil/pkg/rundir"
)

// List gives the captures in a directory, in no order. Only files that could
// have been made here count: regular ones of a name that Base gives. Mode and links
// are their owner's to change, who must not take them out of the count with that:
// the directory is trusted. A file that vanishes meanwhile is left out.
func List(dir *rundir.Dir) ([]Entry, error) {
	names, err := dir.Names()
	if err != nil {
		return nil, err
	}
	var entries []Entry
	at := map[string]int{}
	largest := map[string]int64{}
	for _, name := range names {
		base, program, pid, time, ok := parts(name)
		if !ok {
			continue
		}
		info, err := dir.Stat(name)
		if err != nil {
			continue
		}
		i, known := at[base]
		if !known {
			i = len(entries)
			at[base] = i
			entries = append(entries, Entry{Base: base, Program: program, PID: pid, Time: time, UID: info.UID})
		}
		e := &entries[i]
		e.Files = append(e.Files, name)
		e.Disk += info.Disk
		if info.Disk > largest[base] {
			largest[base], e.UID = info.Disk, info.UID
		}
		if e.Core() == name {
			e.Size = info.Size
		}
	}
	return entries, nil
}

// Free is what the file system of a directory has left for an ordinary user, in
// bytes.
func Free(dir *rundir.Dir) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Fstatfs(dir.Fd(), &st); err != nil {
		return 0, fmt.Errorf("%s: statfs: %w", dir.Path(), err)
	}
	return int64(st.Bavail) * int64(st.Bsize), nil
}

// Prune removes what exceeds the limits and gives what it has removed, whole or
// in part. What another one removes at the same time is no error.
func Prune(dir *rundir.Dir, l Limits) ([]Entry, error) {
	entries, err := List(dir)
	if err != nil {
		return nil, err
	}
	free, err := Free(dir)
	if err != nil {
		return nil, err
	}
	gone := Excess(entries, l, free)
	for i, e := range gone {
		if err := Remove(dir, e); err != nil {
			return gone[:i], err
		}
	}
	return gone, nil
}

// Remove removes the files of one capture, the core first: a description
// without a core says more than a core without a description. What has come since
// it was listed goes, too.
func Remove(dir *rundir.Dir, e Entry) error {
	for _, suffix := range Suffixes {
		if err := dir.Remove(e.Base + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
