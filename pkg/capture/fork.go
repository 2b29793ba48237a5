package capture

import (
	"errors"
	"io/fs"
	"runtime"
	"slices"

	"vigil/pkg/fmt"
	"vigil/pkg/procfs"
	"vigil/pkg/ptrace"
)

// fork makes the target fork, lets it go, and copies the memory of its child,
// which shares all pages that are not written meanwhile. The pause is that of
// fork(2): it grows with the number of page tables, not with what they hold.
func (j *job) fork() (r *Report, err error) {
	before, site, err := j.before()
	if err != nil {
		return nil, err
	}
	if err := errors.Join(j.forkable(before), j.roomToFork(before)); err != nil {
		return nil, err
	}
	stay, err := newStay(before)
	if err != nil {
		return nil, fmt.Errorf("fork: %w", err)
	}
	bufs := buffers(j.out, min(runtime.GOMAXPROCS(0), maxCopiers))
	w := &writing{job: j, choose: newImage}
	w.around = func(maps []procfs.Mapping, s source) ([]procfs.Mapping, source) {
		return stay.insert(maps), frozen{s, stay}
	}
	var tail error
	err = ptrace.Run(func() error {
		j.reapLeft(site)
		var c *ptrace.Copy
		pause, err := j.hold(func(s *ptrace.Session, m *moment) (err error) {
			if err := stay.read(m.id()); err != nil {
				return err
			}
			w.moment = m
			c, err = s.Fork(site)
			return err
		})
		if errors.Is(err, ptrace.ErrCall) {
			return fmt.Errorf("%w: %w", err, errUnfit)
		}
		if err != nil {
			return err
		}
		// Where that cannot be, they stay open until the copy is read.
		_ = c.CloseFiles()
		w.id = c.PID
		err = w.watch(bufs)
		tail = c.End()
		if err == nil {
			r = w.report(pause)
			r.Unread += int64(stay.lost)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	if tail != nil && !errors.Is(tail, fs.ErrNotExist) {
		r.Left = tail.Error()
	}
	return r, nil
}

// before looks at what a mode needs that makes calls in the target.
func (j *job) before() (maps []procfs.Mapping, site ptrace.Site, err error) {
	if j.maps != nil {
		return j.maps, j.site, nil
	}
	id := j.living()
	if maps, err = procfs.ReadSmaps(id); err != nil {
		return nil, site, j.explain(err)
	}
	i := slices.IndexFunc(maps, func(m procfs.Mapping) bool { return m.Name == "[vdso]" })
	if i < 0 {
		return nil, site, fmt.Errorf("pid %d: no vdso: %w", j.PID, errUnfit)
	}
	mem, err := ptrace.OpenMemory(id)
	if err != nil {
		return nil, site, j.explain(err)
	}
	defer mem.Close()
	var text []ptrace.Range
	for _, m := range maps {
		if m.Perm[2] == 'x' && m.Inode != 0 && !m.Shared() {
			text = append(text, ptrace.Range{Start: m.Start, End: m.End})
		}
	}
	site, err = ptrace.FindSite(mem, ptrace.Range{Start: maps[i].Start, End: maps[i].End}, text)
	if errors.Is(err, ptrace.ErrCall) {
		err = fmt.Errorf("%w: %w", err, errUnfit)
	}
	if err == nil {
		j.maps, j.site = maps, site
	}
	return maps, site, err
}
