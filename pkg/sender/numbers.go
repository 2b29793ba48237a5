package sender

import (
	"strconv"
	"strings"

	"vigil/pkg/fmt"
	"vigil/pkg/heartbeat"
	"vigil/pkg/jsonline"
)

// maxNumbers is the size of a file of numbers: that of a record, and more than
// sixteen of them need.
const maxNumbers = heartbeat.MaxSize

// ParseMetric reads "name=value".
func ParseMetric(word string) (heartbeat.Metric, error) {
	name, value, ok := strings.Cut(word, "=")
	if !ok {
		return heartbeat.Metric{}, fmt.Errorf("%.80q: want name=value", word)
	}
	v, err := strconv.ParseFloat(value, 64)
	if err != nil {
		return heartbeat.Metric{}, fmt.Errorf("%.80q: want a number behind the =", word)
	}
	m := heartbeat.Metric{Name: name, Value: v}
	return m, heartbeat.CheckMetrics([]heartbeat.Metric{m})
}

// ParseNumbers reads what -m-from finds: one JSON object of numbers, or lines of
// name=value (or name value); empty lines and those that begin with # are
// skipped.
func ParseNumbers(text []byte) (ms []heartbeat.Metric, err error) {
	s := strings.TrimSpace(string(text))
	if strings.HasPrefix(s, "{") {
		err := jsonline.Parse([]byte(s), func(key string, v jsonline.Value) error {
			f, err := v.Float()
			if err != nil {
				return fmt.Errorf("%.80q: %w", key, err)
			}
			ms = append(ms, heartbeat.Metric{Name: key, Value: f})
			return nil
		})
		if err != nil {
			return nil, err
		}
		return ms, heartbeat.CheckMetrics(ms)
	}
	for n := 1; s != ""; n++ {
		var line string
		line, s, _ = strings.Cut(s, "\n")
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		name, value, ok := strings.Cut(line, "=")
		if !ok {
			name, value, _ = strings.Cut(line, " ")
		}
		m, err := ParseMetric(strings.TrimSpace(name) + "=" + strings.TrimSpace(value))
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		ms = append(ms, m)
	}
	return ms, heartbeat.CheckMetrics(ms)
}

func readNumbers(path string) ([]heartbeat.Metric, error) {
	b, _, err := readSmall(path, "numbers", maxNumbers)
	if err != nil {
		return nil, err
	}
	ms, err := ParseNumbers(b)
	if err != nil {
		return nil, fmt.Errorf("%s: numbers: %w", path, err)
	}
	return ms, nil
}
