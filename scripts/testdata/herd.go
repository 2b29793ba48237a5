// Command herd is many senders in one process: each beats into its file as
// hbsend does, in place and with its jitter.
//
//	herd DIR FIRST COUNT INTERVAL DEATHS
//
// It prints a line when every file is there. At SIGUSR1, DEATHS of its senders
// cease, spread over all of them; for each it prints its id and the ts_ms of its
// last beat, and a line "." at the end.
package main

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"vigil/pkg/boottime"
	"vigil/pkg/heartbeat"
)

const (
	slot   = 5 * time.Millisecond
	jitter = 0.1
)

type herd struct {
	interval time.Duration
	records  []heartbeat.Record
	fds      []int
	dead     []bool
	slots    [][]int // whose turn it is; a ring
	at       int     // in slots
	encoder  heartbeat.Encoder
	block    []byte
}

func main() {
	const usage = "usage: herd DIR FIRST COUNT INTERVAL DEATHS"
	if len(os.Args) != 6 {
		fail(usage)
	}
	first, err1 := strconv.Atoi(os.Args[2])
	count, err2 := strconv.Atoi(os.Args[3])
	interval, err3 := time.ParseDuration(os.Args[4])
	deaths, err4 := strconv.Atoi(os.Args[5])
	if err1 != nil || err2 != nil || err3 != nil || err4 != nil || count < deaths || interval < time.Second/10 {
		fail(usage)
	}
	h := &herd{interval: interval, slots: make([][]int, 2*int(interval/slot))}
	h.create(os.Args[1], first, count)
	fmt.Println("ready")
	h.run(deaths)
}

func fail(a ...any) {
	fmt.Fprintln(os.Stderr, append([]any{"herd:"}, a...)...)
	os.Exit(111)
}

// create makes the files, as far apart in time as their senders will be.
func (h *herd) create(dir string, first, count int) {
	boot, err := boottime.ID()
	if err != nil {
		fail(err)
	}
	h.dead = make([]bool, count)
	for i := range count {
		id := fmt.Sprintf("svc-%06d", first+i)
		h.records = append(h.records, heartbeat.Record{
			ID: id, PID: os.Getpid(), Boot: boot, StartMS: time.Now().UnixMilli(), IntervalMS: h.interval.Milliseconds(), CRC: true,
		})
		fd, err := unix.Open(filepath.Join(dir, id+heartbeat.Suffix), unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC, 0o644)
		if err != nil {
			fail(id, err)
		}
		h.fds = append(h.fds, fd)
		h.beat(i)
		s := i * int(h.interval/slot) / count
		h.slots[s] = append(h.slots[s], i)
	}
}

func (h *herd) run(deaths int) {
	die := make(chan os.Signal, 1)
	signal.Notify(die, unix.SIGUSR1)
	tick := time.NewTicker(slot)
	begun, turns := time.Now(), 0
	for {
		select {
		case <-die:
			h.kill(deaths)
		case <-tick.C:
			for ; time.Duration(turns)*slot < time.Since(begun); turns++ {
				h.turn()
			}
		}
	}
}

// turn beats for all whose turn it is.
func (h *herd) turn() {
	due := h.slots[h.at]
	h.slots[h.at] = due[:0:0]
	for _, i := range due {
		if h.dead[i] {
			continue
		}
		h.beat(i)
		wait := h.interval + time.Duration(rand.Float64()*jitter*float64(h.interval))
		s := (h.at + int(wait/slot)) % len(h.slots)
		h.slots[s] = append(h.slots[s], i)
	}
	h.at = (h.at + 1) % len(h.slots)
}

func (h *herd) beat(i int) {
	r := &h.records[i]
	r.Seq++
	r.BTMS, r.TSMS = boottime.Now().Milliseconds(), time.Now().UnixMilli()
	r.GapMaxMS = h.interval.Milliseconds()
	var err error
	if h.block, err = h.encoder.AppendBlock(h.block[:0], r, 0); err != nil {
		fail(r.ID, err)
	}
	if _, err := unix.Pwrite(h.fds[i], h.block, 0); err != nil {
		fail(r.ID, err)
	}
}

// kill makes n more cease at once: their last beats are spread as all beats are.
func (h *herd) kill(n int) {
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	for k := range n {
		i := k * len(h.dead) / n
		for h.dead[i] {
			i = (i + 1) % len(h.dead)
		}
		h.dead[i] = true
		fmt.Fprintln(out, h.records[i].ID, h.records[i].TSMS)
	}
	fmt.Fprintln(out, ".")
}
