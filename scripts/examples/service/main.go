// Command service is a small Go program that beats by itself and explains
// itself: what to copy into your own.
//
//	service RUNDIR
//
// It serves RUNDIR/ctl/service (see docs/embedding.md), beats into
// RUNDIR/hb/service.hb, and ends at SIGTERM. Both directories exist.
package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"

	"vigil/pkg/boottime"
	"vigil/pkg/diag"
	"vigil/pkg/heartbeat"
)

const interval = time.Second

// A service is what the program is about: it counts.
type service struct {
	level *slog.LevelVar
	log   *slog.Logger
	done  atomic.Int64
	mute  diag.Mute
}

func main() {
	s := &service{level: new(slog.LevelVar)}
	s.log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: s.level}))
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: service RUNDIR")
		os.Exit(100)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := s.run(ctx, os.Args[1]); err != nil {
		s.log.Error(err.Error())
		os.Exit(111)
	}
}

func (s *service) run(ctx context.Context, dir string) error {
	defer s.explain(dir)()
	hb, err := heartbeat.OpenFile(filepath.Join(dir, "hb/service.hb"))
	if err != nil {
		return err
	}
	defer hb.Close()
	record, err := identity(hb.Last().Seq)
	if err != nil {
		return err
	}
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		s.work()
		select {
		case <-ctx.Done():
			record.Status = heartbeat.Stopping
			return s.beat(hb, record)
		case <-tick.C:
			if err := s.beat(hb, record); err != nil {
				s.log.Warn(err.Error()) // and try again: the disk may be full for a while
			}
		}
	}
}

// explain lets people ask; a program does not fail because they cannot.
func (s *service) explain(dir string) (stop func()) {
	guard := diag.NewGuard(500*time.Millisecond, func(p diag.Pause) {
		s.log.Warn("stood still", "for", p.Length, "cpu", p.CPU)
	})
	d, err := diag.Start(diag.Config{
		Dir: filepath.Join(dir, "ctl/service"), Light: syscall.SIGUSR1, Full: syscall.SIGUSR2,
		Log: func(text string) { s.log.Warn(text) },
		Verbs: []diag.Verb{
			diag.LogLevel(s.level), s.mute.Verb(), guard.Verb(),
			diag.Text("counters", "what was done", func(w io.Writer) error {
				_, err := fmt.Fprintf(w, "done %d\n", s.done.Load())
				return err
			}),
		},
	})
	if err != nil {
		s.log.Warn(err.Error())
		return guard.Close
	}
	return func() {
		if err := d.Close(); err != nil {
			s.log.Warn(err.Error())
		}
		guard.Close()
	}
}

func (s *service) work() {
	s.log.Debug("working", "done", s.done.Add(1))
}

// identity is what stays the same in all beats.
func identity(seq uint64) (*heartbeat.Record, error) {
	boot, err := boottime.ID()
	return &heartbeat.Record{
		ID: "service", PID: os.Getpid(), Boot: boot, Seq: seq,
		StartMS: time.Now().UnixMilli(), IntervalMS: interval.Milliseconds(), CRC: true,
	}, err
}

// beat says that the loop that does the work has come round: a beat from a
// goroutine of its own would prove only that the scheduler lives.
func (s *service) beat(hb *heartbeat.File, r *heartbeat.Record) error {
	if s.mute.Muted() {
		return nil
	}
	r.Seq++
	r.TSMS, r.BTMS = time.Now().UnixMilli(), boottime.Now().Milliseconds()
	r.Metrics = []heartbeat.Metric{{Name: "done", Value: float64(s.done.Load())}}
	return hb.Write(r)
}
