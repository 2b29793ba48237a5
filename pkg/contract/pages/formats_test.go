package pages

import (
	"bytes"
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"testing"

	"vigil/pkg/heartbeat"
	"vigil/pkg/hold"
)

// named gives a page.
func named(t *testing.T, name string) page {
	t.Helper()
	for _, p := range all(t) {
		if p.name == name {
			return p
		}
	}
	t.Fatalf("%s: no such page", name)
	return page{}
}

// records gives the JSON objects in the literal displays of a page, unfolded.
func (p page) records() (found []string) {
	for _, part := range strings.Split(p.text, "\n.Bd -literal")[1:] {
		body, _, _ := strings.Cut(part, "\n.Ed\n")
		_, body, _ = strings.Cut(body, "\n")
		if strings.HasPrefix(body, "{") {
			found = append(found, strings.ReplaceAll(body, "\n ", ""))
		}
	}
	return found
}

var itemWord = regexp.MustCompile(`(?m)^\.It (?:Va|Cm) (\S+)$`)

// words gives the items of a subsection's list.
func (p page) words(subsection string) (found []string) {
	_, rest, _ := strings.Cut(p.text, "\n.Ss "+subsection+"\n")
	body, _, _ := strings.Cut(rest, "\n.S")
	for _, m := range itemWord.FindAllStringSubmatch(body, -1) {
		found = append(found, m[1])
	}
	return found
}

// members gives the names of a JSON object's members, in their order.
func members(t *testing.T, text []byte) (found []string) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(text))
	if token, err := d.Token(); err != nil || token != json.Delim('{') {
		t.Fatalf("%q: %v %v", text, token, err)
	}
	for d.More() {
		token, err := d.Token()
		var value json.RawMessage
		if err == nil {
			err = d.Decode(&value)
		}
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		found = append(found, token.(string))
	}
	return found
}

// TestHeartbeatPage: the record on the page is one, every member that the codec
// writes stands there in its order, and so do its words.
func TestHeartbeatPage(t *testing.T) {
	p := named(t, "heartbeat.5")
	records := p.records()
	if len(records) != 2 {
		t.Fatalf("%d records on the page", len(records))
	}
	r, err := heartbeat.Parse([]byte(records[0]+"\n"), "web")
	if err != nil || r.Foreign || !r.CRC {
		t.Fatalf("%s: %+v, %v", records[0], r, err)
	}
	var e heartbeat.Encoder
	if text, err := e.Append(nil, &r); err != nil || string(text) != records[0] {
		t.Errorf("the page has\n%s\nthe codec writes\n%s, %v", records[0], text, err)
	}
	r.Sig = strings.Repeat("0", 64)
	text, err := e.Append(nil, &r)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := p.words("The record"), members(t, text); !slices.Equal(got, want) {
		t.Errorf("members: the page has %q, the codec %q", got, want)
	}
	// What the page marks is what a record cannot do without.
	plain := regexp.MustCompile(`"via":\{[^}]*\},`).ReplaceAllString(records[0], "")
	for _, name := range members(t, text) {
		_, item, _ := strings.Cut(p.text, "\n.It Va "+name+"\n")
		marked := strings.HasPrefix(item, "* ")
		without := regexp.MustCompile(`"`+name+`":("[^"]*"|\{[^}]*\}|\d+),?`).ReplaceAllString(plain, "")
		without = strings.Replace(regexp.MustCompile(`,"crc".*`).ReplaceAllString(without, "}"), ",}", "}", 1)
		_, err := heartbeat.Parse([]byte(without+"\n"), "")
		if needed := err != nil || name == "v"; needed != marked {
			t.Errorf("%s: marked %v, but without it: %v", name, marked, err)
		}
	}
	if r, err := heartbeat.Parse([]byte(records[1]+"\n"), "web"); err != nil || !r.Foreign || r.Status != heartbeat.OK || len(r.Metrics) != 1 {
		t.Errorf("%s: %+v, %v", records[1], r, err)
	}
}

func TestHeartbeatPageWords(t *testing.T) {
	p := named(t, "heartbeat.5")
	var statuses, reasons []string
	for s := heartbeat.OK; s <= heartbeat.Held; s++ {
		statuses = append(statuses, s.String())
	}
	if got := p.words("Status"); !slices.Equal(got, statuses) {
		t.Errorf("status: the page has %q, the codec %q", got, statuses)
	}
	for r := heartbeat.Empty; r <= heartbeat.Future; r++ {
		reasons = append(reasons, r.String())
	}
	if got := p.words("What is not believed"); !slices.Equal(got, reasons) {
		t.Errorf("reasons: the page has %q, the reader %q", got, reasons)
	}
}

