package main

import (
	"testing"
	"time"
)

func TestTimeOf(t *testing.T) {
	zone := time.FixedZone("CET", 3600)
	now := time.Date(2026, 3, 2, 14, 30, 0, 0, zone)
	for text, want := range map[string]string{
		"15:00":                "2026-03-02 15:00",
		"14:30":                "2026-03-03 14:30",
		"03:00":                "2026-03-03 03:00",
		"2h":                   "2026-03-02 16:30",
		"2026-03-04 03:00":     "2026-03-04 03:00",
		"2026-03-04T02:00:00Z": "2026-03-04 03:00",
		"2026-03-01 03:00":     "",
		"-2h":                  "",
		"tonight":              "",
	} {
		got, err := timeOf(text, now)
		if text := got.In(zone).Format("2006-01-02 15:04"); (err != nil) != (want == "") || want != "" && text != want {
			t.Errorf("timeOf(%q) = %s, %v, want %q", text, text, err, want)
		}
	}
}
