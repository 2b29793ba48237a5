package control

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestParseCommand(t *testing.T) {
	for _, tt := range []struct {
		line string
		want Command
	}{
		{"ping", Command{Verb: "ping"}},
		{"@a1 ping", Command{ID: "a1", Verb: "ping"}},
		{"@a1:f ping", Command{ID: "a1", Via: ViaFile, Verb: "ping"}},
		{"@a1:p hold ttl=10m reason=a%20b%25", Command{ID: "a1", Via: ViaFIFO, Verb: "hold", Pairs: []Pair{{"ttl", "10m"}, {"reason", "a b%"}}}},
		{"run name=x=y", Command{Verb: "run", Pairs: []Pair{{"name", "x=y"}}}},
		{"hold reason=", Command{Verb: "hold", Pairs: []Pair{{"reason", ""}}}},
		{"hold reason=gr%C3%B6%C3%9Fer", Command{Verb: "hold", Pairs: []Pair{{"reason", "größer"}}}},
	} {
		got, err := ParseCommand([]byte(tt.line))
		if err != nil || !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%q: %+v, %v", tt.line, got, err)
		}
		if back := string(AppendCommand(nil, got)); back != tt.line {
			t.Errorf("%q came back as %q", tt.line, back)
		}
	}
}

func TestParseCommandRefuses(t *testing.T) {
	long := strings.Repeat("x", 65)
	for _, tt := range []struct{ name, line, want string }{
		{"empty", "", "offset 0: want a verb"},
		{"only an id", "@a", "offset 2: want a verb"},
		{"space first", " ping", "offset 0: want a verb"},
		{"space last", "ping ", "offset 5: want key=value"},
		{"two spaces", "ping  a=b", "offset 5: want key=value"},
		{"capitals", "PING", "offset 0: want a verb"},
		{"long verb", strings.Repeat("x", 33), "offset 0: want a verb"},
		{"no pair", "hold ttl", "offset 5: want key=value"},
		{"no key", "hold =10m", "offset 5: want key=value"},
		{"again", "hold ttl=1m ttl=2m", "offset 12: key ttl again"},
		{"traversal", "@../../etc/passwd:f ping", "offset 1: id: "},
		{"hidden id", "@.x ping", "offset 1: id: "},
		{"option as id", "@-rf ping", "offset 1: id: "},
		{"slash", "@a/b ping", "offset 1: id: "},
		{"long id", "@" + long + " ping", "offset 1: id: "},
		{"no id", "@ ping", "offset 1: id: "},
		{"bad way", "@a:x ping", "offset 2: want :f or :p"},
		{"no way", "@a: ping", "offset 2: want :f or :p"},
		{"NUL", "ping\x00", "offset 4: byte 0x00"},
		{"CR", "ping\r", "offset 4: byte 0x0d"},
		{"tab", "hold\tttl=1m", "offset 4: byte 0x09"},
		{"terminal escape", "\x1b[2Jping", "offset 0: byte 0x1b"},
		{"UTF-8", "hold reason=größer", "offset 14: byte 0xc3"},
		{"escaped escape", "hold reason=%1B[2J", "offset 12: want %XX"},
		{"escaped C1", "hold reason=%C2%9B2J", "offset 12: want %XX"},
		{"escaped line feed", "hold reason=a%0Aquit", "offset 12: want %XX"},
		{"escaped NUL", "hold reason=%00", "offset 12: want %XX"},
		{"not UTF-8", "hold reason=%FF", "offset 12: want %XX"},
		{"cut escape", "hold reason=ab%4", "offset 14: want %XX"},
		{"lower case escape", "hold reason=%c3%b6", "offset 12: want %XX"},
		{"many pairs", "x" + strings.Repeat(" a=b", 17), "offset 2: over 16 pairs"},
		{"long", strings.Repeat("x", 4096), "offset 4096: line is too long"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, err := ParseCommand([]byte(tt.line))
			var bad *SyntaxError
			if !errors.As(err, &bad) || !strings.HasPrefix(err.Error(), tt.want) {
				t.Errorf("%+v, %v, want %s", c, err, tt.want)
			}
		})
	}
}

// TestParseCommandAddress: who asked is known although the rest is wrong, but
// not from a line with bytes that no client of ours would send.
func TestParseCommandAddress(t *testing.T) {
	if c, err := ParseCommand([]byte("@a1:p PING")); err == nil || c.ID != "a1" || c.Via != ViaFIFO {
		t.Errorf("%+v, %v", c, err)
	}
	if c, err := ParseCommand([]byte("@a1:p ping\r")); err == nil || c.ID != "" || c.Via != ViaLast {
		t.Errorf("%+v, %v", c, err)
	}
}

