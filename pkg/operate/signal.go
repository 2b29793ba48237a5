// Package operate acts on a running process for those who may administer it: it
// sends signals, runs prepared programs, and has stacks and cores taken. Its verbs
// are for ctl.admin. Nothing here takes a path, a program or a signal from a
// command that the operator has not allowed at the start.
package operate

import (
	"errors"
	"slices"
	"strings"

	"vigil/pkg/control"
	"vigil/pkg/explain"
	"vigil/pkg/fmt"
	"vigil/pkg/procfs"
)

// Signals sends signals to a process.
type Signals struct {
	target  *explain.Target
	log     control.Log
	allowed []string // without SIG
}

// NewSignals allows the signals of a list such as "HUP,USR1".
func NewSignals(target *explain.Target, log control.Log, list string) (*Signals, error) {
	s := &Signals{target: target, log: log}
	for word := range strings.SplitSeq(list, ",") {
		name := strings.TrimPrefix(word, "SIG")
		switch {
		case number(name) == 0:
			return nil, fmt.Errorf("%q: no such signal", word)
		case name == "KILL" || name == "STOP":
			return nil, fmt.Errorf("%s: cannot be caught, and only what is caught is sent", name)
		}
		s.allowed = append(s.allowed, name)
	}
	return s, nil
}

// number gives the number of a signal, 0 for none.
func number(name string) int { return slices.Index(strings.Fields(signalNames), name) + 1 }

// Verbs gives signal.
func (s *Signals) Verbs() []control.Verb {
	return []control.Verb{{
		Name: "signal", Admin: true, Run: s.send,
		Keys: []control.Key{{Name: "name", Hint: "NAME", Required: true}},
		Help: "send the target a signal that it catches: " + strings.Join(s.allowed, " "),
	}}
}

// send sends nothing that would end a process which does not expect it. Between
// the look and the signal a process may give its handler up; who does that cannot
// be helped.
func (s *Signals) send(c control.Call) (control.Reply, error) {
	var r control.Reply
	name := strings.TrimPrefix(c.Get("name"), "SIG")
	if !slices.Contains(s.allowed, name) {
		return r, control.Refuse(control.Denied, "%s: not among those allowed: %s", name, strings.Join(s.allowed, " "))
	}
	st, err := s.target.Find()
	if err != nil {
		return r, err
	}
	p, err := procfs.OpenProcess(st.PID)
	if err != nil {
		return r, explain.Gone(err)
	}
	defer p.Close()
	if p.StartTime != st.StartTime {
		return r, control.Refuse(control.Gone, "pid %d: another process has the number now", st.PID)
	}
	status, err := procfs.ReadStatus(st.PID)
	if err != nil {
		return r, explain.Gone(err)
	}
	sig := number(name)
	if status.SigCgt>>(sig-1)&1 == 0 {
		return r, control.Refuse(control.Uncaught, "pid %d does not catch %s: it is not sent", st.PID, name)
	}
	if err := p.Signal(sig); err != nil {
		return r, explain.Gone(err)
	}
	s.log.Info(fmt.Sprintf("signal %s sent to pid %d", name, st.PID))
	r.Add("pid", st.PID)
	r.Add("signal", name)
	return r, nil
}

// ErrProgram is reported for a program that is not one to run.
var ErrProgram = errors.New("not a program to run")
