package hbwatch

import (
	"errors"
	"io"
	"os"
	"strings"
	"time"

	"vigil/pkg/cli"
	"vigil/pkg/detector"
	"vigil/pkg/fmt"
	"vigil/pkg/tune"
)

var tuneTool = cli.Tool{
	Name:     "hbwatch",
	Synopsis: "hbwatch tune [flags] TRACE...",
	Summary:  "Replays recorded beats through every detector and says which one to choose. TRACE is a file, or - for stdin.",
	Exits: []cli.Exit{
		{Code: cli.ExitOK, Meaning: "there is a recommendation, or a trace was made"},
		{Code: cli.ExitNo, Meaning: "nothing that was tried makes so few mistakes"},
		{Code: cli.ExitUsage, Meaning: "wrong usage, or a line is no beat"},
		{Code: cli.ExitSystem, Meaning: "a trace cannot be read, or told to end before the result was there"},
	},
}

// tuneOptions are the flags of tune.
type tuneOptions struct {
	tsv      bool
	interval time.Duration
	budget   float64
	specs    []string
	synth    string
	beats    int
	seed     uint64
}

const maxSynth = 100_000_000 // beats: some gigabytes of text

// runTune is hbwatch tune.
func runTune(env *cli.Env, args []string) int {
	env = env.Command(tuneTool)
	var o tuneOptions
	fs := env.Flags()
	fs.BoolVar(&o.tsv, "tsv", false, "print every setting that was tried, as tab-separated values")
	fs.DurationVar(&o.interval, "interval", 0, "`time` between beats that the senders declare (default the median gap of each id)")
	fs.Float64Var(&o.budget, "mistakes", 1, "at most `N` false alarms a day for each id")
	fs.Func("detector", "try this `NAME[:PARAM=VALUE,...]` too (may be given again):\n"+strings.TrimSuffix(detector.Usage(), "\n"), func(s string) error {
		_, _, err := detector.Parse(s)
		o.specs = append(o.specs, s)
		return err
	})
	fs.StringVar(&o.synth, "synth", "", "print a made-up trace of this `NAME` instead:\n"+
		patterns("\n", func(p *tune.Pattern) string { return ": " + p.Summary }))
	fs.IntVar(&o.beats, "beats", 1_000_000, "with -synth, `N` beats")
	fs.Uint64Var(&o.seed, "seed", 1, "with -synth, `N` that the random numbers come from")
	if code, done := env.Parse(fs, args); done {
		return code
	}
	switch {
	case o.synth != "" && fs.NArg() > 0:
		return env.Usage("-synth: makes a trace, and takes no TRACE")
	case o.beats < 1 || o.beats > maxSynth:
		return env.Usage("-beats: want 1 to %d", maxSynth)
	case o.interval < 0 || o.interval > 0 && o.interval < time.Millisecond:
		return env.Usage("-interval: want at least 1ms")
	case !(o.budget >= 0 && o.budget <= 1e9):
		return env.Usage("-mistakes: want a number from 0 to 1e9")
	case o.synth != "":
		return synthesize(env, &o)
	case fs.NArg() == 0:
		return env.Usage("no TRACE: want a file, or - for stdin")
	}
	// Reading may block, and the rest takes long; a signal must not wait for it.
	code := make(chan int, 1)
	go func() { code <- tuneTraces(env, &o, fs.Args()) }()
	select {
	case c := <-code:
		return c
	case <-env.Done:
		return env.Fail(errors.New("told to end before the result was there"))
	}
}

// patterns lists the synthetic traces, with what summary says of each.
func patterns(between string, summary func(p *tune.Pattern) string) string {
	var b strings.Builder
	for i := range tune.Patterns {
		if i > 0 {
			b.WriteString(between)
		}
		p := &tune.Patterns[i]
		b.WriteString(p.Name + summary(p))
	}
	return b.String()
}

// synthesize prints a trace.
func synthesize(env *cli.Env, o *tuneOptions) int {
	var p *tune.Pattern
	for i := range tune.Patterns {
		if tune.Patterns[i].Name == o.synth {
			p = &tune.Patterns[i]
		}
	}
	if p == nil {
		return env.Usage("-synth %q: want one of %s", o.synth, patterns(", ", func(*tune.Pattern) string { return "" }))
	}
	gap := p.Gaps(o.seed)
	var b []byte
	at := time.Duration(0)
	for n := range o.beats {
		b = tune.AppendLine(b, at.Milliseconds(), p.Name, uint64(n)+1)
		at += gap()
		if len(b) < 1<<16 && n < o.beats-1 {
			continue
		}
		select {
		case <-env.Done:
			return env.Fail(errors.New("told to end before the trace was made"))
		default:
		}
		if code := env.Print(b); code != cli.ExitOK {
			return code
		}
		b = b[:0]
	}
	return cli.ExitOK
}

// tuneTraces reads the traces and prints what they say.
func tuneTraces(env *cli.Env, o *tuneOptions, names []string) int {
	trace := tune.New(o.interval)
	for _, name := range names {
		if err := readTrace(env, trace, name); err != nil {
			return env.Fail(err)
		}
	}
	stop := func() bool {
		select {
		case <-env.Done:
			return true
		default:
			return false
		}
	}
	rows, err := tune.Run(tune.Request{Trace: trace, Budgets: []float64{o.budget, 24 * o.budget}, Specs: o.specs, Stop: stop})
	if err != nil {
		return env.Fail(cli.Usagef("%s: %v", strings.Join(names, " "), err))
	}
	text, ok := trace.Advice(nil, rows, o.budget)
	if o.tsv {
		text = tune.TSV(nil, rows)
	} else {
		text = append(append(trace.Table(nil, rows), '\n'), text...)
	}
	if code := env.Print(text); code != cli.ExitOK {
		return code
	}
	if !ok {
		return cli.ExitNo
	}
	return cli.ExitOK
}

func readTrace(env *cli.Env, trace *tune.Trace, name string) error {
	var r io.Reader = env.Stdin
	if name == "-" {
		name = "stdin"
	} else {
		f, err := os.Open(name)
		if err != nil {
			return fmt.Errorf("%s: open trace: %w", name, errors.Unwrap(err))
		}
		defer f.Close()
		r = f
	}
	err := trace.Read(r, name)
	var bad *tune.SyntaxError
	if errors.As(err, &bad) {
		return cli.Usagef("%v", err)
	}
	return err
}