func FuzzParseCommand(f *testing.F) {
	for _, s := range []string{"ping", "@a:p hold ttl=10m reason=a%20b", "@../x ping", "hold reason=%1B", "\x00\r\n", "x a=b a=b"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		c, err := ParseCommand(line)
		if err != nil {
			var bad *SyntaxError
			if !errors.As(err, &bad) || bad.Offset < 0 || bad.Offset > len(line) {
				t.Errorf("%q: %v", line, err)
			}
			return
		}
		text := AppendCommand(nil, c)
		back, err := ParseCommand(text)
		if err != nil && len(text) < 4096 || err == nil && !reflect.DeepEqual(back, c) {
			t.Errorf("%q: %+v came back as %+v, %v", line, c, back, err)
		}
	})
}

func TestReplyLine(t *testing.T) {
	var r Reply
	r.Add("name", "a b\x1b")
	r.Add("n", 3)
	for _, tt := range []struct {
		id    string
		reply Reply
		err   error
		text  string
		want  Answer
	}{
		{"", Reply{}, nil, "- ok\n", Answer{ID: "-"}},
		{"x", r, nil, "x ok name=a%20b\\x1b n=3\n", Answer{ID: "x", Pairs: []Pair{{"name", `a b\x1b`}, {"n", "3"}}}},
		{"x", Reply{Data: []byte("a\nb\n")}, nil, "x ok bytes=4\na\nb\n", Answer{ID: "x", Pairs: []Pair{{"bytes", "4"}}, Bytes: 4}},
		{"x", r, Refuse(Held, "held by\nme"), "x err held held by\\x0ame\n", Answer{ID: "x", Code: Held, Text: `held by\x0ame`}},
		{"x", r, fmt.Errorf("disk: %w", errors.ErrUnsupported), "x err system disk: unsupported operation\n", Answer{ID: "x", Code: System, Text: "disk: unsupported operation"}},
	} {
		text := string(AppendReply(nil, tt.id, tt.reply, tt.err))
		if text != tt.text {
			t.Errorf("have %q, want %q", text, tt.text)
		}
		line, _, _ := strings.Cut(text, "\n")
		if got, err := ParseAnswer([]byte(line)); err != nil || !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%q: %+v, %v", line, got, err)
		}
	}
}

func TestParseAnswerRefuses(t *testing.T) {
	for _, line := range []string{
		"", "x", "x yes", "x ok pid", "../x ok", "x ok bytes=-1", "x ok bytes=99999999999", "x ok bytes=a",
		"x err", "x err held", "x err HELD text", "x ok a=\x1b", "x ok a=1 a=2",
	} {
		if a, err := ParseAnswer([]byte(line)); err == nil {
			t.Errorf("%q: %+v", line, a)
		}
	}
}

func FuzzParseAnswer(f *testing.F) {
	for _, s := range []string{"- ok", "x ok a=b bytes=3", "x err held held by me", "x err "} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		a, err := ParseAnswer(line)
		if err == nil && (a.ID == "" || a.Bytes < 0 || a.Bytes > maxData || a.Code != "" && len(a.Pairs) > 0) {
			t.Errorf("%q: %+v", line, a)
		}
	})
}

func TestBucket(t *testing.T) {
	b := newBucket(20, 0)
	admitted := func(n int, now time.Duration) (count int) {
		for range n {
			if b.take(now) {
				count++
			}
		}
		return count
	}
	for _, tt := range []struct {
		now  time.Duration
		want int
	}{
		{0, 40}, {0, 0}, {49 * time.Millisecond, 0}, {51 * time.Millisecond, 1}, {1051 * time.Millisecond, 20},
		{time.Hour, 40}, {time.Hour, 0},
	} {
		if got := admitted(1000, tt.now); got != tt.want {
			t.Errorf("at %v: %d, want %d", tt.now, got, tt.want)
		}
	}
	b = newBucket(0, 0)
	if got := admitted(1000, 0); got != 1000 {
		t.Errorf("without a limit: %d", got)
	}
}

func TestCheck(t *testing.T) {
	run := func(Call) (Reply, error) { return Reply{}, nil }
	for _, verbs := range [][]Verb{
		{{Name: "Bad", Run: run}}, {{Name: "x"}}, {{Name: "x", Run: run}, {Name: "x", Run: run}},
		{{Name: "x", Run: run, Keys: []Key{{Name: "a b"}}}},
	} {
		if err := check(verbs); err == nil {
			t.Errorf("%+v: accepted", verbs)
		}
	}
}
