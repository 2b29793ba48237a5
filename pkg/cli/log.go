package cli

import (
	"io"
	"os"
	"sync"
	"time"

	"vigil/pkg/fmt"
	"vigil/pkg/jsonline"
)

type level int

const (
	levelError level = iota
	levelWarning
	levelInfo
	levelDebug
)

// String gives the word that stands in a message.
func (l level) String() string {
	return [...]string{"error", "warning", "info", "debug"}[l]
}

// Log writes messages for people to standard error, one line each, as
// "prog: level: text" or as JSON. All text is escaped to printable ASCII, so
// nothing that a file or a client says can forge a line or move a cursor.
// Safe for concurrent use. A write that fails is dropped: nobody is left to
// tell, and a watchdog must not die of its log.
type Log struct {
	mu    sync.Mutex
	prog  string
	w     io.Writer
	level level
	json  bool
	now   func() int64 // milliseconds since 1970
}

// NewLog makes a log that says warnings, errors and information as text.
func NewLog(prog string, w io.Writer) *Log {
	return &Log{prog: prog, w: w, level: levelInfo, now: func() int64 { return time.Now().UnixMilli() }}
}

func (l *Log) setFormat(s string) error {
	switch s {
	case "text":
		l.json = false
	case "json":
		l.json = true
	default:
		return fmt.Errorf("want text or json")
	}
	return nil
}

// SetLevel lets the log say messages up to this one: error, warning, info or
// debug. It gives the word that held until then; an empty word changes nothing.
func (l *Log) SetLevel(word string) (before string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	before = l.level.String()
	for lv := levelError; lv <= levelDebug; lv++ {
		if lv.String() == word {
			l.level = lv
			return before, nil
		}
	}
	if word != "" {
		err = fmt.Errorf("level %s: want error, warning, info or debug", word)
	}
	return before, err
}

// Error says why the command cannot do what it was asked for. kv are pairs of
// a key and a value: " key=value" behind the text, members of "fields" in JSON.
func (l *Log) Error(msg string, kv ...any) { l.write(levelError, msg, kv) }

// Warn says what went wrong while the command goes on.
func (l *Log) Warn(msg string, kv ...any) { l.write(levelWarning, msg, kv) }

// Info says what a person at the terminal wants to know anyway.
func (l *Log) Info(msg string, kv ...any) { l.write(levelInfo, msg, kv) }

// Debug says what is only of use when something is being looked for.
func (l *Log) Debug(msg string, kv ...any) { l.write(levelDebug, msg, kv) }

func (l *Log) write(lv level, msg string, kv []any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if lv > l.level {
		return
	}
	var line []byte
	if l.json {
		line = l.appendJSON(lv, msg, kv)
	} else {
		line = l.appendText(lv, msg, kv)
	}
	_, _ = l.w.Write(append(line, '\n'))
}

func (l *Log) appendText(lv level, msg string, kv []any) []byte {
	line := []byte(l.prog + ": " + lv.String() + ": " + Escape(msg))
	for i := 0; i+1 < len(kv); i += 2 {
		line = append(line, ' ')
		line = append(line, Escape(fmt.Sprint(kv[i])+"="+fmt.Sprint(kv[i+1]))...)
	}
	return line
}

func (l *Log) appendJSON(lv level, msg string, kv []any) []byte {
	var w jsonline.Writer
	w.Object("")
	w.Time("time", l.now())
	w.Str("level", lv.String())
	w.Str("prog", l.prog)
	w.Str("msg", Escape(msg))
	w.Object("fields")
	for i := 0; i+1 < len(kv); i += 2 {
		key := Escape(fmt.Sprint(kv[i]))
		switch v := kv[i+1].(type) {
		case int:
			w.Int(key, int64(v))
		case int64:
			w.Int(key, v)
		case uint64:
			w.Uint(key, v)
		case bool:
			w.Bool(key, v)
		default:
			w.Str(key, Escape(fmt.Sprint(v)))
		}
	}
	w.End()
	w.End()
	return w.Bytes()
}

// Escape makes text from outside safe to show: bytes 20–7E stay, a backslash
// is doubled, everything else becomes \xNN.
func Escape(s string) string {
	plain := true
	for i := 0; i < len(s) && plain; i++ {
		plain = s[i] >= 0x20 && s[i] <= 0x7e && s[i] != '\\'
	}
	if plain {
		return s
	}
	const hex = "0123456789abcdef"
	b := make([]byte, 0, len(s)+16)
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\':
			b = append(b, '\\', '\\')
		case c >= 0x20 && c <= 0x7e:
			b = append(b, c)
		default:
			b = append(b, '\\', 'x', hex[c>>4], hex[c&15])
		}
	}
	return string(b)
}

// Ready is the descriptor on which a serving command says that it serves.
type Ready struct{ fd int }

// Signal writes the newline and closes the descriptor; without -ready-fd, and
// after the first call, it does nothing.
func (r *Ready) Signal() error {
	if r.fd < 0 {
		return nil
	}
	f := os.NewFile(uintptr(r.fd), "ready-fd")
	r.fd = -1
	_, err := f.Write([]byte{'\n'})
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("ready-fd: %w", unwrapPath(err))
	}
	return nil
}
