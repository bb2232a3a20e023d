package main

import (
	"strings"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/internal/api"
	"github.com/raoull/worldwidewelsh/internal/network"
)

// TestFailbackPlanTellsTheUse: of both copies, on any screen; what is not known is said with why, and nothing is if nobody can tell.
func TestFailbackPlanTellsTheUse(t *testing.T) {
	socket := planning(t, homeward())
	r := wwwctl(t.Context(), socket, "failback plan le-moulin", screen(100, 24))
	want := "Used since the copies parted, by their hosts' records:\n  nuage at quai: 1.9 GiB written, 312 MiB received, 4 GiB sent\n" +
		"  nuage at moulin: 214 MiB written, 96 MiB received, 640 MiB sent\n"
	if !strings.Contains(r.out, want) {
		t.Errorf("no %q:\n%s", want, r.out)
	}
	a := &app{show: style{width: 80, zone: time.UTC}}
	for _, tt := range []struct {
		use  api.CopyUse
		want string
	}{
		{api.CopyUse{Unread: "no answer"}, "not known, no answer"},
		{api.CopyUse{}, "nothing recorded: it was off, or they parted just now"},
		{api.CopyUse{Until: at("09:12:00"), Received: 1 << 10}, "1 KiB received, 0 B sent"},
	} {
		if got := a.useText(tt.use); got != tt.want {
			t.Errorf("%+v: %q, want %q", tt.use, got, tt.want)
		}
	}
	p := &page{s: a.show}
	if a.usesLines(p, homeward(), make([]api.CopyUses, 1)); p.b.String() != "" {
		t.Errorf("nobody can tell, and it is said: %q", p.b.String())
	}
}

// TestQuietTime: the window of its structure, or the night, in the reader's own time.
func TestQuietTime(t *testing.T) {
	told := func(w network.Window, zone *time.Location) string {
		plan := homeward()
		plan.Branches[0].Window = w
		p := &page{s: style{zone: zone}}
		(&app{show: style{zone: zone}}).quietTime(p, plan)
		return p.b.String()
	}
	window, paris := network.Window{From: 23 * 60, To: 5 * 60}, time.FixedZone("", 3600)
	for _, tt := range []struct {
		got, want string
	}{
		{told(network.Window{}, time.UTC), "Does nobody need it at night? Add --at 02:00 to the line.\n"},
		{told(window, time.UTC), "In its structure's window, 23:00-05:00 UTC? Add --at 23:00 to the line.\n"},
		{told(window, paris), "In its structure's window, 23:00-05:00 UTC? Add --at 00:00 to the line.\n"},
	} {
		if tt.got != tt.want {
			t.Errorf("told %q, want %q", tt.got, tt.want)
		}
	}
}
