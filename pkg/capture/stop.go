package capture

import (
	"runtime"

	"vigil/pkg/ptrace"
)

// stop holds all threads until the last byte is copied: the oldest way, and the
// one that works wherever a process can be traced at all.
func (j *job) stop() (r *Report, err error) {
	bufs := buffers(j.out, min(runtime.GOMAXPROCS(0), maxCopiers))
	w := &writing{job: j, choose: newImage}
	run := ptrace.Run
	if j.adopt != nil {
		run = func(f func() error) error { return f() } // this is the thread that traces
	}
	err = run(func() error {
		pause, err := j.hold(func(_ *ptrace.Session, m *moment) error {
			w.moment, w.id = m, m.id()
			return w.watch(bufs)
		})
		if err == nil {
			r = w.report(pause)
		}
		return err
	})
	if err == nil && j.adopt == nil && j.process.Exited() {
		err = j.gone() // pages may have vanished below the copy
	}
	if err != nil {
		return nil, err
	}
	return r, nil
}
