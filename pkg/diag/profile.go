package diag

import (
	"errors"
	"io/fs"
	"runtime/pprof"
	"slices"
	"strings"
	"time"

	"vigil/pkg/control"
)

// Bounds of a profile: its time, and its bytes. It is gathered in memory.
const (
	profileFor   = 10 * time.Second
	profileMost  = 60 * time.Second
	profileLimit = 16 << 20
)

// kinds are the profiles there are; cpu takes its time, the others are what has
// been counted since the start.
var kinds = []string{"cpu", "heap", "allocs", "goroutine", "threadcreate", "block", "mutex"}

func (o *out) verbs() []Verb {
	if o.dir == nil {
		return nil
	}
	return []Verb{{
		Name: "profile", Slow: true, Limit: profileMost + 10*time.Second, Admin: true, Run: o.profile,
		Keys: []Key{{Name: "kind", Hint: strings.Join(kinds, "|"), Required: true}, {Name: "for", Hint: "DURATION"}},
		Help: "a profile for go tool pprof, as a file among the dumps; of cpu for 10s",
	}}
}

func (o *out) profile(c Call) (r Reply, err error) {
	kind := c.Get("kind")
	if !slices.Contains(kinds, kind) {
		return r, Usagef("kind %s: want one of %s", kind, strings.Join(kinds, ", "))
	}
	span := profileFor
	if text := c.Get("for"); text != "" {
		if span, err = time.ParseDuration(text); err != nil || span <= 0 || span > profileMost || kind != "cpu" {
			return r, Usagef("for %s: want a time of at most %v, and kind=cpu", text, profileMost)
		}
	}
	b := capped{limit: profileLimit}
	if kind == "cpu" {
		err = measure(&b, span, c.Done)
	} else {
		err = pprof.Lookup(kind).WriteTo(&b, 0)
	}
	if err != nil {
		return r, err
	}
	if b.dropped {
		return r, errors.New(kind + ": profile: over 16 MiB")
	}
	name, err := o.store(kind, time.Now(), b.Bytes())
	if err != nil {
		return r, err
	}
	r.Add("file", o.dir.Path()+"/"+name)
	r.Add("size", b.Len())
	return r, nil
}

// measure profiles the CPU until the time is over, or nobody waits.
func measure(b *capped, span time.Duration, done <-chan struct{}) error {
	if err := pprof.StartCPUProfile(b); err != nil {
		return control.Refuse(control.Busy, "cpu: %v", err)
	}
	defer pprof.StopCPUProfile()
	over := time.NewTimer(span)
	defer over.Stop()
	select {
	case <-over.C:
		return nil
	case <-done:
		return errors.New("cpu: profile: given up")
	}
}

// stampLayout is fixed in width, so that names sort as times do.
const stampLayout = "20060102T150405.000Z"

// store writes a profile ID_KIND_TIME.pprof and removes the oldest of its kind.
func (o *out) store(kind string, now time.Time, data []byte) (name string, err error) {
	for range 100 {
		name = o.id + "_" + kind + "_" + now.UTC().Format(stampLayout) + ".pprof"
		if err = o.dir.Create(name, data, 0o600); !errors.Is(err, fs.ErrExist) {
			break
		}
		now = now.Add(time.Millisecond)
	}
	if err != nil {
		return "", err
	}
	names, err := o.dir.Names()
	if err != nil {
		return "", err
	}
	names = slices.DeleteFunc(names, func(name string) bool { return !o.isProfile(kind, name) })
	slices.Sort(names)
	for len(names) > o.keep {
		if err := o.dir.Remove(names[0]); err != nil {
			return "", err
		}
		names = names[1:]
	}
	return name, nil
}

// isProfile: only names of our own are ever removed.
func (o *out) isProfile(kind, name string) bool {
	rest, ok := strings.CutPrefix(name, o.id+"_"+kind+"_")
	if !ok {
		return false
	}
	stamp, ok := strings.CutSuffix(rest, ".pprof")
	t, err := time.Parse(stampLayout, stamp)
	return ok && err == nil && t.Format(stampLayout) == stamp
}
