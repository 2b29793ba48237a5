package flag

import (
	"bytes"
	"errors"
	stdflag "flag"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"
	"time"
)

// values are what the flags of a set have come to.
type values struct {
	B, C bool
	S    string
	I    int
	U    uint64
	F    float64
	D    time.Duration
	Seen []string
}

// definer is what this package and the standard one have in common.
type definer interface {
	BoolVar(p *bool, name string, value bool, usage string)
	StringVar(p *string, name, value, usage string)
	IntVar(p *int, name string, value int, usage string)
	Uint64Var(p *uint64, name string, value uint64, usage string)
	Float64Var(p *float64, name string, value float64, usage string)
	DurationVar(p *time.Duration, name string, value time.Duration, usage string)
	Func(name, usage string, fn func(string) error)
	BoolFunc(name, usage string, fn func(string) error)
}

func define(d definer) *values {
	v := new(values)
	see := func(s string) error {
		v.Seen = append(v.Seen, s)
		if s == "bad" {
			return errors.New("want good")
		}
		return nil
	}
	d.BoolVar(&v.B, "b", false, "one letter")
	d.BoolVar(&v.C, "clear", true, "of two letters")
	d.StringVar(&v.S, "s", "a \"b\"", "`text` to send")
	d.IntVar(&v.I, "int", 7, "no name")
	d.Uint64Var(&v.U, "u", 0, "no default")
	d.Float64Var(&v.F, "float", 0.1, "one `quote")
	d.DurationVar(&v.D, "d", 5*time.Second, "`time` to `wait`")
	d.Func("func", "`[ID:]FILE` of a function", see)
	d.Func("plain", "no name of a value", see)
	d.BoolFunc("v", "say more", see)
	return v
}

func TestUsageText(t *testing.T) {
	var want bytes.Buffer
	std := stdflag.NewFlagSet("x", stdflag.ContinueOnError)
	std.SetOutput(&want)
	define(std)
	std.PrintDefaults()
	var own FlagSet
	define(&own)
	if got := own.Defaults(); got != want.String() {
		t.Errorf("have\n%s\nwant\n%s", got, want.String())
	}
}

// alike holds a command line against the standard package.
func alike(t *testing.T, args []string) {
	t.Helper()
	std := stdflag.NewFlagSet("x", stdflag.ContinueOnError)
	std.SetOutput(io.Discard)
	want := define(std)
	var own FlagSet
	got := define(&own)
	werr, err := std.Parse(args), own.Parse(args)
	wtext := fmt.Sprint(werr)
	if strings.HasSuffix(wtext, " for flag -d: parse error") {
		wtext = strings.TrimSuffix(wtext, "parse error") + errTime.Error()
	}
	if fmt.Sprint(err) != wtext || errors.Is(err, ErrHelp) != errors.Is(werr, stdflag.ErrHelp) {
		t.Errorf("%q: %v, want %v", args, err, wtext)
	}
	if err != nil {
		return
	}
	if fmt.Sprint(got) != fmt.Sprint(want) { // as text, for NaN
		t.Errorf("%q: %+v, want %+v", args, got, want)
	}
	if own.NArg() != std.NArg() || own.Arg(0) != std.Arg(0) || own.Arg(99) != "" || own.Arg(-1) != "" ||
		strings.Join(own.Args(), "\n") != strings.Join(std.Args(), "\n") {
		t.Errorf("%q: arguments %q, want %q", args, own.Args(), std.Args())
	}
	var given, wgiven []string
	own.Visit(func(f *Flag) { given = append(given, f.Name) })
	std.Visit(func(f *stdflag.Flag) { wgiven = append(wgiven, f.Name) })
	if !reflect.DeepEqual(given, wgiven) {
		t.Errorf("%q: given %q, want %q", args, given, wgiven)
	}
}

func TestParse(t *testing.T) {
	for _, line := range []string{
		"", "x", "-", "--", "-- -b", "-b x", "-b=false", "-b=2", "--b", "---b", "-=", "--=x", "-b=", "-clear=0 -b=T",
		"-s x y", "-s", "-s=", "-s -b", "--s=a=b", "-int 0x10", "-int 1.5", "-int 99999999999999999999", "-int -3", "-int=",
		"-u -1", "-u 18446744073709551615", "-u 18446744073709551616", "-float 1e3", "-float x", "-float 1e999", "-float nan",
		"-d 5", "-d 1h30m", "-d 9999999h", "-func a --func=b c", "-func bad", "-plain", "-v", "-v=bad", "-v=x", "-nope", "--nope=1",
		"-h", "-help", "--help", "-h=1", "x -b", "-s \x00 é",
	} {
		alike(t, strings.Fields(line))
	}
}

func FuzzParse(f *testing.F) {
	for _, line := range []string{"-b\n-s\nx\ny", "--int=5\n--\n-b", "-d\n1h\n-func=bad", "-h"} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) { alike(t, strings.Split(line, "\n")) })
}

func TestTwiceIsAMistake(t *testing.T) {
	defer func() {
		if got := recover(); got != "flag redefined: x" {
			t.Errorf("recovered %v", got)
		}
	}()
	var s FlagSet
	s.Bool("x", false, "")
	s.String("x", "", "")
}

func TestOwnVariables(t *testing.T) {
	var s FlagSet
	b, text, d := s.Bool("b", true, ""), s.String("s", "x", ""), s.Duration("d", time.Second, "")
	if err := s.Parse([]string{"-b=false", "-s", "y", "-d=2s"}); err != nil || *b || *text != "y" || *d != 2*time.Second {
		t.Errorf("%v %v %v %v", err, *b, *text, *d)
	}
}
