package control

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"vigil/pkg/fifo"
	"vigil/pkg/fmt"
	"vigil/pkg/heartbeat"
)

// Bounds of the grammar.
const (
	maxWord  = 32 // bytes of a verb or a key
	maxPairs = 16
)

// Via is where an answer goes, besides the file last.
type Via uint8

// The ways.
const (
	ViaLast Via = iota // only there
	ViaFile            // a file named by the id, ":f"
	ViaFIFO            // the client's own FIFO of that name, ":p"
)

// Command is one line: who wants the answer and where, a verb, and its pairs.
//
//	line = [ "@" id [":f"|":p"] SP ] verb *( SP key "=" value )
type Command struct {
	ID    string // "" when the client gave none
	Via   Via
	Verb  string
	Pairs []Pair
}

// Pair is one key with its value; in the text form of the value, bytes outside
// of 21–7E, and the percent sign, are written as %XX.
type Pair struct{ Key, Value string }

// A SyntaxError says where a line is not a command.
type SyntaxError struct {
	Offset int // bytes from the start of the line
	Detail string
}

func (e *SyntaxError) Error() string { return fmt.Sprintf("offset %d: %s", e.Offset, e.Detail) }

// ParseCommand reads a line without its line feed; the error is a *SyntaxError.
// The Command then says at least who asked, if that much was understood.
func ParseCommand(line []byte) (Command, error) {
	var c Command
	if len(line) >= fifo.MaxLine {
		return c, &SyntaxError{fifo.MaxLine, "line is too long"}
	}
	for i, b := range line {
		if b < 0x20 || b > 0x7e {
			// Nothing of such a line is believed: not even who wrote it.
			return c, &SyntaxError{i, fmt.Sprintf("byte 0x%02x: want 20 to 7e, others as %%XX", b)}
		}
	}
	words := strings.Split(string(line), " ")
	at := 0
	if address, ok := strings.CutPrefix(words[0], "@"); ok {
		id, via, _ := strings.Cut(address, ":")
		switch {
		case !heartbeat.ValidID(id):
			return c, &SyntaxError{1, "id: want 1 to 64 of A-Za-z0-9._- not starting with . or -"}
		case via == "" && len(id) == len(address):
		case via == "f":
			c.Via = ViaFile
		case via == "p":
			c.Via = ViaFIFO
		default:
			return c, &SyntaxError{1 + len(id), "want :f or :p"}
		}
		c.ID = id
		at, words = len(words[0])+1, words[1:]
	}
	if len(words) == 0 || !isWord(words[0]) {
		return c, &SyntaxError{min(at, len(line)), "want a verb"}
	}
	c.Verb = words[0]
	at += len(words[0]) + 1
	var err error
	c.Pairs, err = parsePairs(words[1:], at)
	return c, err
}

func parsePairs(words []string, at int) ([]Pair, error) {
	if len(words) > maxPairs {
		return nil, &SyntaxError{at, fmt.Sprintf("over %d pairs", maxPairs)}
	}
	var pairs []Pair
	for _, word := range words {
		key, text, ok := strings.Cut(word, "=")
		if !ok || !isWord(key) {
			return nil, &SyntaxError{at, "want key=value"}
		}
		if _, again := Find(pairs, key); again {
			return nil, &SyntaxError{at, "key " + key + " again"}
		}
		value, bad := unescape(text)
		if bad >= 0 {
			return nil, &SyntaxError{at + len(key) + 1 + bad, "want %XX, of text without control characters"}
		}
		pairs = append(pairs, Pair{key, value})
		at += len(word) + 1
	}
	return pairs, nil
}

// Find gives the value of a key; ok says that it is there.
func Find(pairs []Pair, key string) (value string, ok bool) {
	for _, p := range pairs {
		if p.Key == key {
			return p.Value, true
		}
	}
	return "", false
}

// isWord says whether s is a verb or a key: [a-z][a-z0-9_-]*.
func isWord(s string) bool {
	return s != "" && len(s) <= maxWord && s[0] >= 'a' && s[0] <= 'z' &&
		strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789_-") == ""
}

// unescape reads a value; bad is the offset of what is wrong, or -1.
func unescape(text string) (value string, bad int) {
	b := make([]byte, 0, len(text))
	for i := 0; i < len(text); i++ {
		if text[i] != '%' {
			b = append(b, text[i])
			continue
		}
		if i+2 >= len(text) {
			return "", i
		}
		high, low := strings.IndexByte(hex, text[i+1]), strings.IndexByte(hex, text[i+2])
		if high < 0 || low < 0 {
			return "", i
		}
		b = append(b, byte(high<<4|low))
		i += 2
	}
	if !utf8.Valid(b) || strings.ContainsFunc(string(b), unicode.IsControl) {
		return "", 0
	}
	return string(b), -1
}

const hex = "0123456789ABCDEF"

// AppendCommand appends the line without a line feed. Verb and keys are taken
// as they are; values are escaped.
func AppendCommand(dst []byte, c Command) []byte {
	if c.ID != "" {
		dst = append(append(dst, '@'), c.ID...)
		dst = append(dst, [...]string{"", ":f", ":p"}[c.Via]...)
		dst = append(dst, ' ')
	}
	return appendPairs(append(dst, c.Verb...), c.Pairs)
}

func appendPairs(dst []byte, pairs []Pair) []byte {
	for _, p := range pairs {
		dst = append(append(append(dst, ' '), p.Key...), '=')
		for i := 0; i < len(p.Value); i++ {
			if b := p.Value[i]; b > 0x20 && b <= 0x7e && b != '%' {
				dst = append(dst, b)
			} else {
				dst = append(dst, '%', hex[b>>4], hex[b&15])
			}
		}
	}
	return dst
}
