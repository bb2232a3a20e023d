package failover_test

import (
	"slices"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
)

// lostAndBack plays the loss of moulin to its end, by itself or, if a person is asked, with their word.
func lostAndBack(t *testing.T, declared ...string) (*play, failover.Operation) {
	t.Helper()
	p := newPlay(t)
	p.network(append([]string{"five"}, declared...))
	for _, line := range []string{"dark moulin 46s", "decide", "work fabrique,quai", "advance 5m", "dark moulin 301s", "decide"} {
		p.run(line)
	}
	if len(p.newest().Waiting()) > 0 {
		p.run("look")
		p.run("approve")
		p.run("decide")
	}
	for range 3 {
		p.run("advance 30s")
		p.run("dark moulin 400s")
		p.run("work fabrique,quai")
		p.run("decide")
	}
	return p, p.newest()
}

// TestIncident: the report tells when the silence began, on which votes it was committed, who agreed,
// and for each guest how long it was out of service and what its copy does not have.
func TestIncident(t *testing.T) {
	p, op := lostAndBack(t)
	in, ok := failover.IncidentOf(p.s, op.ID, "", p.now)
	if !ok || in.Phase != failover.OpDone || in.Site != "moulin" || len(in.Guests) != 3 || len(in.LeftOut) != 1 {
		t.Fatalf("report: %v, phase %s, %d guests, %d left out", ok, in.Phase, len(in.Guests), len(in.LeftOut))
	}
	if len(in.Evidence) < 3 || len(in.Approved) != 0 || in.Forced {
		t.Errorf("%d votes, approved by %v, by hand %v; want a majority's votes and nobody's word", len(in.Evidence), in.Approved, in.Forced)
	}
	if silence := in.Decided.Sub(in.Silent); silence < 300*time.Second || silence > 302*time.Second {
		t.Errorf("silent since %s before commitment, want 301s", silence)
	}
	for _, g := range in.Guests {
		if g.Served.IsZero() || g.Down != g.Served.Sub(in.Silent) || g.Loss != op.Guests[g.Guest].Assignment.Loss || g.Loss < time.Hour || g.Bytes == 0 || len(g.Steps) == 0 {
			t.Errorf("%s: served %s, down %s, loss %s (point %s, silence %s), %d bytes", g.Guest, g.Served, g.Down, g.Loss, g.Point, in.Silent, g.Bytes)
		}
	}
	for _, code := range []string{failover.CodeLost, failover.CodeOpBegun, failover.CodeOpCommitted, failover.CodeServing, failover.CodeOpDone} {
		if !slices.ContainsFunc(in.Events, func(e failover.Event) bool { return e.Reason.Code == code }) {
			t.Errorf("no event %s in the report", code)
		}
	}
	if _, ok := failover.IncidentOf(p.s, "op-0", "", p.now); ok {
		t.Error("a report on an operation that there is not")
	}
}

// TestIncidentOfAStructure has nothing of the guests of others in it.
func TestIncidentOfAStructure(t *testing.T) {
	p, op := lostAndBack(t)
	in, _ := failover.IncidentOf(p.s, op.ID, "atelier", p.now)
	if len(in.Guests) != 1 || in.Guests[0].Guest != "wiki-atelier" || len(in.LeftOut) != 0 {
		t.Fatalf("guests %v, left out %v; want wiki-atelier alone", in.Guests, in.LeftOut)
	}
	for _, e := range in.Events {
		if e.Guest != "" && e.Guest != "wiki-atelier" {
			t.Errorf("event %s of %s", e.Reason.Code, e.Guest)
		}
	}
}

// TestIncidentNamesWhoApproved, with the moment.
func TestIncidentNamesWhoApproved(t *testing.T) {
	p, op := lostAndBack(t, "le-moulin.mode=ask", "atelier.mode=ask")
	in, _ := failover.IncidentOf(p.s, op.ID, "", p.now)
	if len(in.Approved) != 1 || in.Approved[0].Actor != "test" || in.Approved[0].At.IsZero() {
		t.Errorf("approved: %+v, want test's word", in.Approved)
	}
}
