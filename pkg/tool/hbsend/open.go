package hbsend

import (
	"errors"
	"math/rand/v2"
	"time"

	"vigil/pkg/boottime"
	"vigil/pkg/cli"
	"vigil/pkg/heartbeat"
	"vigil/pkg/hold"
	"vigil/pkg/rundir"
	"vigil/pkg/sender"
)

// sender opens what the flags name.
func (o *options) sender(env *cli.Env) (*sender.Sender, error) {
	record, err := o.record()
	if err != nil {
		return nil, err
	}
	s := &sender.Sender{
		Record: record, Spread: o.spread, Count: o.count, Name: o.path,
		Withhold: o.withhold || o.touch,
		Clock:    sender.NewClock(), Random: rand.Float64, Log: env.Log,
	}
	if o.once {
		s.Count = 1
	}
	if s.Record.Boot, err = boottime.ID(); err != nil {
		return nil, err
	}
	if err := o.sink(s); err != nil {
		return nil, err
	}
	s.Record.ID = o.id
	if err := o.subject(s); err != nil {
		return nil, err
	}
	if err := o.holds(s, env); err != nil {
		return nil, err
	}
	return s, o.inspector(s)
}

// sink opens the target, and what it is signed with.
func (o *options) sink(s *sender.Sender) error {
	file, err := o.target()
	if err != nil {
		return err
	}
	var key *heartbeat.Key
	if o.key != "" {
		if key, err = heartbeat.LoadKey(o.key, o.id); err != nil {
			return err
		}
	}
	if o.relay != "" {
		if err := o.relayed(s, key); err != nil {
			return err
		}
	}
	switch {
	case o.touch:
		s.Sink = heartbeat.NewTouch(o.path)
	case file:
		f, err := heartbeat.OpenFile(o.path)
		if err != nil {
			return err
		}
		f.Key, f.Atomic = key, o.atomic
		last := f.Last()
		s.Record.Seq = last.Seq
		if s.Relay != nil {
			s.Relay.Resume(last.Via)
		}
		s.Sink = f
	case o.path == "-":
		p := heartbeat.Stdout()
		p.Key = key
		s.Sink, s.Name = p, "stdout"
	default:
		p, err := heartbeat.OpenPipe(o.path)
		if err != nil {
			return err
		}
		p.Key = key
		s.Sink = p
	}
	return nil
}

// relayed opens the input of a relay. With a key, only beats signed with it are
// forwarded: a relay must not make signed ones of what anybody sends.
func (o *options) relayed(s *sender.Sender, key *heartbeat.Key) (err error) {
	var verify func([]byte) error
	if key != nil {
		verify = key.Verify
	}
	path := o.relay
	if path == "-" {
		path = ""
	}
	s.Relay, err = sender.NewRelay(path, verify, s.Log)
	return err
}

func (o *options) subject(s *sender.Sender) (err error) {
	switch {
	case o.pidfile != "":
		s.Subject = sender.ByPidfile(o.pidfile)
	case o.pid != 0:
		if s.Subject, err = sender.ByPID(o.pid); err != nil {
			return err
		}
	}
	return nil
}

// holdAtStart is the variable that asks for a hold from the start on, to debug what
// happens there.
const holdAtStart = "VIGIL_HOLD_AT_START"

func (o *options) holds(s *sender.Sender, env *cli.Env) (err error) {
	atStart := env.Getenv(holdAtStart)
	ttl, err := time.ParseDuration(atStart)
	if atStart != "" && (err != nil || ttl < time.Millisecond) {
		return cli.Usagef("%s=%.40s: want a time such as 10m", holdAtStart, atStart)
	}
	if o.holdOnTrace > 0 {
		s.Subject.Trace = &sender.Trace{Longest: o.holdOnTrace}
	}
	if o.hold == "" {
		if atStart != "" {
			env.Log.Warn(holdAtStart + ": without -hold there is nowhere to take a hold")
		}
		return nil
	}
	if atStart != "" || o.holdOnTrace > 0 {
		dir, err := rundir.Open(o.hold)
		if err != nil {
			return err
		}
		if o.holdOnTrace > 0 {
			s.Subject.Trace.Dir = dir
		}
		if atStart != "" {
			o.holdNow(dir, ttl, env.Log)
		}
	}
	s.Hold, err = hold.NewReader(o.hold, tool.Name, o.holdMax)
	return err
}

// holdNow takes a hold that ends by itself: what is debugged may end before. It
// is not worth ending for, if it cannot be had.
func (o *options) holdNow(dir *rundir.Dir, ttl time.Duration, log *cli.Log) {
	_, err := hold.Take(dir, o.id, holdAtStart, "start", ttl)
	_, held := errors.AsType[*hold.HeldError](err)
	switch {
	case err == nil:
		log.Info(o.id+": held from the start", "for", ttl)
	case held:
		log.Info(err.Error())
	default:
		log.Warn(holdAtStart + ": " + err.Error())
	}
}

// inspector looks at what the conditions and -m-from name.
func (o *options) inspector(s *sender.Sender) error {
	if o.conditions.Len() == 0 && o.from == "" {
		return nil
	}
	o.conditions.Warn = func(text string) { s.Log.Warn(text) }
	if err := o.conditions.Check(); err != nil {
		return err
	}
	s.Inspector = &sender.Inspector{ID: o.id, Conditions: &o.conditions, Grace: o.grace, Numbers: o.from}
	if o.hold == "" {
		return nil
	}
	// A reader of its own, for it looks from another goroutine; the sender's
	// acknowledges.
	holds, err := hold.NewReader(o.hold, "", o.holdMax)
	s.Inspector.Holds = holds
	return err
}
