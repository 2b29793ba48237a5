package main

import (
	"os"
	"strings"
	"testing"

	"vigil/pkg/detector"
	"vigil/pkg/tune"
)

// TestManualHasTheTable: the page explains each detector with the defaults of
// the table, and names each synthetic trace.
func TestManualHasTheTable(t *testing.T) {
	page, err := os.ReadFile("hbwatch.8")
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range detector.Kinds {
		_, item, ok := strings.Cut(string(page), "\n.It Cm "+k.Name+"\n")
		if !ok {
			t.Errorf("no item %s", k.Name)
			continue
		}
		item, _, _ = strings.Cut(item, "\n.It ")
		for _, p := range k.Params {
			if !strings.Contains(item, ".Cm "+p.Name+"="+p.Default+"\n") && !strings.Contains(item, ".Cm "+p.Name+"="+p.Default+" ") {
				t.Errorf("%s: the page says nothing of %s=%s", k.Name, p.Name, p.Default)
			}
		}
	}
	for _, p := range tune.Patterns {
		if !strings.Contains(string(page), "\n.Cm "+p.Name) {
			t.Errorf("the page does not name the trace %s", p.Name)
		}
	}
}
