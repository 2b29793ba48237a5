package sender

import (
	"slices"
	"testing"

	"vigil/pkg/heartbeat"
)

// TestRelayResumes: after a restart of its own, too, nothing is forwarded again.
func TestRelayResumes(t *testing.T) {
	w, s, feed, run := relayed(t, nil)
	start := func(r *heartbeat.Record) { r.StartMS = 1763810000000 }
	s.Relay.Resume(&heartbeat.Via{ID: "far.svc", Seq: 7, StartMS: 1763810000000})
	w.at(1000.5, func() { feed(far(7, start)) })
	w.at(1002.5, func() { feed(far(8, start)) })
	w.at(1004.5, func() { feed(far(1, func(r *heartbeat.Record) { r.StartMS = 1763810000001 })) }) // started anew
	w.at(1006, w.end)
	if err := run(); err != nil {
		t.Fatal(err)
	}
	var seqs []uint64
	for _, b := range w.beats {
		seqs = append(seqs, b.Via.Seq)
	}
	if !slices.Equal(seqs, []uint64{8, 1}) {
		t.Errorf("forwarded %v", seqs)
	}
}
