package diagfifo

import (
	"encoding/json"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"vigil/pkg/cli"
	"vigil/pkg/control"
	"vigil/pkg/explain"
)

const page = "../../../cmd/diagfifo/diagfifo.8"

// served is the table of verbs as a server tells it.
func served(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	o := options{hold: dir, keep: 1, run: dir, signals: "HUP", corecap: self, cores: dir}
	o.target.pid = os.Getpid()
	config, err := o.config(cli.NewLog("test", t.Output()), dir+"/svc")
	if err != nil {
		t.Fatal(err)
	}
	server, err := control.Listen(config)
	if err != nil {
		t.Fatal(err)
	}
	end, over := make(chan struct{}), make(chan error)
	go func() { over <- server.Serve(end) }()
	_, help, err := control.Ask(nil, time.Minute, dir+"/svc", false, "help", nil)
	close(end)
	if err != nil {
		t.Fatal(err)
	}
	if err := <-over; err != nil {
		t.Fatal(err)
	}
	return string(help)
}

var (
	helpLine = regexp.MustCompile(`(?m)^(\S.*?) +(ctl|ctl\.admin) +\S`)
	verbItem = regexp.MustCompile(`(?m)^\.It Ic (.*)$`)
	codeItem = regexp.MustCompile(`(?m)^\.It Er (.*)$`)
)

// TestPageVerbs holds the verbs, their keys and their FIFOs on the page to those
// that are served, and the codes to the table of them, both ways.
func TestPageVerbs(t *testing.T) {
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	manualPage := string(text)
	var program, manual []string
	for _, m := range helpLine.FindAllStringSubmatch(served(t), -1) {
		program = append(program, m[2]+" "+m[1])
	}
	common, admin, _ := strings.Cut(manualPage, "\n.Pa ctl.admin\ntakes these")
	for name, part := range map[string]string{"ctl": common, "ctl.admin": admin} {
		for _, m := range verbItem.FindAllStringSubmatch(part, -1) {
			plain := strings.NewReplacer("Oo ", "[", " Oc", "]", "Cm ", "", "Ar ", "", " Ns = Ns ", "=", " Ns =", "=").Replace(m[1])
			manual = append(manual, name+" "+plain)
		}
	}
	same(t, "verbs", program, manual)
	var codes, listed []string
	for _, c := range control.Codes {
		codes = append(codes, string(c.Code))
	}
	for _, m := range codeItem.FindAllStringSubmatch(manualPage, -1) {
		listed = append(listed, m[1])
	}
	same(t, "codes", codes, listed)
}

// TestPageDump holds the members of a dump to those on the page, both ways.
func TestPageDump(t *testing.T) {
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	_, list, _ := strings.Cut(string(text), ".Bd -literal\nschema ")
	list, _, _ = strings.Cut("schema "+list, "\n.Ed")
	var told []string
	for line := range strings.Lines(list) {
		words, _, _ := strings.Cut(strings.TrimSpace(line), "  ")
		told = append(told, strings.Split(words, ", ")...)
	}
	target, err := explain.ByPID(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	dump, _, err := (&explain.Process{ID: "svc", Target: target}).Dump(nil, explain.Extent{Smaps: true})
	if err != nil {
		t.Fatal(err)
	}
	var members map[string]any
	if err := json.Unmarshal(dump, &members); err != nil {
		t.Fatal(err)
	}
	same(t, "members of a dump", slices.Collect(maps.Keys(members)), told)
}

func same(t *testing.T, what string, program, manual []string) {
	t.Helper()
	slices.Sort(program)
	slices.Sort(manual)
	if len(program) == 0 || !slices.Equal(program, manual) {
		t.Errorf("%s:\nprogram %q\npage    %q", what, program, manual)
	}
}
