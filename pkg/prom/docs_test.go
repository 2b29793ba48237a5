package prom

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"vigil/pkg/gate"
)

const docs = "../../docs"

func document(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(docs, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestRules: each rule fires when it shall, and else does not.
func TestRules(t *testing.T) {
	gate.Need(t, "promtool")
	for _, args := range [][]string{{"check", "rules", "alerts.yml"}, {"test", "rules", "alerts_test.yml"}} {
		check := exec.CommandContext(t.Context(), "promtool", args...)
		check.Dir = docs
		if out, err := check.CombinedOutput(); err != nil {
			t.Errorf("promtool %v: %v\n%s", args, err, out)
		}
	}
}

// TestRulesAreTried: each has a case in which it fires, and one in which it
// does not.
func TestRulesAreTried(t *testing.T) {
	cases := document(t, "alerts_test.yml")
	rules := regexp.MustCompile(`(?m)^ +- alert: (\w+)$`).FindAllStringSubmatch(document(t, "alerts.yml"), -1)
	if len(rules) == 0 {
		t.Fatal("no rules")
	}
	for _, rule := range rules {
		if !strings.Contains(cases, "\n        alertname: "+rule[1]+"\n        exp_alerts:") {
			t.Errorf("%s: no case in which it fires", rule[1])
		}
		if !strings.Contains(cases, "alertname: "+rule[1]+"}\n") {
			t.Errorf("%s: no case in which it does not", rule[1])
		}
	}
}

// TestDocsKnowTheMetrics: what the documents name is exported, and what is
// exported is on the manual's page.
func TestDocsKnowTheMetrics(t *testing.T) {
	var exported []string
	for _, m := range regexp.MustCompile(`(?m)^# TYPE (\w+) `).FindAllStringSubmatch(text(t, page()), -1) {
		exported = append(exported, m[1])
	}
	name := regexp.MustCompile(`\bhbwatch_\w+`)
	for _, file := range []string{"alerts.yml", "alerts_test.yml", "prometheus.md"} {
		found := name.FindAllString(document(t, file), -1)
		if len(found) == 0 {
			t.Errorf("%s: names no metric", file)
		}
		for _, metric := range found {
			if !slices.Contains(exported, metric) {
				t.Errorf("%s: %s is not exported", file, metric)
			}
		}
	}
	manual := document(t, "../cmd/hbwatch/hbwatch.8")
	_, manual, _ = strings.Cut(manual, "\n.Ss Metrics\n")
	manual, _, _ = strings.Cut(manual, "\n.Ss ")
	for _, metric := range exported {
		if !regexp.MustCompile(`(?m)^\.It .*\b` + strings.TrimPrefix(metric, "hbwatch_") + `\b`).MatchString(manual) {
			t.Errorf("hbwatch.8: %s is not explained", metric)
		}
	}
}
