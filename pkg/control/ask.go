package control

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"syscall"
	"time"

	"vigil/pkg/fifo"
	"vigil/pkg/fmt"
	"vigil/pkg/socket"
)

// Ask sends a command to the server of the directory dir and waits for its
// answer until done is closed, and for limit at most. What is no command is a
// *Refusal with Syntax. Where nobody serves, the error wraps fifo.ErrNotServed, at
// once; that there was no answer in time is os.ErrDeadlineExceeded. A refusal is
// no error: see Answer.Code. Admin chooses ctl.admin.
func Ask(done <-chan struct{}, limit time.Duration, dir string, admin bool, verb string, pairs []Pair) (Answer, []byte, error) {
	name := ctlName
	if admin {
		name = AdminName
	}
	if err := sendable(verb, pairs); err != nil {
		return Answer{}, nil, err
	}
	c, err := fifo.Dial(done, limit, dir, name, fifosName)
	if err != nil {
		return Answer{}, nil, err
	}
	defer c.Close()
	line := AppendCommand(nil, Command{ID: c.ID(), Via: ViaFIFO, Verb: verb, Pairs: pairs})
	if err := c.Write(string(line)); err != nil {
		return Answer{}, nil, err
	}
	return receive(dir, c.ID(), c.Read)
}

// AskSocket is Ask through the socket, where the server knows who asks.
func AskSocket(done <-chan struct{}, limit time.Duration, dir, verb string, pairs []Pair) (Answer, []byte, error) {
	if err := sendable(verb, pairs); err != nil {
		return Answer{}, nil, err
	}
	conn, err := socket.Dial(dir, socketName)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		err = fmt.Errorf("%s/%s: %w", dir, socketName, fifo.ErrNotServed)
	}
	if err != nil {
		return Answer{}, nil, err
	}
	defer conn.Close()
	over := make(chan struct{})
	defer close(over)
	_ = conn.SetDeadline(time.Now().Add(limit))
	go func() {
		select {
		case <-done:
			_ = conn.SetDeadline(time.Unix(1, 0))
		case <-over:
		}
	}()
	line := append(AppendCommand(nil, Command{Verb: verb, Pairs: pairs}), '\n')
	if _, err = conn.Write(line); err == nil {
		var a Answer
		var data []byte
		if a, data, err = receive(dir, noID, conn.Read); err == nil {
			return a, data, nil
		}
	}
	select {
	case <-done:
		err = fifo.ErrInterrupted
	default:
	}
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, syscall.EPIPE), errors.Is(err, syscall.ECONNRESET):
		err = fifo.ErrNotServed
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = os.ErrDeadlineExceeded
	}
	return Answer{}, nil, fmt.Errorf("%s/%s: %w", dir, socketName, err)
}

func sendable(verb string, pairs []Pair) error {
	if _, err := ParseCommand(AppendCommand(nil, Command{Verb: verb, Pairs: pairs})); err != nil {
		return Refuse(Syntax, "command: %v", err)
	}
	return nil
}

// receive reads the answer to the command id.
func receive(dir, id string, read func([]byte) (int, error)) (a Answer, data []byte, err error) {
	buf := make([]byte, 64<<10)
	var got []byte
	for {
		n, err := read(buf)
		if err != nil {
			return a, nil, err
		}
		got = append(got, buf[:n]...)
		if a.ID == "" {
			head, rest, ok := bytes.Cut(got, []byte{'\n'})
			if !ok && len(got) > fifo.MaxLine*4 {
				return a, nil, errors.New(dir + ": answer: no line")
			}
			if !ok {
				continue
			}
			if a, err = ParseAnswer(head); err == nil && a.ID != id {
				err = errors.New("not ours")
			}
			if err != nil {
				return a, nil, fmt.Errorf("%s: answer: %w", dir, err)
			}
			got = rest
		}
		if len(got) >= a.Bytes {
			return a, got[:a.Bytes], nil
		}
	}
}
