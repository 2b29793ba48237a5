package control

import (
	"bytes"
	"errors"
	"time"

	"vigil/pkg/fifo"
	"vigil/pkg/fmt"
)

// Ask sends a command to the server of the directory dir and waits for its
// answer until done is closed, and for limit at most. What is no command is a *Refusal with Syntax. Where nobody serves, the error wraps
// fifo.ErrNotServed, at once. A refusal is no error: see Answer.Code. Admin
// chooses ctl.admin.
func Ask(done <-chan struct{}, limit time.Duration, dir string, admin bool, verb string, pairs []Pair) (a Answer, data []byte, err error) {
	name := ctlName
	if admin {
		name = AdminName
	}
	if _, err := ParseCommand(AppendCommand(nil, Command{Verb: verb, Pairs: pairs})); err != nil {
		return a, nil, Refuse(Syntax, "command: %v", err)
	}
	c, err := fifo.Dial(done, limit, dir, name, fifosName)
	if err != nil {
		return a, nil, err
	}
	defer c.Close()
	line := AppendCommand(nil, Command{ID: c.ID(), Via: ViaFIFO, Verb: verb, Pairs: pairs})
	if err := c.Write(string(line)); err != nil {
		return a, nil, err
	}
	buf := make([]byte, 64<<10)
	var got []byte
	for {
		n, err := c.Read(buf)
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
			if a, err = ParseAnswer(head); err == nil && a.ID != c.ID() {
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
