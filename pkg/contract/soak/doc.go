// Package soak takes a host of 200 services through ten minutes of faults, and
// has an independent program judge what vigil said of them.
//
// All of it happens in a machine of its own (pkg/vmtest), where clocks may be
// stepped and disks filled, a watchdog is real, and time goes by instructions: no
// bound depends on the host. testdata/chaos is what runs there; it does what its
// plan, drawn from a seed, says, and writes down what it did and saw, the truth.
// testdata/check reads that, with the man pages as its law and none of vigil's
// code. The tests without a tag feed it truths with one thing wrong.
//
// It has no code of its own.
package soak
