package dnsctl_test

import (
	"context"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/raoull/worldwidewelsh/dnsctl"
	"github.com/raoull/worldwidewelsh/failover"
)

// A NOTIFY from a zone's own primary is heard, one from anybody else is not.
func TestANotifyOfAPrimaryIsHeard(t *testing.T) {
	var heard []string
	srv := newServer(t, dnsctl.Config{OnNotify: func(zone string) { heard = append(heard, zone) }}, mainZone())
	s := foreignState(t, "192.0.2.53:53")
	srv.Watch(dnsctl.Watched(s))
	for _, tc := range []struct {
		zone, from string
		rcode      int
	}{
		{"Failover.test.", "192.0.2.53", dns.RcodeSuccess},
		{"failover.test.", "192.0.2.54", dns.RcodeRefused},
		{"other.test.", "192.0.2.53", dns.RcodeNotAuth},
	} {
		answered := -1
		w := &fakeWriter{remote: &net.UDPAddr{IP: net.ParseIP(tc.from)}, write: func(m *dns.Msg) error { answered = m.Rcode; return nil }}
		srv.ServeDNS(w, new(dns.Msg).SetNotify(tc.zone))
		if answered != tc.rcode {
			t.Errorf("NOTIFY of %s from %s: answered %d, want %d", tc.zone, tc.from, answered, tc.rcode)
		}
	}
	if !slices.Equal(heard, []string{"failover.test."}) {
		t.Errorf("heard %v", heard)
	}
}

// A nudge brings the next look at a zone forward, and many bring not more of them.
func TestANudgeBringsTheNextLookForward(t *testing.T) {
	log := &fakeLog{state: state(t), lead: true}
	asked := 0
	srv := inMemory(t)
	p := publisher(log, exchangeFunc(func(ctx context.Context, server string, m *dns.Msg) (*dns.Msg, error) {
		asked++
		return dnsctl.InProcess{"10.77.1.1:53": srv, "10.77.2.1:53": srv}.Exchange(ctx, server, m)
	}), nil)
	p.Server = srv
	p.Publish(log.state)
	converge(t, p, "verified", verified(log, "assos.example"))
	now := time.Unix(2e9, 0)
	run := func(length time.Duration, nudge bool) int {
		asked = 0
		for end := now.Add(length); now.Before(end); {
			if nudge {
				p.Nudge("assos.example.")
			}
			now = slices.MaxFunc([]time.Time{now.Add(time.Millisecond), p.Step(t.Context(), now)}, time.Time.Compare)
		}
		return asked
	}
	run(time.Minute, false)
	if n := run(30*time.Second, false); n != 0 {
		t.Fatalf("%d questions while nothing is to be looked at", n)
	}
	p.Nudge("assos.example.")
	once := run(3*time.Second, false)
	if once == 0 {
		t.Fatal("a nudge brought no question")
	}
	if n := run(30*time.Second, true); n > 7*once {
		t.Errorf("%d questions in 30 s of nudges, %d for one", n, once)
	}
}

// More names than one round asks for are all asked for in turn.
func TestRoundsTurnThroughTheNames(t *testing.T) {
	s := failover.NewState()
	spec := declared()
	g := spec.Guests["cloud"]
	g.Names = nil
	for i := range 150 {
		g.Names = append(g.Names, "n"+string(rune('a'+i/26))+string(rune('a'+i%26))+".assos.example")
	}
	spec.Guests["cloud"] = g
	for i, c := range []failover.Command{failover.Bootstrap{Network: "assos"}, failover.ApplyNetwork{Spec: spec}} {
		if err := s.Apply(failover.Stamp{Index: uint64(i + 1), Term: 1, At: time.Unix(int64(i), 0)}, c); err != nil {
			t.Fatal(err)
		}
	}
	srv, seen := inMemory(t), map[string]bool{}
	log := &fakeLog{state: s, lead: true}
	p := publisher(log, exchangeFunc(func(ctx context.Context, server string, m *dns.Msg) (*dns.Msg, error) {
		seen[m.Question[0].Name] = true
		return dnsctl.InProcess{"10.77.1.1:53": srv, "10.77.2.1:53": srv}.Exchange(ctx, server, m)
	}), nil)
	p.Server = srv
	p.Publish(s)
	converge(t, p, "all names", func() bool {
		return !slices.ContainsFunc(g.Names, func(n string) bool { return !seen[n+"."] })
	})
}
