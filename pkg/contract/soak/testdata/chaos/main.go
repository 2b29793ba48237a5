// Chaos is the first thing that runs in the machine of the soak. It starts 200
// services, each with its sender, and all that watches them, breaks them as its
// plan says, and writes down what it did and what it saw; it judges nothing.
package main

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	run   = "/run/vigil"
	spool = "/spool"
	self  = "/bin/chaos"

	interval = 2 * time.Second
	patience = 6 * time.Second  // of -fresh
	asked    = 12 * time.Second // by -ttl of the sender
	flagged  = 10 * time.Second // by -timeout of hbwatch
)

type world struct {
	truth      truth
	services   []*service
	asked      []*service
	watch      *process
	ping       *process
	complaints *os.File
	over       atomic.Bool

	mu      sync.Mutex
	running map[int]*process
}

func (w *world) on() bool { return !w.over.Load() }

// work is a service that shows progress every two seconds, unless it hangs.
func work(file string) {
	hang, recover := make(chan os.Signal, 1), make(chan os.Signal, 1)
	signal.Notify(hang, syscall.SIGUSR1)
	signal.Notify(recover, syscall.SIGUSR2)
	for tick := time.NewTicker(2 * time.Second); ; {
		select {
		case <-hang:
			<-recover
		case <-tick.C:
			check(os.WriteFile(file, []byte("at work\n"), 0o644))
		}
	}
}

// people makes the services: how their deadline is found, whether they work,
// crash, and are asked, goes by their number.
func people(n int) (all []*service) {
	for i := range n {
		s := &service{id: fmt.Sprintf("svc-%03d", i), number: i, works: i%5 == 3, minds: i%8 == 0, crashes: i%25 == 4, asked: i%25 == 8}
		switch i % 4 {
		case 0, 1:
			s.least, s.most = asked, asked
			s.flags = []string{"-ttl", asked.String()}
		case 2:
			s.least, s.most = flagged, flagged
		case 3:
			s.least, s.most = 5*interval, 30*interval
		}
		all = append(all, s)
	}
	return all
}

func (w *world) begin() {
	for _, dir := range []string{run + "/hb", run + "/hold", run + "/ctl", run + "/state", run + "/prom", run + "/feed", spool + "/dump", spool + "/core",
		"/run/pid", "/run/work", "/run/bin"} {
		check(os.MkdirAll(dir, 0o755))
	}
	text, err := os.ReadFile("/bin/busybox")
	check(err)
	for _, s := range w.services {
		w.truth.put("service", "id", s.id, "least_ms", s.least.Milliseconds(), "most_ms", s.most.Milliseconds(), "works", s.works,
			"interval_ms", interval.Milliseconds(), "patience_ms", patience.Milliseconds(), "evidence", s.number%10 == 0)
		if s.crashes {
			check(os.WriteFile("/run/bin/"+s.id, text, 0o755))
		}
		w.startBody(s)
		w.startSender(s)
		if s.asked {
			w.asked = append(w.asked, s)
			w.startDiag(s)
		}
	}
	w.startWatch()
	w.startPing()
}

// end ends what can be ended, in the order in which a host would, and looks at
// what is left. The watchers stay, for the last act.
func (w *world) end() {
	for _, s := range w.asked {
		w.truth.put("out", "tool", "diagfifo", "id", s.id, "how", "end diagfifo")
		s.diag.end(w, syscall.SIGTERM)
	}
	for _, s := range w.services {
		s.sender.end(w, syscall.SIGTERM)
	}
	for _, s := range w.services {
		s.body.end(w, syscall.SIGTERM)
	}
	time.Sleep(15 * time.Second)
	w.inventory()
}

func main() {
	if len(os.Args) == 3 && os.Args[1] == "work" {
		work(os.Args[2])
	}
	seed := flag.Uint64("seed", 1, "")
	length := flag.Duration("length", 10*time.Minute, "")
	number := flag.Int("services", 200, "")
	flag.Parse()

	w := &world{services: people(*number), running: map[int]*process{}}
	var err error
	w.complaints, err = os.OpenFile("/run/complaints", os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	check(err)
	begun := time.Now()
	w.truth.put("soak", "seed", *seed, "length_ms", length.Milliseconds(), "services", *number)
	faults := plan(rand.New(rand.NewPCG(*seed, 0)), w.services, *length)
	w.begin()
	say("started")
	go w.measure()
	go w.lag()
	go w.ask(rand.New(rand.NewPCG(*seed, 1)))
	go overdue(*length + time.Minute)
	var busy sync.WaitGroup
	for _, f := range faults {
		time.Sleep(f.at - time.Since(begun))
		busy.Go(func() { w.disturb(f) })
	}
	busy.Wait()
	time.Sleep(*length - time.Since(begun))
	w.over.Store(true)
	say("over")
	w.end()
	w.truth.put("end")
	w.truth.print()
	say("wdping is killed")
	w.ping.end(w, syscall.SIGKILL)
	for {
		say("tick")
		time.Sleep(time.Second)
	}
}

// overdue ends a soak that does not come to its end, and shows where it is.
func overdue(limit time.Duration) {
	time.Sleep(limit + 2*time.Minute)
	text := make([]byte, 1<<20)
	fmt.Printf("FAIL chaos: no end\n%s\n", text[:runtime.Stack(text, true)])
	os.Exit(1)
}

// say is init.sh's log.
func say(text string) {
	bt := boottime()
	fmt.Printf("[%d.%02d] %s\n", bt/1000, bt%1000/10, text)
}
