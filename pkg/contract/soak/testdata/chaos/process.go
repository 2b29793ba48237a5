package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// A process is one that was started here, and is ended here or has no business
// to end.
type process struct {
	tool, id string
	pid      int
	cmd      *exec.Cmd
	done     chan struct{}

	mu     sync.Mutex
	ending bool
}

// start runs a program. What it prints becomes lines of the kind tells, if that
// is not empty; what it complains of goes to the file of complaints.
func (w *world) start(tool, id, tells string, argv ...string) *process {
	cmd := exec.Command(argv[0], argv[1:]...)
	if strings.HasPrefix(argv[0], "/run/bin/") {
		cmd.Args[0] = "sleep" // a copy of busybox goes by that
	}
	cmd.Env = []string{"PATH=/bin", "VIGIL_DIR=" + run, "VIGIL_SPOOL=" + spool}
	cmd.Stderr = w.complaints
	p := &process{tool: tool, id: id, cmd: cmd, done: make(chan struct{})}
	var read func()
	if tells != "" {
		out, err := cmd.StdoutPipe()
		check(err)
		read = func() { w.truth.lines(tells, out) }
	}
	check(cmd.Start())
	p.pid = cmd.Process.Pid
	w.mu.Lock()
	w.running[p.pid] = p
	w.mu.Unlock()
	go func() {
		if read != nil {
			read()
		}
		_ = cmd.Wait()
		w.mu.Lock()
		delete(w.running, p.pid)
		w.mu.Unlock()
		p.mu.Lock()
		if !p.ending {
			w.truth.put("died", "tool", tool, "id", id, "pid", p.pid, "how", cmd.ProcessState.String())
		}
		p.mu.Unlock()
		close(p.done)
	}()
	return p
}

func (p *process) signal(sig syscall.Signal) { _ = p.cmd.Process.Signal(sig) }

// end ends it by a signal, and waits for its end: a minute at most.
func (p *process) end(w *world, sig syscall.Signal) {
	p.mu.Lock()
	p.ending = true
	p.mu.Unlock()
	p.signal(sig)
	select {
	case <-p.done:
	case <-time.After(time.Minute):
		w.truth.put("stuck", "tool", p.tool, "id", p.id, "pid", p.pid)
		p.signal(syscall.SIGKILL)
		<-p.done
	}
}

// A service is a process, its sender, and what is known of both.
type service struct {
	id      string
	number  int
	works   bool // it has to show progress
	minds   bool // its sender honours holds, too; the watcher always does
	crashes bool
	asked   bool // a diagfifo serves it
	least   time.Duration
	most    time.Duration // the deadline is between the two
	flags   []string      // of its sender

	body, sender *process
	diag         *process
}

func (s *service) pidfile() string  { return filepath.Join("/run/pid", s.id+".pid") }
func (s *service) progress() string { return filepath.Join("/run/work", s.id) }
func (s *service) beats() string    { return filepath.Join(run, "hb", s.id+".hb") }

// startBody starts the process of a service, whose pid is in the file at once
// and whole.
func (w *world) startBody(s *service) {
	argv := []string{"/bin/sleep", "1000000"}
	switch {
	case s.works:
		argv = []string{self, "work", s.progress()}
	case s.crashes:
		argv = []string{"/run/bin/" + s.id, "1000000"}
	}
	s.body = w.start("service", s.id, "", argv...)
	tmp := s.pidfile() + ".new"
	check(os.WriteFile(tmp, []byte(strconv.Itoa(s.body.pid)+"\n"), 0o644))
	check(os.Rename(tmp, s.pidfile()))
	w.truth.put("up", "id", s.id, "pid", s.body.pid)
}

func (w *world) startSender(s *service) {
	argv := []string{"/bin/hbsend", "-q", "-interval", interval.String(), "-pidfile", s.pidfile()}
	if s.minds {
		argv = append(argv, "-hold", run+"/hold")
	}
	if s.works {
		argv = append(argv, "-withhold", "-fresh", s.progress()+"="+patience.String())
	}
	argv = append(append(argv, s.flags...), s.beats())
	s.sender = w.start("hbsend", s.id, "", argv...)
}

func (w *world) startDiag(s *service) {
	s.diag = w.start("diagfifo", s.id, "", "/bin/diagfifo", "-q", "-pidfile", s.pidfile(), "-hold", run+"/hold",
		"-out", spool+"/dump", "-keep", "10", run+"/ctl/"+s.id)
}

func (w *world) startWatch() {
	argv := []string{"/bin/hbwatch", "-hold", run + "/hold", "-state", run + "/state/hbwatch", "-events", spool + "/events",
		"-prom", run + "/prom/vigil.prom", "-feed", run + "/feed/feed", "-on-change", "/bin/on-change", "-hook-jobs", "2"}
	for _, s := range w.services {
		if s.least == flagged {
			argv = append(argv, "-timeout", s.id+"="+flagged.String())
		}
	}
	w.watch = w.start("hbwatch", "", "event", append(argv, run+"/hb")...)
	w.truth.put("in", "tool", "hbwatch", "pid", w.watch.pid)
}

func (w *world) startPing() {
	w.ping = w.start("wdping", "", "wdping", "/bin/wdping", "-timeout", "30s", "-fresh", run+"/feed/feed=25s",
		"-hold", run+"/hold", "-ledger", "/disk/ledger")
	w.truth.put("in", "tool", "wdping", "pid", w.ping.pid)
}
