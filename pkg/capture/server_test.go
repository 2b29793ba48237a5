package capture

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"vigil/pkg/gate"
	"vigil/pkg/procfs"
)

// capturesOfServer is how many captures in a row a server under load bears in
// each mode.
const capturesOfServer = 20

// server is one that runs, and a request that says whether it was answered right.
type server struct {
	pid     int // to be captured
	request func(n int) error
}

// load sends requests from some clients until stopped.
func (s *server) load(t *testing.T) (stop func() (requests int64)) {
	var count atomic.Int64
	var failed atomic.Pointer[error]
	done := make(chan struct{})
	var clients sync.WaitGroup
	for c := range 4 {
		clients.Go(func() {
			for n := c; ; n += 4 {
				select {
				case <-done:
					return
				default:
				}
				if err := s.request(n); err != nil {
					failed.CompareAndSwap(nil, &err)
					return
				}
				count.Add(1)
			}
		})
	}
	return func() int64 {
		close(done)
		clients.Wait()
		if err := failed.Load(); err != nil {
			t.Errorf("a request failed: %v", *err)
		}
		return count.Load()
	}
}

// bears captures the server under load in each mode.
func (s *server) bears(t *testing.T) {
	for _, mode := range everyMode(t) {
		before, err := procfs.Children(s.pid)
		if err != nil {
			t.Fatal(err)
		}
		stop := s.load(t)
		dir := t.TempDir()
		for i := range capturesOfServer {
			target, err := Open(s.pid, false)
			if err != nil {
				t.Fatal(err)
			}
			r, err := target.Save(t.Context(), filepath.Join(dir, strconv.Itoa(i)+".core"), Options{Mode: mode}, About{})
			target.Close()
			if err != nil {
				t.Errorf("%s: %v", mode, err)
				break
			}
			if r.Mode != mode || len(r.LeftOut) > 0 || r.Left != "" {
				t.Errorf("%s: %+v", mode, r)
			}
		}
		if requests := stop(); requests < capturesOfServer {
			t.Errorf("%s: only %d requests", mode, requests)
		} else {
			t.Logf("%s: %d requests", mode, requests)
		}
		if after, err := procfs.Children(s.pid); err != nil || len(after) != len(before) {
			t.Errorf("%s: children %v, before %v, %v", mode, after, before, err)
		}
	}
}

// serve starts a server and waits until it answers on its socket.
func serve(t *testing.T, socket string, cmd *exec.Cmd) {
	t.Helper()
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); t.Failed() {
			t.Logf("the server ended: %v: %s", err, &said)
		}
	})
	eventually(t, "the server listens", func() bool {
		c, err := net.Dial("unix", socket)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
}

// clients keeps connections to a socket that are used in turn.
type clients struct {
	socket string
	idle   chan net.Conn
}

func newClients(t *testing.T, socket string) *clients {
	c := &clients{socket, make(chan net.Conn, 16)}
	t.Cleanup(func() {
		close(c.idle)
		for conn := range c.idle {
			conn.Close()
		}
	})
	return c
}

// ask sends a line and reads one; a connection that was good before must stay so.
func (c *clients) ask(question string) (string, error) {
	var conn net.Conn
	select {
	case conn = <-c.idle:
	default:
		var err error
		if conn, err = net.Dial("unix", c.socket); err != nil {
			return "", err
		}
	}
	conn.SetDeadline(time.Now().Add(time.Minute))
	if _, err := io.WriteString(conn, question); err != nil {
		return "", err
	}
	answer, err := bufio.NewReader(conn).ReadString('\n')
	if err == nil {
		c.idle <- conn
	}
	return answer, err
}

func TestRedis(t *testing.T) {
	gate.Need(t, "redis", "ptrace", "precopy")
	program, err := exec.LookPath("redis-check-rdb")
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(t.TempDir(), "s")
	cmd := exec.Command(program, "--port", "0", "--unixsocket", socket, "--save", "", "--daemonize", "no", "--dir", filepath.Dir(socket))
	cmd.Args[0] = "redis-server" // one program, as its name wants it
	serve(t, socket, cmd)
	c := newClients(t, socket)
	s := &server{pid: cmd.Process.Pid, request: func(n int) error {
		answer, err := c.ask("INCRBY k" + strconv.Itoa(n%1000) + " 0\r\n")
		if err == nil && answer != ":0\r\n" {
			err = fmt.Errorf("answer %q", answer)
		}
		return err
	}}
	s.bears(t)
}

// web is a client of HTTP on a socket.
func web(socket, want string) func(int) error {
	client := &http.Client{Timeout: time.Minute, Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
		MaxIdleConnsPerHost: 16,
	}}
	return func(int) error {
		resp, err := client.Get("http://server/")
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err == nil && (resp.StatusCode != http.StatusOK || string(b) != want) {
			err = fmt.Errorf("status %d, %q", resp.StatusCode, b)
		}
		return err
	}
}

