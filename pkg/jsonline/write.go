// Package jsonline writes and reads small JSON objects, one to a line
// (RFC 8259), without reflection: a heartbeat, a hold, an event, a log line.
//
// It is stricter than RFC 8259 where two readers could disagree: a duplicate key is
// refused, keys are compared byte by byte, depth and number of keys are bounded.
package jsonline

import (
	"math"
	"strconv"
	"unicode/utf8"
)

// Writer appends one JSON value. The zero Writer is ready. Inside arrays the
// key is "". The caller balances Object and Array with End. Not for
// concurrent use.
type Writer struct {
	buf   []byte
	comma bool
	open  []byte // the closing bracket of each open level
}

// Bytes is the text so far, without a final newline. The Writer keeps it.
func (w *Writer) Bytes() []byte { return w.buf }

// Reset forgets the text and keeps its memory.
func (w *Writer) Reset() {
	w.buf, w.open, w.comma = w.buf[:0], w.open[:0], false
}

func (w *Writer) key(k string) {
	if w.comma {
		w.buf = append(w.buf, ',')
	}
	w.comma = true
	if k != "" {
		w.buf = append(AppendString(w.buf, k), ':')
	}
}

func (w *Writer) begin(k string, left, right byte) {
	w.key(k)
	w.buf = append(w.buf, left)
	w.open = append(w.open, right)
	w.comma = false
}

// Object opens an object.
func (w *Writer) Object(k string) { w.begin(k, '{', '}') }

// Array opens an array.
func (w *Writer) Array(k string) { w.begin(k, '[', ']') }

// End closes the innermost object or array.
func (w *Writer) End() {
	n := len(w.open) - 1
	w.buf = append(w.buf, w.open[n])
	w.open = w.open[:n]
	w.comma = true
}

// Str writes a string. Bytes that are not UTF-8 become U+FFFD.
func (w *Writer) Str(k, v string) {
	w.key(k)
	w.buf = AppendString(w.buf, v)
}

// Int writes an integer.
func (w *Writer) Int(k string, v int64) {
	w.key(k)
	w.buf = strconv.AppendInt(w.buf, v, 10)
}

// Uint writes an unsigned integer.
func (w *Writer) Uint(k string, v uint64) {
	w.key(k)
	w.buf = strconv.AppendUint(w.buf, v, 10)
}

// Float writes a number; one that is not finite becomes null, which JSON has
// no other word for.
func (w *Writer) Float(k string, v float64) {
	w.key(k)
	w.buf = AppendFloat(w.buf, v)
}

// Bool writes true or false.
func (w *Writer) Bool(k string, v bool) {
	w.key(k)
	w.buf = strconv.AppendBool(w.buf, v)
}

// Null writes null.
func (w *Writer) Null(k string) {
	w.key(k)
	w.buf = append(w.buf, "null"...)
}

// Time writes a moment, given in milliseconds since 1970, as RFC 3339 text in
// UTC with milliseconds.
func (w *Writer) Time(k string, unixMilli int64) {
	w.key(k)
	w.buf = append(AppendTime(append(w.buf, '"'), unixMilli), '"')
}

// Raw writes text that is already JSON.
func (w *Writer) Raw(k string, v []byte) {
	w.key(k)
	w.buf = append(w.buf, v...)
}

// AppendFloat appends the shortest text that reads back as v, or null.
func AppendFloat(dst []byte, v float64) []byte {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return append(dst, "null"...)
	}
	return strconv.AppendFloat(dst, v, 'g', -1, 64)
}

// AppendString appends s quoted: control characters, DEL, quote and backslash
// escaped, so that the line stays one line.
func AppendString(dst []byte, s string) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	for i := 0; i < len(s); {
		c := s[i]
		switch {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c < 0x20 || c == 0x7f:
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		case c < utf8.RuneSelf:
			dst = append(dst, c)
		default:
			r, n := utf8.DecodeRuneInString(s[i:])
			dst = utf8.AppendRune(dst, r) // RuneError is U+FFFD
			i += n
			continue
		}
		i++
	}
	return append(dst, '"')
}

// AppendTime appends a moment, given in milliseconds since 1970, as
// 2006-01-02T15:04:05.000Z. Package time would do, but with its time zones it
// weighs more than this whole package in a program that needs nothing else of
// it.
func AppendTime(dst []byte, unixMilli int64) []byte {
	const dayMS = 24 * 3600 * 1000
	days, rest := unixMilli/dayMS, unixMilli%dayMS
	if rest < 0 {
		days, rest = days-1, rest+dayMS
	}
	year, month, day := civil(days)
	dst = append(digits(dst, year, 4), '-')
	dst = append(digits(dst, month, 2), '-')
	dst = append(digits(dst, day, 2), 'T')
	dst = append(digits(dst, rest/3600000, 2), ':')
	dst = append(digits(dst, rest/60000%60, 2), ':')
	dst = append(digits(dst, rest/1000%60, 2), '.')
	return append(digits(dst, rest%1000, 3), 'Z')
}

// civil gives the Gregorian date of a day counted from 1970-01-01. It counts in
// eras of 400 years that begin on a first of March, so that the leap day is the
// last of its year.
func civil(days int64) (year, month, day int64) {
	days += 719468 // from 0000-03-01
	era := days / 146097
	if days < 0 {
		era = (days - 146096) / 146097
	}
	ofEra := days - era*146097
	yearOfEra := (ofEra - ofEra/1460 + ofEra/36524 - ofEra/146096) / 365
	ofYear := ofEra - (365*yearOfEra + yearOfEra/4 - yearOfEra/100)
	shifted := (5*ofYear + 2) / 153 // March is 0
	year, month, day = yearOfEra+era*400, shifted+3, ofYear-(153*shifted+2)/5+1
	if month > 12 {
		year, month = year+1, month-12
	}
	return year, month, day
}

func digits(dst []byte, v int64, width int) []byte {
	at := len(dst)
	for range width {
		dst = append(dst, '0')
	}
	for i := len(dst) - 1; i >= at && v > 0; i-- {
		dst[i] += byte(v % 10)
		v /= 10
	}
	return dst
}
