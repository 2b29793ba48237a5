// Command fifoload measures a diagfifo from outside, and the reading side of a
// control FIFO with many writers.
//
//	fifoload fifo|file|socket DIR COUNT    round trips of ping: "p50 p99" in µs
//	fifoload flood DIR WRITERS COUNT       commands of WRITERS processes: "per_second"
//	fifoload torn DIR WRITERS COUNT        lines through a FIFO of its own: "read lost torn per_second"
//	fifoload writer PATH NUMBER COUNT      what flood and torn start
package main

import (
	"bufio"
	"bytes"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"vigil/pkg/control"
	"vigil/pkg/fifo"
	"vigil/pkg/rundir"
	"vigil/pkg/socket"
)

func main() {
	if len(os.Args) < 4 {
		fmt.Fprintln(os.Stderr, "usage: see the top of fifoload.go")
		os.Exit(100)
	}
	mode, path := os.Args[1], os.Args[2]
	var numbers []int
	for _, word := range os.Args[3:] {
		n, err := strconv.Atoi(word)
		check(err)
		numbers = append(numbers, n)
	}
	switch mode {
	case "fifo":
		roundTrips(numbers[0], byFIFO(path))
	case "file":
		roundTrips(numbers[0], byFile(path))
	case "socket":
		roundTrips(numbers[0], bySocket(path))
	case "flood":
		flood(path, numbers[0], numbers[1])
	case "torn":
		torn(path, numbers[0], numbers[1])
	case "writer":
		writer(path, numbers[0], numbers[1])
	}
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "fifoload:", err)
		os.Exit(111)
	}
}

func roundTrips(count int, trip func()) {
	for range count / 10 {
		trip()
	}
	took := make([]time.Duration, count)
	for i := range took {
		begun := time.Now()
		trip()
		took[i] = time.Since(begun)
	}
	slices.Sort(took)
	us := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 }
	fmt.Printf("%.1f %.1f\n", us(took[count/2]), us(took[count*99/100]))
}

func byFIFO(dir string) func() {
	c, err := fifo.Dial(nil, time.Hour, dir, "ctl", "p")
	check(err)
	line, buf := "@"+c.ID()+":p ping", make([]byte, 4096)
	return func() {
		check(c.Write(line))
		_, err := c.Read(buf)
		check(err)
	}
}

// byFile waits for the answer as inotifywait(1) would.
func byFile(dir string) func() {
	ctl, err := os.OpenFile(dir+"/ctl", os.O_WRONLY, 0)
	check(err)
	in, err := unix.InotifyInit1(unix.IN_CLOEXEC)
	check(err)
	_, err = unix.InotifyAddWatch(in, dir+"/r", unix.IN_CREATE|unix.IN_MOVED_TO)
	check(err)
	buf := make([]byte, 4096)
	n := 0
	return func() {
		n++
		id := fmt.Sprintf("load%d", n)
		_, err := ctl.WriteString("\n@" + id + ":f ping\n")
		check(err)
		for {
			// Its temporary name is an event, too.
			m, err := unix.Read(in, buf)
			check(err)
			if bytes.Contains(buf[:m], []byte("\x00"+id+"\x00")) || bytes.Contains(buf[16:m], []byte(id+"\x00")) {
				if text, err := os.ReadFile(dir + "/r/" + id); err == nil && bytes.HasPrefix(text, []byte(id+" ok ")) {
					break
				}
			}
		}
		check(os.Remove(dir + "/r/" + id))
	}
}

func bySocket(dir string) func() {
	conn, err := socket.Dial(dir, "s")
	check(err)
	r := bufio.NewReader(conn)
	return func() {
		_, err := conn.WriteString("ping\n")
		check(err)
		_, err = r.ReadSlice('\n')
		check(err)
	}
}

// lines is how many the server has read.
func lines(dir string) int {
	a, _, err := control.Ask(nil, time.Minute, dir, true, "ping", nil)
	check(err)
	text, _ := control.Find(a.Pairs, "lines")
	n, err := strconv.Atoi(text)
	check(err)
	return n
}

func start(path string, writers, count int) []*exec.Cmd {
	self, err := os.Executable()
	check(err)
	var all []*exec.Cmd
	for i := range writers {
		cmd := exec.Command(self, "writer", path, strconv.Itoa(i), strconv.Itoa(count/writers))
		cmd.Stderr = os.Stderr
		check(cmd.Start())
		all = append(all, cmd)
	}
	return all
}

func flood(dir string, writers, count int) {
	before := lines(dir)
	begun := time.Now()
	for _, cmd := range start(dir+"/ctl", writers, count) {
		check(cmd.Wait())
	}
	asked := 1
	for want := before + count/writers*writers; lines(dir)-asked < want; asked++ {
		if time.Since(begun) > 5*time.Minute {
			check(fmt.Errorf("%s: commands were lost", dir))
		}
	}
	fmt.Printf("%.0f\n", float64(count)/time.Since(begun).Seconds())
}

// torn reads as a server does, and checks each line.
func torn(dir string, writers, count int) {
	d, err := rundir.Open(dir)
	check(err)
	l, err := fifo.Listen(d, "torn", 0o600, 0)
	check(err)
	read, bad := 0, 0
	over := make(chan error)
	want := count / writers * writers
	go func() {
		over <- l.Serve(func(line []byte, fault fifo.Fault) {
			read++
			if fault != fifo.Sound || !sound(string(line)) {
				bad++
			}
			if read == want {
				_ = l.Close()
			}
		})
	}()
	begun := time.Now()
	all := start(dir+"/torn", writers, count)
	for _, cmd := range all {
		check(cmd.Wait())
	}
	select {
	case err = <-over:
	case <-time.After(time.Minute): // what has not come by now is lost
		err = l.Close()
	}
	check(err)
	fmt.Printf("%d %d %d %.0f\n", read, want-read, bad, float64(read)/time.Since(begun).Seconds())
}

// sound says whether a line is one that a writer wrote.
func sound(line string) bool {
	sum, text, ok := strings.Cut(line, " ")
	n, err := strconv.ParseUint(sum, 16, 32)
	return ok && err == nil && uint32(n) == crc32.ChecksumIEEE([]byte(text))
}

// writer writes commands into a ctl, and lines of all lengths up to PIPE_BUF into
// anything else.
func writer(path string, number, count int) {
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	check(err)
	r := rand.New(rand.NewPCG(uint64(number), 1))
	pad := strings.Repeat("abcdefghijklmnop", 256)
	for i := range count {
		line := "ping\n"
		if !strings.HasSuffix(path, "/ctl") {
			text := fmt.Sprintf("%d %d ", number, i)
			text += pad[:r.IntN(fifo.MaxLine-10-len(text)+1)]
			line = fmt.Sprintf("%08x %s\n", crc32.ChecksumIEEE([]byte(text)), text)
		}
		n, err := unix.Write(fd, []byte(line))
		for err == unix.EINTR {
			n, err = unix.Write(fd, []byte(line))
		}
		check(err)
		if n != len(line) {
			check(fmt.Errorf("%d bytes of %d", n, len(line)))
		}
	}
}
