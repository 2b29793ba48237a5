package spool

import (
	"errors"
	"math"
	"strconv"
)

// Size is a number of bytes as people write it: 512M, 4G, 1000. The units are
// powers of 1024. Its zero value is 0. It is a flag.Value.
type Size int64

const units = "KMGT"

// Set reads a size.
func (s *Size) Set(text string) error {
	digits, shift := text, 0
	if n := len(text); n > 0 {
		for i, u := range units {
			if text[n-1] == byte(u) {
				digits, shift = text[:n-1], 10*(i+1)
			}
		}
	}
	v, err := strconv.ParseUint(digits, 10, 63)
	if err != nil || v > math.MaxInt64>>shift {
		return errors.New("want bytes, as 1000, 512M or 4G")
	}
	*s = Size(v << shift)
	return nil
}

// String writes the size in the largest unit that tells it exactly.
func (s Size) String() string {
	v, unit := int64(s), ""
	for _, u := range units {
		if v == 0 || v%1024 != 0 {
			break
		}
		v, unit = v/1024, string(u)
	}
	return strconv.FormatInt(v, 10) + unit
}
