package account

import (
	"os"
	"strings"
	"testing"
)

func TestLookup(t *testing.T) {
	const text = "root:x:0:0:root:/root:/bin/sh\n+::::::\nbroken:x\nodd:x:abc:1\nnone:x:4294967295:1\n" +
		"svc:x:990:985::/:/bin/false\nsvc:x:1:1::/:\nlast:x:7"
	for name, want := range map[string]int{"root": 0, "svc": 990, "last": 7, "odd": -1, "none": -1, "broken": -1, "": -1, "+": -1, "ro": -1, "root:x": -1} {
		n, ok := lookup(text, name)
		if !ok {
			n = -1
		}
		if n != want {
			t.Errorf("%q: %d, want %d", name, n, want)
		}
	}
}

func TestNumbersAndNames(t *testing.T) {
	for name, want := range map[string]uint32{"0": 0, "65534": 65534, "4294967294": 4294967294, "root": 0} {
		if n, err := User(name); err != nil || uint32(n) != want {
			t.Errorf("user %s: %d, %v", name, n, err)
		}
	}
	if n, err := Group("root"); err != nil || n != 0 {
		t.Errorf("group root: %d, %v", n, err)
	}
	for _, name := range []string{"", "-1", "4294967295", "no-such-user", "a\nb"} {
		if n, err := User(name); err == nil || !strings.Contains(err.Error(), "not in /etc/passwd") {
			t.Errorf("%q: %d, %v", name, n, err)
		}
	}
	if _, err := find("user", os.DevNull+"/x", "a"); err == nil {
		t.Error("no file, no complaint")
	}
}

func FuzzLookup(f *testing.F) {
	f.Add("root:x:0:0\n", "root")
	f.Add(":::\n\n:x:5", "")
	f.Fuzz(func(t *testing.T, text, name string) {
		if n, ok := lookup(text, name); ok && (n < 0 || name == "" || !strings.Contains(text, name+":")) {
			t.Errorf("%q in %q: %d", name, text, n)
		}
	})
}
