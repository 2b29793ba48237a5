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

	talksMax   = 32               // at a time, of administrators and of others
	talkIdle   = 10 * time.Minute // a client may be silent
	partIdle   = time.Second      // within a line
	talkUnread = 2 * time.Second  // an answer may lie there unread
	acceptWait = time.Second      // after a failure, such as too many descriptors
)

// parlour is the socket with those who talk there.
type parlour struct {
	*socket.Listener
	buckets map[bool]*bucket // of administrators: true

	mu    sync.Mutex
	count map[bool]int
	talks map[*talk]bool
}

// talk is one connection.
type talk struct {
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
	s.parlour = &parlour{
		Listener: l, count: map[bool]int{}, talks: map[*talk]bool{},
		buckets: map[bool]*bucket{false: newBucket(c.Rate, s.born), true: newBucket(c.Rate, s.born)},
	}
	return nil
}

// serveSocket runs until the end of the server.
func (s *Server) serveSocket() {
	p := s.parlour
	for {
		conn, uid, err := p.Accept()
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
		t := &talk{conn: conn, admin: uid == 0 || uid == os.Geteuid()}
		if !p.enter(t, s.over) {
			_ = s.say(t, AppendReply(nil, "", Reply{}, Refuse(Busy, "too many connections")))
			_ = conn.Close()
			continue
		}
		s.wg.Add(1)
		go func() {
			defer s.wg.Done()
			s.listen(t)
			t.pending.Wait()
			p.leave(t)
		}()
	}
}

// enter admits a talk. Those who may only read cannot take the place of
// administrators.
func (p *parlour) enter(t *talk, over <-chan struct{}) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-over:
		return false
	default:
	}
	if p.count[t.admin] >= talksMax {
		return false
	}
	p.count[t.admin]++
	p.talks[t] = true
	return true
}

func (p *parlour) leave(t *talk) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.count[t.admin]--
	delete(p.talks, t)
	_ = t.conn.Close()
}

// end lets nobody say more; answers that are under way are finished.
func (p *parlour) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for t := range p.talks {
		_ = t.conn.SetReadDeadline(time.Unix(1, 0))
	}
}

// listen takes the lines of a talk until its end.
func (s *Server) listen(t *talk) {
	from := &origin{admin: t.admin, bucket: s.parlour.buckets[t.admin], pending: &t.pending}
	from.write = func(text []byte) { s.delivered(s.say(t, text)) }
	handle := func(line []byte, fault fifo.Fault) { s.take(from, line, fault) }
	var lines fifo.Framer
	buf := make([]byte, fifo.MaxLine)
	for {
		wait := talkIdle
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
func (s *Server) say(t *talk, text []byte) error {
	t.writing.Lock()
	defer t.writing.Unlock()
	_ = t.conn.SetWriteDeadline(time.Now().Add(talkUnread))
	_, err := t.conn.Write(text)
	if err != nil {
		// What would follow could not be told from the rest of this one.
		_ = t.conn.Close()
	}
	return err
}
