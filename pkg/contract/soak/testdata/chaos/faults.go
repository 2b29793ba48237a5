package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// disturb does one thing and undoes it; it takes as long as the fault is long.
// It is long: a table of what there is.
func (w *world) disturb(f fault) {
	if f.who < 0 {
		w.disturbAll(f)
		return
	}
	s := w.services[f.who]
	w.truth.put("fault", "id", s.id, "what", f.what, "long_ms", f.long.Milliseconds())
	switch f.what {
	case "pause service":
		w.silence(s, f, func() { s.body.signal(syscall.SIGSTOP) }, func() { s.body.signal(syscall.SIGCONT) })
	case "hang service":
		w.silence(s, f, func() { s.body.signal(syscall.SIGUSR1) }, func() { s.body.signal(syscall.SIGUSR2) })
	case "kill service":
		w.gone(s, f, syscall.SIGKILL, f.long)
	case "crash service":
		w.gone(s, f, syscall.SIGSEGV, f.long)
	case "restart service":
		w.gone(s, f, syscall.SIGTERM, 0)
	case "pause sender":
		w.silence(s, f, func() { s.sender.signal(syscall.SIGSTOP) }, func() { s.sender.signal(syscall.SIGCONT) })
	case "kill sender":
		w.silence(s, f, func() { s.sender.end(w, syscall.SIGKILL) }, func() { w.startSender(s) })
	case "restart sender":
		f.long = 0
		w.silence(s, f, func() { s.sender.end(w, syscall.SIGKILL) }, func() { w.startSender(s) })
	case "end sender":
		// It says goodbye: nobody has to miss it.
		s.sender.end(w, syscall.SIGTERM)
		time.Sleep(f.long)
		w.startSender(s)
	case "hold":
		w.held(s, f, f.long+time.Minute, true)
	case "forget a hold":
		w.held(s, f, max(2*time.Second, f.long/3), false)
	case "idle hold":
		w.hold(s.id, max(2*time.Second, f.long))
	case "garble":
		w.garble(s)
	case "remove":
		check(os.Remove(s.beats()))
	default:
		panic(f.what)
	}
	w.truth.put("over", "id", s.id, "what", f.what)
}

// silence is a time in which a service cannot beat.
func (w *world) silence(s *service, f fault, begin, end func()) {
	w.truth.put("silent", "id", s.id, "cause", f.what, "pid", s.body.pid)
	begin()
	time.Sleep(f.long)
	end()
	w.truth.put("beating", "id", s.id)
}

// gone is a time in which a service does not even exist.
func (w *world) gone(s *service, f fault, sig syscall.Signal, long time.Duration) {
	w.truth.put("silent", "id", s.id, "cause", f.what, "pid", 0)
	w.truth.put("down", "id", s.id, "pid", s.body.pid, "signal", int(sig))
	s.body.end(w, sig)
	time.Sleep(long)
	w.startBody(s)
	w.truth.put("beating", "id", s.id)
}

// hold takes a hold, as a person would. It is known from when to when it is in
// force for certain; the nonce is empty if it was refused.
func (w *world) hold(id string, ttl time.Duration) (nonce string) {
	before := boottime()
	out, err := exec.Command("/bin/diagfifo", "hold", "-dir", run+"/hold", id, ttl.String(), "soak").Output()
	if err != nil {
		w.truth.put("no hold", "id", id, "why", err.Error())
		return ""
	}
	w.truth.put("hold", "id", id, "until", before+ttl.Milliseconds())
	_, rest, _ := strings.Cut(string(out), " nonce=")
	nonce, _, _ = strings.Cut(rest, " ")
	return nonce
}

// held stops a service under a hold, which is released after it, or forgotten.
func (w *world) held(s *service, f fault, ttl time.Duration, release bool) {
	nonce := w.hold(s.id, ttl)
	if nonce == "" {
		return // the run directory is full
	}
	w.silence(s, f, func() { s.body.signal(syscall.SIGSTOP) }, func() { s.body.signal(syscall.SIGCONT) })
	if !release {
		return
	}
	w.truth.put("release", "id", s.id)
	for {
		// A full disk refuses that, too: somebody tries again.
		out, err := exec.Command("/bin/diagfifo", "release", "-dir", run+"/hold", "-nonce", nonce, s.id).CombinedOutput()
		if err == nil {
			return
		}
		w.truth.put("no release", "id", s.id, "why", err.Error()+": "+string(out))
		time.Sleep(time.Second)
	}
}

// garble writes into a heartbeat what is none, as a stray redirection does.
func (w *world) garble(s *service) {
	f, err := os.OpenFile(s.beats(), os.O_WRONLY, 0)
	check(err)
	defer f.Close()
	_, err = f.WriteAt([]byte(`{"v":1,"id":"nobody","status":"ok`), 0)
	check(err)
}

// disturbAll is what concerns everybody, or the watchers. It is long: a table.
func (w *world) disturbAll(f fault) {
	w.truth.put("phase", "what", f.what, "long_ms", f.long.Milliseconds())
	switch f.what {
	case "kill hbwatch", "end hbwatch":
		w.truth.put("out", "tool", "hbwatch", "how", f.what)
		w.watch.end(w, deadly(f.what))
		time.Sleep(f.long)
		w.startWatch()
	case "pause hbwatch":
		w.pauseTool(w.watch, f)
	case "kill wdping", "end wdping":
		w.truth.put("out", "tool", "wdping", "how", f.what)
		w.ping.end(w, deadly(f.what))
		time.Sleep(f.long)
		w.startPing()
	case "pause wdping":
		w.pauseTool(w.ping, f)
	case "kill diagfifo", "pause diagfifo":
		w.disturbDiag(f)
	case "step the clock":
		w.step(f)
	case "full run directory":
		w.fill(run, f)
	case "full spool":
		w.fill(spool, f)
	case "read-only":
		w.readOnly(f)
	case "freeze":
		w.freeze(f)
	case "mass":
		w.mass(f)
	default:
		panic(f.what)
	}
	w.truth.put("phase over", "what", f.what)
}

