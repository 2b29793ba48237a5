package control

import (
	"errors"
	"strconv"
	"strings"

	"vigil/pkg/cli"
	"vigil/pkg/fmt"
	"vigil/pkg/heartbeat"
)

// Code is the machine's word for a refusal.
type Code string

// The codes.
const (
	Syntax   Code = "syntax"
	Unknown  Code = "unknown"
	Denied   Code = "denied"
	Usage    Code = "usage"
	Rate     Code = "rate"
	Busy     Code = "busy"
	Timeout  Code = "timeout"
	Gone     Code = "gone"
	Held     Code = "held"
	NotHeld  Code = "notheld"
	Uncaught Code = "uncaught"
	System   Code = "system"
)

// Codes says what each code means; no other is used.
var Codes = []struct {
	Code    Code
	Meaning string
}{
	{Syntax, "the line is not a command: a bad byte, over 4096 bytes, or no line feed within a second"},
	{Unknown, "no such verb"},
	{Denied, "the verb is served by ctl.admin"},
	{Usage, "the verb does not take that key or value, or lacks one"},
	{Rate, "too many commands at once; told only to a client's own FIFO or connection"},
	{Busy, "such a command is under way already, others read long answers too slowly, there are too many connections, or it is too early for another core; ask again"},
	{Timeout, "the command took too long"},
	{Gone, "the target does not exist, or its process id is another's now"},
	{Held, "somebody else holds the id"},
	{NotHeld, "nothing is held, or not by that nonce"},
	{Uncaught, "the target does not catch that signal and would die of it, or not notice"},
	{System, "the system refused: the text says what"},
}

// Refusal is the error with which a verb gives a code; any other error gives
// System.
type Refusal struct {
	Code Code
	Text string
}

func (r *Refusal) Error() string { return r.Text }

// Refuse makes a *Refusal.
func Refuse(code Code, format string, a ...any) error {
	return &Refusal{code, fmt.Sprintf(format, a...)}
}

// Reply is what a verb answers when it could do what it was asked for.
type Reply struct {
	Pairs []Pair
	Data  []byte // follows the line of the answer; its length is said there
	Save  string // the server keeps Data under this name in its directory, too

	after func() // runs when the answer is on its way
}

// Add appends a pair, its value printed as %v would and escaped: it may come
// from a stranger.
func (r *Reply) Add(key string, value any) {
	r.Pairs = append(r.Pairs, Pair{key, cli.Escape(fmt.Sprint(value))})
}

// maxData bounds what a client takes for an answer.
const maxData = 64 << 20

// noID stands for the id of a command that had none.
const noID = "-"

// AppendReply appends an answer:
//
//	ID ok *( SP key "=" value ) [SP "bytes=" N] LF N*OCTET
//	ID err CODE text LF
func AppendReply(dst []byte, id string, r Reply, err error) []byte {
	if id == "" {
		id = noID
	}
	dst = append(dst, id...)
	if err != nil {
		code := System
		var refusal *Refusal
		if errors.As(err, &refusal) {
			code = refusal.Code
		}
		dst = append(append(dst, " err "...), code...)
		dst = append(append(dst, ' '), cli.Escape(err.Error())...)
		return append(dst, '\n')
	}
	dst = appendPairs(append(dst, " ok"...), r.Pairs)
	if len(r.Data) > 0 {
		dst = appendPairs(dst, []Pair{{"bytes", strconv.Itoa(len(r.Data))}})
	}
	return append(append(dst, '\n'), r.Data...)
}

// Answer is the line of a reply as a client reads it.
type Answer struct {
	ID    string
	Pairs []Pair
	Bytes int    // of data that follow the line
	Code  Code   // "" for ok
	Text  string // of a refusal
}

// ParseAnswer reads the line of a reply without its line feed; the error is a
// *SyntaxError.
func ParseAnswer(line []byte) (Answer, error) {
	var a Answer
	for i, b := range line {
		if b < 0x20 || b > 0x7e {
			return a, &SyntaxError{i, "want bytes 20 to 7e"}
		}
	}
	id, rest, _ := strings.Cut(string(line), " ")
	if id != noID && !heartbeat.ValidID(id) {
		return a, &SyntaxError{0, "want an id"}
	}
	at := len(id) + 1
	words := strings.Split(rest, " ")
	switch words[0] {
	case "ok":
		pairs, err := parsePairs(words[1:], at+len("ok "))
		if err != nil {
			return a, err
		}
		a = Answer{ID: id, Pairs: pairs}
		text, ok := Find(pairs, "bytes")
		if n, err := strconv.Atoi(text); ok && (err != nil || n < 0 || n > maxData) {
			return Answer{}, &SyntaxError{at, "bytes: out of range"}
		} else if ok {
			a.Bytes = n
		}
		return a, nil
	case "err":
		code, text, ok := strings.Cut(strings.TrimPrefix(rest, "err "), " ")
		if !ok || !isWord(code) {
			return a, &SyntaxError{at + len("err "), "want a code and a text"}
		}
		return Answer{ID: id, Code: Code(code), Text: text}, nil
	}
	return a, &SyntaxError{at, "want ok or err"}
}
