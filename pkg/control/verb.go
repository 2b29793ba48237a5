package control

import (
	"strings"
	"time"

	"vigil/pkg/fmt"
)

// Verb is one word that a server understands. The one table of them drives
// what is parsed, who may use it, what help says, and the test of the man page.
type Verb struct {
	Name  string
	Keys  []Key
	Help  string // half a sentence
	Admin bool   // served by ctl.admin only; what ctl serves must change nothing

	// Slow verbs run beside the reading of commands, each once at a time, and
	// are given up after Limit, 10 s if that is 0.
	Slow  bool
	Limit time.Duration

	// Run answers. An error that is a *Refusal chooses its code.
	Run func(Call) (Reply, error)
}

// Key is one key that a verb takes.
type Key struct {
	Name     string
	Hint     string // what stands behind the equals sign
	Required bool
}

// Call is what a verb gets to know of a command.
type Call struct {
	Pairs []Pair

	// Done is closed when nobody waits for the answer any more: at the end of
	// the server or, for a slow verb, after the time limit. (A context would do
	// the same; it brings the time zones along, 60 kB.)
	Done <-chan struct{}
}

// Get gives the value of a key of the verb, or "".
func (c Call) Get(key string) string {
	value, _ := Find(c.Pairs, key)
	return value
}

// Usage is the verb with its keys: "hold ttl=DURATION [reason=TEXT]".
func (v *Verb) Usage() string {
	var b strings.Builder
	b.WriteString(v.Name)
	for _, k := range v.Keys {
		word := k.Name + "=" + k.Hint
		if !k.Required {
			word = "[" + word + "]"
		}
		b.WriteString(" " + word)
	}
	return b.String()
}

// fits checks the pairs of a command against the keys.
func (v *Verb) fits(pairs []Pair) error {
	for _, p := range pairs {
		if !v.takes(p.Key) {
			return Refuse(Usage, "%s: no key %s: usage: %s", v.Name, p.Key, v.Usage())
		}
	}
	for _, k := range v.Keys {
		if _, ok := Find(pairs, k.Name); k.Required && !ok {
			return Refuse(Usage, "%s: lacks %s: usage: %s", v.Name, k.Name, v.Usage())
		}
	}
	return nil
}

func (v *Verb) takes(key string) bool {
	for _, k := range v.Keys {
		if k.Name == key {
			return true
		}
	}
	return false
}

// check refuses a table that could not be served.
func check(verbs []Verb) error {
	seen := map[string]bool{}
	for i := range verbs {
		v := &verbs[i]
		if !isWord(v.Name) || v.Run == nil || seen[v.Name] {
			return fmt.Errorf("verb %q: bad name, no function, or there already", v.Name)
		}
		seen[v.Name] = true
		for _, k := range v.Keys {
			if !isWord(k.Name) {
				return fmt.Errorf("verb %s: key %q: bad name", v.Name, k.Name)
			}
		}
	}
	return nil
}

// Once runs a verb of a table without any server, until done is closed.
func Once(done <-chan struct{}, verbs []Verb, name string, pairs []Pair) (Reply, error) {
	for i := range verbs {
		v := &verbs[i]
		if v.Name != name {
			continue
		}
		if err := v.fits(pairs); err != nil {
			return Reply{}, err
		}
		return v.Run(Call{pairs, done})
	}
	return Reply{}, Refuse(Unknown, "%s: no such verb", name)
}

// describe is the text of help: what can be asked through which FIFO.
func describe(verbs []Verb) []byte {
	width := 0
	for i := range verbs {
		width = max(width, len(verbs[i].Usage()))
	}
	var b []byte
	for i := range verbs {
		v := &verbs[i]
		name := ctlName
		if v.Admin {
			name = AdminName
		}
		usage := v.Usage()
		b = fmt.Appendf(b, "%s%s  %-9s  %s\n", usage, strings.Repeat(" ", width-len(usage)), name, v.Help)
	}
	return b
}