func deadly(what string) syscall.Signal {
	if strings.HasPrefix(what, "kill ") {
		return syscall.SIGKILL
	}
	return syscall.SIGTERM
}

func (w *world) pauseTool(p *process, f fault) {
	w.truth.put("out", "tool", p.tool, "id", p.id, "how", f.what)
	p.signal(syscall.SIGSTOP)
	time.Sleep(f.long)
	p.signal(syscall.SIGCONT)
	w.truth.put("in", "tool", p.tool, "id", p.id, "pid", p.pid)
}

func (w *world) disturbDiag(f fault) {
	s := w.asked[f.number%int64(len(w.asked))]
	if f.what == "pause diagfifo" {
		w.pauseTool(s.diag, f)
		return
	}
	w.truth.put("out", "tool", "diagfifo", "id", s.id, "how", f.what)
	s.diag.end(w, syscall.SIGKILL)
	time.Sleep(f.long)
	w.startDiag(s)
	w.truth.put("in", "tool", "diagfifo", "id", s.id, "pid", s.diag.pid)
}

// step moves the wall clock by up to two days, either way.
func (w *world) step(f fault) {
	by := time.Duration(f.number%int64(96*time.Hour)) - 48*time.Hour
	now := time.Now().Add(by)
	tv := syscall.NsecToTimeval(now.UnixNano())
	check(syscall.Settimeofday(&tv))
	w.truth.put("clock", "by_s", by.Seconds())
}

// fill leaves no byte of a file system.
func (w *world) fill(dir string, f fault) {
	name := dir + "/fill"
	out, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY, 0o600)
	check(err)
	defer out.Close()
	size := int64(0)
	for piece := make([]byte, 1<<20); len(piece) > 0; {
		n, err := out.Write(piece)
		size += int64(n)
		if err != nil {
			piece = piece[:len(piece)/2]
		}
	}
	if size == 0 {
		check(fmt.Errorf("%s: not filled", dir))
	}
	w.truth.put("full", "dir", dir, "bytes", size)
	time.Sleep(f.long)
	check(os.Remove(name))
	check(out.Truncate(0))
	w.truth.put("room", "dir", dir)
}

// readOnly makes every file system with a disk read-only, open files or not, as
// the kernel does when a disk fails.
func (w *world) readOnly(f fault) {
	w.truth.put("full", "dir", spool, "bytes", -1)
	check(os.WriteFile("/proc/sysrq-trigger", []byte("u"), 0))
	time.Sleep(f.long)
	for _, dir := range []string{spool, "/disk"} {
		if os.WriteFile(dir+"/probe", nil, 0o600) == nil {
			check(fmt.Errorf("%s: still writable", dir))
		}
		check(exec.Command("/bin/mount", "-o", "remount,rw", dir).Run())
	}
	w.truth.put("room", "dir", spool)
}

// freeze stops everybody, the watcher too, for longer than the deadlines.
func (w *world) freeze(f fault) {
	w.truth.put("out", "tool", "hbwatch", "how", f.what)
	w.watch.signal(syscall.SIGSTOP)
	for _, s := range w.services {
		w.truth.put("silent", "id", s.id, "cause", f.what, "pid", s.body.pid)
		s.sender.signal(syscall.SIGSTOP)
	}
	time.Sleep(f.long)
	for _, s := range w.services {
		s.sender.signal(syscall.SIGCONT)
		w.truth.put("beating", "id", s.id)
	}
	w.watch.signal(syscall.SIGCONT)
	w.truth.put("in", "tool", "hbwatch", "pid", w.watch.pid)
}

// mass stops two senders in five at once, and only them.
func (w *world) mass(f fault) {
	var hit []*service
	for n, s := range w.services {
		if n%5 < 2 {
			w.truth.put("silent", "id", s.id, "cause", f.what, "pid", s.body.pid)
			s.sender.signal(syscall.SIGSTOP)
			hit = append(hit, s)
		}
	}
	time.Sleep(f.long)
	for _, s := range hit {
		s.sender.signal(syscall.SIGCONT)
		w.truth.put("beating", "id", s.id)
	}
}

// ask sends commands to the diagfifos, by what a shell has: an echo into a FIFO.
func (w *world) ask(r *rand.Rand) {
	for n := 0; ; n++ {
		time.Sleep(3 * time.Second)
		if !w.on() {
			return
		}
		s := w.asked[r.IntN(len(w.asked))]
		verb := pick(r, "ping", "status", "threads", "dump", "dump level=light")
		id := fmt.Sprintf("q%d", n)
		dir := run + "/ctl/" + s.id
		f, err := os.OpenFile(dir+"/ctl", os.O_WRONLY|syscall.O_NONBLOCK, 0)
		if err != nil {
			w.truth.put("nobody serves", "id", s.id)
			continue
		}
		_, err = fmt.Fprintf(f, "@%s:f %s\n", id, verb)
		_ = f.Close()
		if err != nil {
			w.truth.put("nobody serves", "id", s.id)
			continue
		}
		w.truth.put("ask", "id", s.id, "name", id, "verb", verb)
		go w.await(s, dir+"/r/"+id, id)
	}
}

func (w *world) await(s *service, file, id string) {
	for range 300 {
		time.Sleep(100 * time.Millisecond)
		text, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		first, _, _ := strings.Cut(string(text), "\n")
		w.truth.put("answer", "id", s.id, "name", id, "text", first[:min(len(first), 60)])
		_ = os.Remove(file)
		return
	}
}
