package heartbeat

import (
	"bytes"
	"errors"
	"io"
	"os"
	"strings"
	"syscall"

	"vigil/pkg/fmt"
	"vigil/pkg/rundir"
)

// KeySuffix ends the name of a key file in a directory of keys.
const KeySuffix = ".key"

// A key is this many bytes: fewer can be guessed, more than a block of SHA-256
// are hashed first by HMAC and gain nothing.
const (
	minKey = 16
	maxKey = shaBlock
)

// sigKey is what stands between the signed text and its signature.
const sigKey = `,"sig":`

// sigTail is the length of the end of a signed record: sigKey, 64 hexadecimal
// digits in quotes, and the bracket.
const sigTail = len(sigKey) + 2*shaSize + 3

// Key signs records and checks their signatures: HMAC-SHA256 (RFC 2104) over
// the exact bytes before `,"sig":`. Safe for concurrent use.
type Key struct{ inner, outer shaState }

// NewKey makes a key of 16 to 64 bytes.
func NewKey(secret []byte) (*Key, error) {
	if len(secret) < minKey || len(secret) > maxKey {
		return nil, fmt.Errorf("key of %d bytes: want %d to %d", len(secret), minKey, maxKey)
	}
	k := &Key{shaInit, shaInit}
	var pad [shaBlock]byte
	copy(pad[:], secret)
	for i := range pad {
		pad[i] ^= 0x36
	}
	k.inner.blocks(pad[:])
	for i := range pad {
		pad[i] ^= 0x36 ^ 0x5c
	}
	k.outer.blocks(pad[:])
	return k, nil
}

// Sign appends the signature of text, 64 hexadecimal digits.
func (k *Key) Sign(dst, text []byte) []byte {
	inner := k.inner.sum(shaBlock, text)
	mac := k.outer.sum(shaBlock, inner[:])
	return appendHex(dst, mac[:])
}

// Verify checks the signature at the end of a record; white space behind it
// is ignored. The error is a *Reject: Unsigned or BadSignature.
func (k *Key) Verify(record []byte) error {
	record = bytes.TrimRight(record, " \n")
	at := len(record) - sigTail
	if at < 0 || string(record[at:at+len(sigKey)+1]) != sigKey+`"` || string(record[len(record)-2:]) != `"}` {
		return &Reject{Reason: Unsigned}
	}
	have := record[at+len(sigKey)+1 : len(record)-2]
	var room [2 * shaSize]byte
	differ := byte(0)
	for i, c := range k.Sign(room[:0], record[:at]) {
		differ |= c ^ have[i] // all of them, so that the time tells nothing
	}
	if differ != 0 {
		return &Reject{Reason: BadSignature}
	}
	return nil
}

func appendHex(dst, b []byte) []byte {
	const digits = "0123456789abcdef"
	for _, c := range b {
		dst = append(dst, digits[c>>4], digits[c&15])
	}
	return dst
}

// LoadKey reads the key for id from a file, or from ID.key in a directory. The
// file holds 32 to 128 hexadecimal digits, with or without a line feed. It must
// be regular, not a symbolic link, belong to root or to the effective user, and
// be readable for its owner only; the error names the file and the rule.
func LoadKey(path, id string) (*Key, error) {
	if st := (syscall.Stat_t{}); syscall.Stat(path, &st) == nil && st.Mode&syscall.S_IFMT == syscall.S_IFDIR {
		path = strings.TrimSuffix(path, "/") + "/" + id + KeySuffix
	}
	f, err := rundir.OpenKind(path, os.O_RDONLY|syscall.O_NOFOLLOW, syscall.S_IFREG)
	if errors.Is(err, syscall.ELOOP) {
		return nil, fmt.Errorf("%s: key file is a symbolic link", path)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: open key file: %w", path, errnoOf(err))
	}
	defer f.Close()
	if err := secret(f); err != nil {
		return nil, fmt.Errorf("%s: key file %w", path, err)
	}
	// One byte more than a key can have: two digits for each, and a line feed.
	text := make([]byte, 2*maxKey+3)
	n, err := io.ReadFull(f, text)
	if err != nil && err != io.ErrUnexpectedEOF && err != io.EOF {
		return nil, fmt.Errorf("%s: read key file: %w", path, errnoOf(err))
	}
	b, ok := unhex(strings.TrimSpace(string(text[:n])))
	if !ok || len(b) < minKey || len(b) > maxKey {
		return nil, fmt.Errorf("%s: key file: want %d to %d hexadecimal digits, an even number", path, 2*minKey, 2*maxKey)
	}
	return NewKey(b)
}

// secret tells why an open file is not one that only its owner can read.
func secret(f *os.File) error {
	var st syscall.Stat_t
	if err := syscall.Fstat(int(f.Fd()), &st); err != nil {
		return err
	}
	switch me := os.Geteuid(); {
	case st.Mode&syscall.S_IFMT != syscall.S_IFREG:
		return errors.New("is not a regular file")
	case st.Uid != 0 && int(st.Uid) != me:
		return fmt.Errorf("belongs to uid %d, want root or uid %d", st.Uid, me)
	case st.Mode&0o7777&^0o600 != 0:
		return fmt.Errorf("has mode %04o, want 0600 or less", st.Mode&0o7777)
	}
	return nil
}

// unhex turns pairs of hexadecimal digits into bytes.
func unhex(s string) (b []byte, ok bool) {
	for ; len(s) >= 2; s = s[2:] {
		high, low := digit(s[0]), digit(s[1])
		if high > 15 || low > 15 {
			return nil, false
		}
		b = append(b, high<<4|low)
	}
	return b, s == ""
}

// digit is the value of a hexadecimal digit; over 15 if it is none.
func digit(c byte) byte {
	switch {
	case c >= '0' && c <= '9':
		return c - '0'
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10
	}
	return 16
}
