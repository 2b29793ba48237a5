// A server whose threads do what those of servers do: wait for the network, for
// a lock, and compute.
package main

import (
	"fmt"
	"net"
	"os"
	"runtime"
	"sync/atomic"
	"time"
)

var begun atomic.Bool // the computing

//go:noinline
func compute(depth int) int {
	if depth > 0 {
		return compute(depth-1) + 1
	}
	begun.Store(true)
	x := 0
	for x >= 0 {
		x = (x + 1) & 0xffff
	}
	return x
}

//go:noinline
func read(p *os.File) {
	var b [1]byte
	p.Read(b[:])
}

//go:noinline
func accept(l net.Listener) {
	for {
		l.Accept()
	}
}

func main() {
	time.AfterFunc(30*time.Minute, func() { os.Exit(1) })
	runtime.GOMAXPROCS(3)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	go accept(l)
	go compute(5)
	r, _, err := os.Pipe()
	if err != nil {
		panic(err)
	}
	go read(r)
	for !begun.Load() {
		time.Sleep(time.Millisecond)
	}
	fmt.Println("ready")
	select {}
}
