package main

import (
	"os"
	"testing"
)

// In a program of several tools the handler, and what it starts to unwind the
// stacks, are asked for by name.
func TestCrashOfMany(t *testing.T) {
	k := newKcore(t)
	bin, err := programs()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(bin+"/vigil", k.dir+"/vigil"); err != nil {
		t.Fatal(err)
	}
	k.pattern(t, k.dir+"/vigil corecap")
	k.crash(t, "segv")
	k.one(t)
}
