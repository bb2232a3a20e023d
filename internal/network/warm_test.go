package network_test

import (
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/internal/network"
)

func TestWindowIsPartOfEachDay(t *testing.T) {
	for _, tt := range []struct {
		text, at string
		open     bool
	}{
		{"22:00-06:00", "21:59", false},
		{"22:00-06:00", "22:00", true},
		{"22:00-06:00", "05:59", true},
		{"22:00-06:00", "06:00", false},
		{"01:30-02:00", "01:29", false},
		{"01:30-02:00", "01:59", true},
		{"01:30-02:00", "02:00", false},
		{"06:00-06:00", "12:00", true},
		{"", "12:00", true},
	} {
		var w network.Window
		if err := w.UnmarshalText([]byte(tt.text)); err != nil {
			t.Fatal(err)
		}
		if got := w.String(); got != tt.text {
			t.Errorf("window %q reads back as %q", tt.text, got)
		}
		at, err := time.Parse("15:04", tt.at)
		if err != nil {
			t.Fatal(err)
		}
		if w.Open(at.In(time.FixedZone("", 5*3600))) != tt.open {
			t.Errorf("window %q at %s UTC: open %t, want %t", tt.text, tt.at, !tt.open, tt.open)
		}
	}
	for _, text := range []string{"22:00", "22-06", "25:00-06:00", "22:00-06:00-07:00", "night"} {
		var w network.Window
		if err := w.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("window %q is taken for %s", text, w)
		}
	}
}

// TestWarmForNothingIsSaid: nothing is kept ready of what never fails over.
func TestWarmForNothingIsSaid(t *testing.T) {
	for name, change := range map[string]func(*network.Guest, *network.Structure){
		"":         func(*network.Guest, *network.Structure) {},
		"priority": func(g *network.Guest, _ *network.Structure) { g.Priority = 4 },
		"mode":     func(_ *network.Guest, s *network.Structure) { s.Mode = network.ModeNever },
		"consent":  func(_ *network.Guest, s *network.Structure) { s.OffSite.Policy = network.ConsentForbidden },
	} {
		s := sample()
		g := s.Guests["web"]
		st := s.Structures[g.Structure]
		g.Standby = network.WarmStandby
		change(&g, &st)
		s.Guests["web"], s.Structures[g.Structure] = g, st
		said := false
		for _, p := range s.WithDefaults().Validate() {
			said = said || p.Path == "guests.web.standby" && p.Code == network.CodeNotRescued && p.Severity == network.Warning
		}
		if said != (name != "") {
			t.Errorf("%q: warned=%t", name, said)
		}
	}
}
