// Package flag reads command lines as the standard package of that name does:
// -x and --x, -x=value and -x value, the same messages and the same usage text.
// It has as much of it as the commands need and no reflection, which
// makes up most of the 90 kB that the standard one weighs in a program of 2 MB.
package flag

import (
	"errors"
	"strconv"
	"strings"
	"time"

	"vigil/pkg/fmt"
)

// ErrHelp is what Parse gives for -h and -help, unless they are flags.
var ErrHelp = errors.New("flag: help requested")

// Flag is one flag.
type Flag struct {
	Name     string
	Usage    string // with the `name` of the value in back quotes
	DefValue string // as the usage text shows it; "" for one that is not shown
	kind     string // of value, where the usage does not name it
	set      func(value string) error
	boolean  bool // wants no value
	given    bool
}

// FlagSet is the flags of one command. Its zero value has none. Not for
// concurrent use.
type FlagSet struct {
	flags []*Flag // sorted by name
	args  []string
}

// Lookup gives the flag of that name, or nil.
func (s *FlagSet) Lookup(name string) *Flag {
	for _, f := range s.flags {
		if f.Name == name {
			return f
		}
	}
	return nil
}

// Add takes in a flag of another set. Two of one name are a mistake of the
// program: it panics.
func (s *FlagSet) Add(f *Flag) {
	if s.Lookup(f.Name) != nil {
		panic("flag redefined: " + f.Name)
	}
	s.flags = append(s.flags, f)
	for i := len(s.flags) - 1; i > 0 && s.flags[i].Name < s.flags[i-1].Name; i-- {
		s.flags[i], s.flags[i-1] = s.flags[i-1], s.flags[i]
	}
}

// Func defines a flag whose value is given to fn each time the flag is seen.
func (s *FlagSet) Func(name, usage string, fn func(value string) error) {
	s.Add(&Flag{Name: name, Usage: usage, kind: "value", set: fn})
}

// BoolFunc defines a flag without a value: fn gets "true", or what stands behind
// an equals sign.
func (s *FlagSet) BoolFunc(name, usage string, fn func(value string) error) {
	s.Add(&Flag{Name: name, Usage: usage, set: fn, boolean: true})
}

// describe completes a flag: the kind of its value, and its default, which goes
// without saying where it is zero.
func (s *FlagSet) describe(name, kind, def, zero string) {
	f := s.Lookup(name)
	f.kind = kind
	if def != zero {
		f.DefValue = def
	}
}

var (
	errParse = errors.New("parse error")
	errTime  = errors.New("want a time with its unit, as 5s")
)

// numError says what is wrong with a number, without the number.
func numError(err error) error {
	if errors.Is(err, strconv.ErrRange) {
		return errors.New("value out of range")
	}
	return errParse
}

// BoolVar defines a flag that is set by its name alone.
func (s *FlagSet) BoolVar(p *bool, name string, value bool, usage string) {
	*p = value
	s.BoolFunc(name, usage, func(text string) error {
		v, err := strconv.ParseBool(text)
		if err != nil {
			return errParse
		}
		*p = v
		return nil
	})
	s.describe(name, "", strconv.FormatBool(value), "false")
}

// StringVar defines a flag with a text.
func (s *FlagSet) StringVar(p *string, name, value, usage string) {
	*p = value
	s.Func(name, usage, func(text string) error {
		*p = text
		return nil
	})
	s.describe(name, "string", strconv.Quote(value), `""`)
}

// IntVar defines a flag with a whole number, in any notation of Go.
func (s *FlagSet) IntVar(p *int, name string, value int, usage string) {
	*p = value
	s.Func(name, usage, func(text string) error {
		v, err := strconv.ParseInt(text, 0, strconv.IntSize)
		if err != nil {
			return numError(err)
		}
		*p = int(v)
		return nil
	})
	s.describe(name, "int", strconv.Itoa(value), "0")
}

// Uint64Var defines a flag with a whole number from 0.
func (s *FlagSet) Uint64Var(p *uint64, name string, value uint64, usage string) {
	*p = value
	s.Func(name, usage, func(text string) error {
		v, err := strconv.ParseUint(text, 0, 64)
		if err != nil {
			return numError(err)
		}
		*p = v
		return nil
	})
	s.describe(name, "uint", strconv.FormatUint(value, 10), "0")
}

// Float64Var defines a flag with a number.
func (s *FlagSet) Float64Var(p *float64, name string, value float64, usage string) {
	*p = value
	s.Func(name, usage, func(text string) error {
		v, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return numError(err)
		}
		*p = v
		return nil
	})
	s.describe(name, "float", strconv.FormatFloat(value, 'g', -1, 64), "0")
}

