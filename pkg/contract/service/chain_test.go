package service

import (
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"vigil/pkg/contract/host"
)

// chain is an example that runs on a host.
type chain struct {
	*testing.T
	h     *host.Host
	id    string // of the service
	run   string // the run directory there
	user  int    // who asks, and takes holds
	hangs int    // how often the service was made to hang, and had to be restarted for it
}

// piece is a process of the chain, by its name and an argument.
type piece struct{ comm, word string }

func (c *chain) service() piece  { return piece{"web", ""} }
func (c *chain) hbsend() piece   { return piece{"hbsend", "/" + c.id + ".hb"} }
func (c *chain) diagfifo() piece { return piece{"diagfifo", "/ctl/" + c.id} }

var (
	hbwatch = piece{"hbwatch", "/hbwatch.state"}
	wdping  = piece{"wdping", "-ledger"}
)

func (c *chain) find(p piece) host.Process { return c.h.Find(p.comm, p.word) }

// await polls.
func (c *chain) await(what string, done func() bool) {
	c.Helper()
	c.h.Await(what, done)
}

// tool runs a program of vigil on the host.
func (c *chain) tool(argv ...string) host.Result {
	c.Helper()
	return c.h.RunAs(c.user, append([]string{"/usr/local/bin/" + argv[0]}, argv[1:]...)...)
}

// alive is what a monitor would ask.
func (c *chain) alive() bool {
	got := c.tool("hbwatch", "-once", "-json", "-hold", c.run+"/hold", c.run+"/hb/"+c.id+".hb")
	return got.Code == 0 && strings.Contains(got.Stdout, `"state":"alive"`)
}

// up waits until all pieces run and beats arrive, and asks each of them something.
func (c *chain) up(pieces ...piece) {
	c.Helper()
	for _, p := range pieces {
		c.await(p.comm+" to run", func() bool { return c.find(p).PID != 0 })
	}
	c.await("beats", c.alive)
	// What starts it has the same number for a moment, and perhaps the same name.
	c.await("diagfifo to tell of web", func() bool {
		got := c.tool("diagfifo", "send", c.run+"/ctl/"+c.id, "status")
		return got.Code == 0 && strings.Contains(got.Stdout+" ", " name=web ")
	})
	c.await("the service to run as its user", func() bool { return c.find(c.service()).UID == uid })
}

// acknowledged has these tools see a hold, and ends it.
func (c *chain) acknowledged(tools string) {
	c.Helper()
	got := c.tool("diagfifo", "hold", "-dir", c.run+"/hold", "-wait", tools, "-wait-for", "90s", c.id, "5m", "a test")
	if got.Code != 0 {
		c.Errorf("hold: exit status %d, %s%s", got.Code, got.Stdout, got.Stderr)
	}
	if got := c.tool("diagfifo", "release", "-dir", c.run+"/hold", "-force", c.id); got.Code != 0 {
		c.Errorf("release: exit status %d, %s%s", got.Code, got.Stdout, got.Stderr)
	}
	c.await("beats after the hold", c.alive)
}

// alarms lists the events by which the service was no good.
func (c *chain) alarms() (found []string) {
	for line := range strings.Lines(c.h.Text(c.run + "/events")) {
		if strings.Contains(line, `"id":"`+c.id+`"`) && slices.ContainsFunc([]string{"suspect", "dead", "failed"},
			func(state string) bool { return strings.Contains(line, `"to":"`+state+`"`) }) {
			found = append(found, line)
		}
	}
	return found
}

// again kills a piece and waits for another one in its place.
func (c *chain) again(p piece) {
	c.Helper()
	old := c.find(p)
	c.h.Signal(old, syscall.SIGKILL)
	c.await("another "+p.comm, func() bool { now := c.find(p); return now.PID != 0 && now.PID != old.PID })
}

// replaced kills each piece that watches, which the service must not notice, nor
// whoever reads the events.
func (c *chain) replaced(pieces ...piece) {
	c.Helper()
	old, before := c.find(c.service()), len(c.alarms())
	for _, p := range pieces {
		c.again(p)
	}
	c.up(pieces...)
	if now := c.find(c.service()); now.PID != old.PID {
		c.Errorf("the service was started anew: %d, was %d", now.Inner, old.Inner)
	}
	if alarms := c.alarms(); len(alarms) > before {
		c.Errorf("alarms: %q", alarms[before:])
	}
}

// killed kills the service: its supervisor starts it again, and nobody asks it to.
func (c *chain) killed() {
	c.Helper()
	c.again(c.service())
	c.await("beats of the new process", func() bool {
		beat := c.h.Text(c.run + "/hb/" + c.id + ".hb")
		return c.alive() && strings.Contains(beat, `"pid":`+strconv.Itoa(c.find(c.service()).Inner)+`,`)
	})
	c.restarts()
}

// hung stops the service: it is seen, evidence is saved, and it is started anew,
// once.
func (c *chain) hung() {
	c.Helper()
	c.hangs++
	old := c.find(c.service())
	c.h.Signal(old, syscall.SIGSTOP)
	c.await("another process of the service", func() bool { now := c.find(c.service()); return now.PID != 0 && now.PID != old.PID })
	c.await("beats of it", c.alive)
	c.await("the end of the old one", func() bool {
		return !slices.ContainsFunc(c.running(), func(p host.Process) bool { return p.PID == old.PID })
	})
	c.restarts()
}

// suspected is hung, where hbwatch tells what it sees: first suspect, then dead.
func (c *chain) suspected() {
	c.Helper()
	before := len(c.alarms())
	c.hung()
	// That the old process ends may be seen as well.
	alarms := c.alarms()[before:]
	if len(alarms) < 2 || !strings.Contains(alarms[0], `"to":"suspect"`) || !strings.Contains(alarms[1], `"to":"dead"`) ||
		slices.ContainsFunc(alarms[2:], func(line string) bool { return !strings.Contains(line, `"to":"failed"`) }) {
		c.Errorf("alarms %q, want suspect and dead", alarms)
	}
	got := c.h.Run("/bin/sh", "-c", `cat /var/lib/vigil/incident/"$1"-*/summary.txt`, "sh", c.id)
	if !strings.Contains(got.Stdout, "complete") || !strings.Contains(got.Stdout, "suspect") {
		c.Errorf("the evidence is %q%s", got.Stdout, got.Stderr)
	}
}

// restarts: vigil-restart has asked once for each time that the service hung.
func (c *chain) restarts() {
	c.Helper()
	if n := strings.Count(c.h.Text(c.run+"/restart/"+c.id), "\n"); n != c.hangs {
		c.Errorf("asked %d times for a restart, want %d", n, c.hangs)
	}
}

// gone waits until only these processes are left.
func (c *chain) gone(but ...string) {
	c.Helper()
	c.await("the end of all processes", func() bool {
		return !slices.ContainsFunc(c.running(), func(p host.Process) bool { return !slices.Contains(but, p.Comm) })
	})
}

// running lists the processes that have not ended. A cron that is the first process,
// which it is nowhere else, buries nobody else's children.
func (c *chain) running() []host.Process {
	return slices.DeleteFunc(c.h.Processes(), func(p host.Process) bool { return p.State == 'Z' })
}
