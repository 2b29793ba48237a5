package explain

import (
	"reflect"
	"testing"
)

const sampleLimits = `Limit                     Soft Limit           Hard Limit           Units     
Max cpu time              unlimited            unlimited            seconds   
Max core file size        0                    unlimited            bytes     
Max open files            1024                 524288               files     
Max nice priority         0                    0                    
`

func TestParseLimits(t *testing.T) {
	got, err := parseLimits([]byte(sampleLimits))
	want := []limit{{"cpu", -1, -1}, {"core", 0, -1}, {"nofile", 1024, 524288}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v, %v", got, err)
	}
	for _, text := range []string{"Max open files            1024\n", "Max open files            x y\n"} {
		if got, err := parseLimits([]byte(text)); err == nil {
			t.Errorf("%q: %v", text, got)
		}
	}
}

func FuzzParseLimits(f *testing.F) {
	f.Add([]byte(sampleLimits))
	f.Fuzz(func(t *testing.T, text []byte) {
		limits, err := parseLimits(text)
		for _, l := range limits {
			if err == nil && (l.soft < -1 || l.hard < -1 || l.name == "") {
				t.Errorf("%q: %+v", text, l)
			}
		}
	})
}
