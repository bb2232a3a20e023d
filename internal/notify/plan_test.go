package notify

import (
	"strings"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/api/apitest"
)

func TestWindow(t *testing.T) {
	at := func(clock string) time.Time {
		v, err := time.Parse("2006-01-02 15:04", "2026-11-22 "+clock)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	for _, c := range []struct{ window, now, until string }{
		{"22:00-07:00", "21:59", "21:59"},
		{"22:00-07:00", "22:00", "07:00"},
		{"22:00-07:00", "03:00", "07:00"},
		{"22:00-07:00", "07:00", "07:00"},
		{"12:00-14:00", "13:00", "14:00"},
		{"12:00-14:00", "14:00", "14:00"},
		{"", "03:00", "03:00"},
	} {
		w, err := ParseWindow(c.window)
		if err != nil {
			t.Fatal(err)
		}
		got := w.Until(at(c.now))
		if got.Format("15:04") != c.until || got.Before(at(c.now)) {
			t.Errorf("%s at %s: until %s, want %s", c.window, c.now, got, c.until)
		}
	}
	for _, bad := range []string{"22:00", "25:00-07:00", "a-b", "07:00-07:00"} {
		if _, err := ParseWindow(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

func TestWeekly(t *testing.T) {
	w, err := ParseWeekly("monday 09:00")
	if err != nil {
		t.Fatal(err)
	}
	for now, want := range map[string]string{
		"2026-11-23 08:59": "2026-11-16 09:00", "2026-11-23 09:00": "2026-11-23 09:00", "2026-11-29 23:00": "2026-11-23 09:00",
	} {
		at, _ := time.Parse("2006-01-02 15:04", now)
		if got := w.Last(at).Format("2006-01-02 15:04"); got != want {
			t.Errorf("at %s: last %s, want %s", now, got, want)
		}
	}
	if off, err := ParseWeekly("off"); err != nil || !off.Last(time.Now()).IsZero() {
		t.Errorf("off: %v, %v", off, err)
	}
	if _, err := ParseWeekly("someday 09:00"); err == nil {
		t.Error("someday is taken")
	}
}

// lost returns what there is to see of a network that has lost moulin, and what is due.
func lost(t *testing.T) (view, Due) {
	t.Helper()
	b, err := apitest.New()
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Lose(); err != nil {
		t.Fatal(err)
	}
	s := b.State()
	v := view{s: s, st: failover.Explain(s, b.Local(), b.Now()), wall: b.Now().Add(90 * time.Second), loc: time.UTC}
	for _, c := range Conditions(s, v.st) {
		if c.Key == lostKey {
			return v, Due{Condition: c, Kind: First}
		}
	}
	t.Fatalf("the loss is no condition: %+v", Conditions(s, v.st))
	return view{}, Due{}
}

// TestTextIsEnoughToDecideWith: what, since when, what wwwd does, what to do and whom to call,
// when the next message comes, and from whose view.
func TestTextIsEnoughToDecideWith(t *testing.T) {
	v, d := lost(t)
	m := v.compose(d)
	for _, want := range []string{
		"WHAT   moulin: lost", "WWW-1103", "SINCE  Sun 22 Nov 03:04 UTC, 1m30s", "WWWD   ", "YOU    ", "call Camille +33 6 00 00 00 01; key: accueil",
		"NEXT   when it is over, or Sun 22 Nov 04:05 UTC", "FROM   the agent of fabrique, 2 of 3 voters present",
	} {
		if !strings.Contains(m.Text, want) {
			t.Errorf("the text lacks %q:\n%s", want, m.Text)
		}
	}
	if len(m.Short) > 160 || !strings.HasPrefix(m.Short, "WWW moulin: lost 03:04. ") || strings.ContainsAny(m.Short, "\n") {
		t.Errorf("the SMS is %q", m.Short)
	}
	if m.Subject != "[assos] moulin: lost" || m.Urgency != Urgent || m.Site != "moulin" {
		t.Errorf("subject %q, urgency %s, site %s", m.Subject, m.Urgency, m.Site)
	}
}

// TestHintsNameWhatTheySpeakOf: a command can be typed as it stands.
func TestHintsNameWhatTheySpeakOf(t *testing.T) {
	for hint, want := range map[string]string{
		"wwwctl approve OP, or wwwctl op cancel OP.": "wwwctl approve op-12, or wwwctl op cancel op-12.",
		"wwwctl plan SITE; then call.":               "wwwctl plan moulin; then call.",
		"wwwctl failover --host HOST":                "wwwctl failover --host HOST",
	} {
		if got := named(hint, map[string]string{"op": "op-12", "domain": "site:moulin"}); got != want {
			t.Errorf("%q: got %q, want %q", hint, got, want)
		}
	}
}

// TestACaredForLossWakesNobody: while an operation moves its guests a loss is news, and no call.
func TestACaredForLossWakesNobody(t *testing.T) {
	v, _ := lost(t)
	v.st.Ops = []failover.OpView{{
		ID: "op-9", Kind: failover.KindFailover, Domain: "site:moulin", Phase: failover.OpCommitted, Committed: v.wall,
		Guests: []failover.OpGuestView{{Guest: "nuage", Target: "quai", Served: v.wall}, {Guest: "site", Target: "fabrique", State: failover.RunStuck}},
	}}
	urgency := map[string]Urgency{}
	for _, c := range Conditions(v.s, v.st) {
		urgency[c.Key] = c.Urgency
		if c.Key == lostKey {
			m := v.compose(Due{Condition: c, Kind: First})
			for _, want := range []string{"op-9 moves 2 guests (1 to fabrique, 1 to quai), committed, 1 serve, 1 need a person", "wwwctl op follow op-9"} {
				if !strings.Contains(m.Text, want) {
					t.Errorf("the text lacks %q:\n%s", want, m.Text)
				}
			}
		}
	}
	if urgency[lostKey] != Warning || urgency["op:op-9"] != Warning {
		t.Errorf("urgencies: %v", urgency)
	}
}

func TestOperationEnds(t *testing.T) {
	v, _ := lost(t)
	v.st.Ops = []failover.OpView{{ID: "op-9", Phase: failover.OpDone, Domain: "site:moulin", Guests: []failover.OpGuestView{{Guest: "nuage", Target: "quai", Served: v.wall}}}}
	d := Due{Kind: Over, Condition: Condition{Key: "op:op-9", Urgency: Info, Reason: reason(failover.CodeOpCommitted, "op", "op-9", "guests", "1")}}
	m := v.compose(d)
	for _, want := range []string{"over: op-9: committed", "op-9: done, 1 serve at quai", "wwwctl op ack op-9"} {
		if !strings.Contains(m.Text, want) {
			t.Errorf("the text lacks %q:\n%s", want, m.Text)
		}
	}
	if strings.Contains(m.Text, "NEXT") {
		t.Errorf("something follows:\n%s", m.Text)
	}
}