func TestHoldPage(t *testing.T) {
	p := named(t, "hold.5")
	records := p.records()
	if len(records) != 1 {
		t.Fatalf("%d records on the page", len(records))
	}
	l, err := hold.Parse([]byte(records[0]+"\n"), "web")
	if err != nil {
		t.Fatalf("%s: %v", records[0], err)
	}
	text := hold.Append(nil, l)
	if string(text) != records[0]+"\n" {
		t.Errorf("the page has\n%s\nthe program writes\n%s", records[0], text)
	}
	if got, want := p.words("The record"), members(t, text); !slices.Equal(got, want) {
		t.Errorf("members: the page has %q, the program %q", got, want)
	}
	for _, name := range members(t, text) {
		without := regexp.MustCompile(`,?"`+name+`":("[^"]*"|\d+)`).ReplaceAllString(records[0], "")
		without = strings.Replace(without, "{,", "{", 1)
		if _, err := hold.Parse([]byte(without+"\n"), "web"); (err == nil) != slices.Contains([]string{"by", "reason", "since_bt_ms"}, name) {
			t.Errorf("without %s: %v", name, err)
		}
	}
}

var reference = regexp.MustCompile(`(?m)^\.(?:It )?Xr (.*)$`)

// ourNames begin those of our pages: what begins so and is no page is misspelt, or
// gone.
var ourNames = regexp.MustCompile(`^(vigil|hb|heartbeat|hold|wdping|diag|corecap|flame|tune)`)

// references gives the pages that a page refers to, as "hbsend 8".
func references(text string) (found []string) {
	for _, m := range reference.FindAllStringSubmatch(text, -1) {
		for _, one := range strings.Split(m[1], " , Xr ") {
			if f := strings.Fields(one); len(f) >= 2 {
				found = append(found, f[0]+" "+f[1])
			}
		}
	}
	return found
}

// TestReferences: every page that one of ours refers to exists, and each of ours
// is referred to by another one, and refers to some page itself.
func TestReferences(t *testing.T) {
	pages := all(t)
	have, cited := map[string]bool{}, map[string]bool{}
	for _, p := range pages {
		dot := strings.LastIndexByte(p.name, '.')
		have[p.name[:dot]+" "+p.name[dot+1:]] = true
	}
	for _, p := range pages {
		dot := strings.LastIndexByte(p.name, '.')
		self := p.name[:dot] + " " + p.name[dot+1:]
		also := references(p.section("SEE ALSO"))
		if len(also) == 0 {
			t.Errorf("%s: SEE ALSO refers to nothing", p.file)
		}
		for _, r := range references(p.text) {
			switch {
			case have[r] && r != self:
				cited[r] = true
			case !have[r] && ourNames.MatchString(r):
				t.Errorf("%s: refers to %s, which is no page of ours", p.file, r)
			}
		}
		if self != "vigil 7" && !slices.Contains(also, "vigil 7") {
			t.Errorf("%s: SEE ALSO does not refer to vigil 7, the overview", p.file)
		}
	}
	for name := range have {
		if !cited[name] {
			t.Errorf("%s: no other page refers to it", name)
		}
	}
}

// TestOverviewNamesAll: vigil(7) tells of every program and every script, and of
// every variable that users set.
func TestOverviewNamesAll(t *testing.T) {
	p := named(t, "vigil.7")
	named := references(p.text)
	for _, other := range all(t) {
		name, section, _ := strings.Cut(other.name[:len(other.name)-2]+" "+other.name[len(other.name)-1:], " ")
		if self := name + " " + section; other.name != p.name && !slices.Contains(named, self) {
			t.Errorf("%s: says nothing of %s", p.file, self)
		}
	}
	variable := regexp.MustCompile(`\.It Ev (VIGIL_\w+)`)
	for _, other := range all(t) {
		for _, m := range variable.FindAllStringSubmatch(other.text, -1) {
			if slices.Contains([]string{"VIGIL_ID", "VIGIL_PID", "VIGIL_ROOT"}, m[1]) { // what a script sets, or one is tested with
				continue
			}
			if !strings.Contains(p.section("ENVIRONMENT"), ".It Ev "+m[1]+"\n") {
				t.Errorf("%s: says nothing of %s, which %s has", p.file, m[1], other.file)
			}
		}
	}
}