func TestNginx(t *testing.T) {
	gate.Need(t, "nginx", "ptrace", "precopy")
	dir := t.TempDir()
	socket := filepath.Join(dir, "s")
	conf := "daemon off; master_process on; worker_processes 1; pid " + dir + "/pid; error_log stderr; events { worker_connections 256; }\n" +
		"http { access_log off; client_body_temp_path " + dir + "/a; proxy_temp_path " + dir + "/b; fastcgi_temp_path " + dir + "/c; uwsgi_temp_path " + dir + "/d; scgi_temp_path " + dir + "/e;\n" +
		"keepalive_requests 1000000; server { listen unix:" + socket + "; location / { return 200 hello; } } }\n"
	if os.Geteuid() == 0 {
		conf = "user root;" + conf
	}
	file := filepath.Join(dir, "conf")
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("nginx", "-c", file, "-e", "stderr", "-p", dir)
	serve(t, socket, cmd)
	request := web(socket, "hello")
	// The worker, which serves, and the master, which waits for its children.
	var workers []int
	eventually(t, "the worker", func() bool {
		workers, _ = procfs.Children(cmd.Process.Pid)
		return len(workers) == 1
	})
	for _, pid := range []int{workers[0], cmd.Process.Pid} {
		(&server{pid: pid, request: request}).bears(t)
	}
	if now, err := procfs.Children(cmd.Process.Pid); err != nil || len(now) != 1 || now[0] != workers[0] {
		t.Errorf("the worker is another one: %v, %v", now, err)
	}
}

const pythonServer = `
import socketserver, sys, threading
class H(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            self.wfile.write(b"%d\n" % sum(int(x) for x in line.split()))
class S(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
S(sys.argv[1], H).serve_forever()
`

func TestPython(t *testing.T) {
	gate.Need(t, "python3", "ptrace", "precopy")
	// A launcher of versions, which is no program to capture, tells the real one.
	out, err := exec.Command("python3", "-c", "import sys; print(sys.executable)").Output()
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(t.TempDir(), "s")
	cmd := exec.Command(strings.TrimSpace(string(out)), "-c", pythonServer, socket)
	serve(t, socket, cmd)
	c := newClients(t, socket)
	s := &server{pid: cmd.Process.Pid, request: func(n int) error {
		answer, err := c.ask(fmt.Sprintf("%d %d 1\n", n, n))
		if err == nil && answer != strconv.Itoa(2*n+1)+"\n" {
			err = fmt.Errorf("%d: answer %q", n, answer)
		}
		return err
	}}
	s.bears(t)
}

// serveGo is the server in Go: this test itself, in another process.
func serveGo(socket string) error {
	l, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	time.AfterFunc(30*time.Minute, func() { l.Close() }) // its test was killed
	return http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello") }))
}

func TestGoServer(t *testing.T) {
	gate.Need(t, "ptrace", "precopy")
	socket := filepath.Join(t.TempDir(), "s")
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "CAPTURE_TEST_SERVE="+socket)
	serve(t, socket, cmd)
	(&server{pid: cmd.Process.Pid, request: web(socket, "hello")}).bears(t)
}