// DurationVar defines a flag with a length of time: 1h30m, 5s, 100ms.
func (s *FlagSet) DurationVar(p *time.Duration, name string, value time.Duration, usage string) {
	*p = value
	s.Func(name, usage, func(text string) error {
		v, err := time.ParseDuration(text)
		if err != nil {
			return errTime
		}
		*p = v
		return nil
	})
	s.describe(name, "duration", value.String(), "0s")
}

// Bool is BoolVar with a variable of its own.
func (s *FlagSet) Bool(name string, value bool, usage string) *bool {
	p := new(bool)
	s.BoolVar(p, name, value, usage)
	return p
}

// String is StringVar with a variable of its own.
func (s *FlagSet) String(name, value, usage string) *string {
	p := new(string)
	s.StringVar(p, name, value, usage)
	return p
}

// Duration is DurationVar with a variable of its own.
func (s *FlagSet) Duration(name string, value time.Duration, usage string) *time.Duration {
	p := new(time.Duration)
	s.DurationVar(p, name, value, usage)
	return p
}

// Parse reads flags up to the first argument that is none, or behind "--".
func (s *FlagSet) Parse(args []string) error {
	for s.args = args; len(s.args) > 0; {
		word := s.args[0]
		if len(word) < 2 || word[0] != '-' {
			return nil
		}
		s.args = s.args[1:]
		if word == "--" {
			return nil
		}
		if err := s.one(word); err != nil {
			return err
		}
	}
	return nil
}

// one reads the flag that word begins.
func (s *FlagSet) one(word string) error {
	name := strings.TrimPrefix(word[1:], "-")
	if name == "" || name[0] == '-' || name[0] == '=' {
		return fmt.Errorf("bad flag syntax: %s", word)
	}
	value, has := "", false
	if i := strings.IndexByte(name, '='); i > 0 {
		name, value, has = name[:i], name[i+1:], true
	}
	f := s.Lookup(name)
	switch {
	case f == nil && (name == "help" || name == "h"):
		return ErrHelp
	case f == nil:
		return fmt.Errorf("flag provided but not defined: -%s", name)
	case has:
	case f.boolean:
		value = "true"
	case len(s.args) == 0:
		return fmt.Errorf("flag needs an argument: -%s", name)
	default:
		value, s.args = s.args[0], s.args[1:]
	}
	if err := f.set(value); err != nil {
		switch {
		case f.boolean && has:
			return fmt.Errorf("invalid boolean value %q for -%s: %v", value, name, err)
		case f.boolean:
			return fmt.Errorf("invalid boolean flag %s: %v", name, err)
		}
		return fmt.Errorf("invalid value %q for flag -%s: %v", value, name, err)
	}
	f.given = true
	return nil
}

// Args gives the arguments behind the flags.
func (s *FlagSet) Args() []string { return s.args }

// NArg is the number of arguments behind the flags.
func (s *FlagSet) NArg() int { return len(s.args) }

// Arg gives one of them, "" if there are not so many.
func (s *FlagSet) Arg(i int) string {
	if i < 0 || i >= len(s.args) {
		return ""
	}
	return s.args[i]
}

// Visit calls fn for each flag that was given, in the order of their names.
func (s *FlagSet) Visit(fn func(f *Flag)) {
	s.VisitAll(func(f *Flag) {
		if f.given {
			fn(f)
		}
	})
}

// VisitAll calls fn for each flag, in the order of their names.
func (s *FlagSet) VisitAll(fn func(f *Flag)) {
	for _, f := range s.flags {
		fn(f)
	}
}

// Defaults is the usage text of all flags.
func (s *FlagSet) Defaults() string {
	var b strings.Builder
	for _, f := range s.flags {
		value, usage := f.unquote()
		b.WriteString("  -" + f.Name)
		if value != "" {
			b.WriteString(" " + value)
		}
		if len(f.Name) == 1 && value == "" {
			b.WriteString("\t")
		} else {
			b.WriteString("\n    \t")
		}
		b.WriteString(usage)
		if f.DefValue != "" {
			b.WriteString(" (default " + f.DefValue + ")")
		}
		b.WriteString("\n")
	}
	return b.String()
}

// unquote gives the name of the value, which stands in back quotes in the usage,
// and the usage without them.
func (f *Flag) unquote() (value, usage string) {
	before, rest, ok := strings.Cut(f.Usage, "`")
	value, after, closed := strings.Cut(rest, "`")
	if ok && closed {
		return value, before + value + after
	}
	return f.kind, f.Usage
}
