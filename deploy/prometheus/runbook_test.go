package prometheus_test

import (
	"os"
	"strings"
	"testing"
)

// Each alert leads to a section that says what it means, what wwwd does by itself,
// and what a person does; no section is of an alert that is gone.
func TestRunbookHasEveryAlert(t *testing.T) {
	b, err := os.ReadFile("../../docs/runbook.md")
	if err != nil {
		t.Fatal(err)
	}
	sections := map[string]string{}
	for _, s := range strings.Split(string(b), "\n## ")[1:] {
		name, text, _ := strings.Cut(s, "\n")
		sections[name] = text
	}
	severities := map[string][]string{}
	for _, r := range readRules(t) {
		severities[r.Alert] = append(severities[r.Alert], r.Labels["severity"])
	}
	for name, all := range severities {
		text := sections[name]
		for _, severity := range all {
			if want := "**What it means** (" + severity + ")."; !strings.Contains(text, want) {
				t.Errorf("%s: no %q", name, want)
			}
		}
		for _, want := range []string{"**By itself.**", "**You.**"} {
			if got := strings.Count(text, want); got != len(all) {
				t.Errorf("%s: %d times %q, want %d", name, got, want, len(all))
			}
		}
	}
	for name := range sections {
		if severities[name] == nil {
			t.Errorf("%s is no alert", name)
		}
	}
}
