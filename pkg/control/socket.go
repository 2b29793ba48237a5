package control

import (
	"errors"
	"os"
	"sync"
	"time"

	"vigil/pkg/fifo"
	"vigil/pkg/socket"
)

const (
	socketName = "s"

	connectionsMax = 32               // at a time, of administrators and of others
	connectionIdle = 10 * time.Minute // a client may be silent
	partIdle       = time.Second      // within a line
	acceptWait     = time.Second      // after a failure, such as too many descriptors
)

// connections is the socket with those who talk there.
type connections struct {
	*socket.Listener
	buckets map[bool]*bucket // of administrators: true

	mu    sync.Mutex
	count map[bool]int
	open  map[*connection]bool
}

// connection is one client.
type connection struct {
	conn    *os.File
	admin   bool
	writing sync.Mutex
	pending sync.WaitGroup // answers of slow verbs that will come
}

// openSocket makes the socket, if one is wanted. The kernel says who asks, so
// there is one for both privileges.
func (s *Server) openSocket(c Config) error {
	if !c.Socket {
		return nil
	}
	perm := os.FileMode(0o600)
	if c.Group != 0 {
		perm = 0o660
	}
	l, err := socket.Listen(s.dir, socketName, perm, c.Group)
	if err != nil {
		return err
	}
	s.connections = &connections{
		Listener: l, count: map[bool]int{}, open: map[*connection]bool{},
		buckets: map[bool]*bucket{false: newBucket(c.Rate, s.born), true: newBucket(c.Rate, s.born)},
	}
	return nil
}

// serveSocket runs until the end of the server.
func (s *Server) serveSocket() {
	all := s.connections
	for {
		conn, uid, err := all.Accept()
		if errors.Is(err, os.ErrClosed) {
			return
		}
		s.complain(socketName, err)
		if err != nil {
			select {
			case <-s.over:
				return
			case <-time.After(acceptWait):
			}
			continue
		}
		t := &connection{conn: conn, admin: uid == 0 || uid == os.Geteuid()}
		if err := all.enter(t, s.over); err != nil {
			if !errors.Is(err, os.ErrClosed) {
				_ = s.say(t, AppendReply(nil, "", Reply{}, err))
			}
			_ = conn.Close()
			continue
		}
		s.wg.Add(1)
		go func() {
			defer s.wg.Done()
			s.listen(t)
			t.pending.Wait()
			all.leave(t)
		}()
	}
}

// enter admits a connection. Those who may only read cannot take the place of
// administrators. At the end of the server the error is os.ErrClosed.
func (c *connections) enter(t *connection, over <-chan struct{}) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-over:
		return os.ErrClosed
	default:
	}
	if c.count[t.admin] >= connectionsMax {
		return Refuse(Busy, "too many connections")
	}
	c.count[t.admin]++
	c.open[t] = true
	return nil
}

func (c *connections) leave(t *connection) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.count[t.admin]--
	delete(c.open, t)
	_ = t.conn.Close()
}

// end lets nobody say more; answers that are under way are finished.
func (c *connections) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for t := range c.open {
		_ = t.conn.SetReadDeadline(time.Unix(1, 0))
	}
}

// listen takes the lines of a connection until its end.
func (s *Server) listen(t *connection) {
	from := &origin{admin: t.admin, bucket: s.connections.buckets[t.admin], pending: &t.pending}
	from.write = func(text []byte) { s.delivered(s.say(t, text)) }
	handle := func(line []byte, fault fifo.Fault) { s.take(from, line, fault) }
	var lines fifo.Framer
	buf := make([]byte, fifo.MaxLine)
	for {
		wait := connectionIdle
		if lines.Pending() {
			wait = partIdle
		}
		_ = t.conn.SetReadDeadline(time.Now().Add(wait))
		select {
		case <-s.over: // perhaps just before the deadline was set
			return
		default:
		}
		n, err := t.conn.Read(buf)
		lines.Feed(buf[:n], handle)
		if errors.Is(err, os.ErrDeadlineExceeded) && lines.Pending() {
			lines.Drop(handle)
			continue
		}
		if err != nil {
			return
		}
	}
}

// say writes an answer, in one piece among those of other commands. A client
// that does not read is hung up on.
func (s *Server) say(t *connection, text []byte) error {
	t.writing.Lock()
	defer t.writing.Unlock()
	err := fifo.Pour(t.conn, text)
	if err != nil {
		// What would follow could not be told from the rest of this one.
		_ = t.conn.Close()
	}
	return err
}
