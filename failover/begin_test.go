package failover_test

import (
	"slices"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
)

// TestBeginRefuses: whatever plan is proposed, what no plan may say does not
// enter the log (S4, S10, S11).
func TestBeginRefuses(t *testing.T) {
	p := newPlay(t)
	p.network([]string{"five", "la-fabrique.mode=manual"})
	l := &p.log
	good := failover.BeginOp{
		Kind: failover.KindFailover, Domain: "site:moulin", Plan: failover.PlanFor(l.s, failover.Loss{Site: "moulin"}, l.now),
	}
	first := func(change func(a *failover.Assignment)) func(c *failover.BeginOp) {
		return func(c *failover.BeginOp) { change(&c.Plan.Assignments[0]) }
	}
	other := func(site failover.SiteID, byHand bool) func(c *failover.BeginOp) {
		return func(c *failover.BeginOp) {
			c.Plan = failover.PlanFor(l.s, failover.Loss{Site: site, ByHand: byHand}, l.now)
		}
	}
	for name, tt := range map[string]struct {
		change func(c *failover.BeginOp)
		want   string
	}{
		"as planned":          {func(*failover.BeginOp) {}, ""},
		"no guests":           {func(c *failover.BeginOp) { c.Plan.Assignments = nil }, failover.CodeNothing},
		"a guest twice":       {func(c *failover.BeginOp) { c.Plan.Assignments[1] = c.Plan.Assignments[0] }, failover.CodeInvalid},
		"an unknown guest":    {first(func(a *failover.Assignment) { a.Guest = "nobody" }), failover.CodeUnknownGuest},
		"another vlan":        {first(func(a *failover.Assignment) { a.VLAN = 1 }), failover.CodeInvalid},
		"another structure":   {first(func(a *failover.Assignment) { a.Structure = "atelier" }), failover.CodeInvalid},
		"no target":           {first(func(a *failover.Assignment) { a.Target = "halle" }), failover.CodeNotTarget},
		"its own site":        {first(func(a *failover.Assignment) { a.Target, a.Host = "moulin", "raoull-moulin" }), failover.CodeNotTarget},
		"a structure's host":  {first(func(a *failover.Assignment) { a.Host = "pve-quai" }), failover.CodeNotTarget},
		"no restore point":    {first(func(a *failover.Assignment) { a.Point = failover.RestorePoint{} }), failover.CodeNoPoint},
		"a bad restore point": {first(func(a *failover.Assignment) { a.Point.Unusable = "not complete" }), failover.CodeNoPoint},
		"priority 4":          {first(func(a *failover.Assignment) { a.Guest = "archive-moulin" }), failover.CodePriority4},
		"guests of elsewhere": {other("quai", false), failover.CodeInvalid},
		"a manual structure":  {func(c *failover.BeginOp) { other("fabrique", true)(c); c.Domain = "site:fabrique" }, failover.CodeMode},
		"the same by hand":    {func(c *failover.BeginOp) { other("fabrique", true)(c); c.Domain, c.Forced = "site:fabrique", true }, ""},
		"automatic in mode ask": {func(c *failover.BeginOp) {
			other("quai", false)(c)
			c.Domain = "site:quai"
			c.Plan.Assignments[0].Automatic = true
		}, failover.CodeMode},
	} {
		t.Run(name, func(t *testing.T) {
			c := good
			c.Plan.Assignments = slices.Clone(good.Plan.Assignments)
			tt.change(&c)
			err := l.s.Clone().Apply(failover.Stamp{Index: l.s.Index + 1, Term: 1, At: l.now}, c)
			if got := rejection(err); got != tt.want {
				t.Errorf("Apply: %v, want code %q", err, tt.want)
			}
		})
	}
	l.must(good)
	if got := rejection(l.apply(good)); got != failover.CodeAlreadyBegun {
		t.Errorf("a second time: code %q, want %q", got, failover.CodeAlreadyBegun)
	}
	again := good
	again.Forced = true
	if got := rejection(l.apply(again)); got != failover.CodeGuestBusy {
		t.Errorf("by hand while it runs: code %q, want %q", got, failover.CodeGuestBusy)
	}
}

// TestOwnNeedsAdmission: a restored guest is nobody's until its commit is in
// the log (S4).
func TestOwnNeedsAdmission(t *testing.T) {
	p := newPlay(t)
	p.network([]string{"five"})
	p.dark(time.Minute, "moulin")
	p.settle()
	p.work([]string{"quai,fabrique"})
	op := p.opOf("nextcloud-moulin")
	own := failover.Own{Token: op.TokenOf("nextcloud-moulin")}
	if own.Token.Step != failover.StepOwn {
		t.Fatalf("the guest is at step %s, want own", own.Token.Step)
	}
	if got := rejection(p.apply(own)); got != failover.CodeWrongPhase {
		t.Errorf("before it is admitted: code %q, want %q", got, failover.CodeWrongPhase)
	}
	p.must(failover.Approve{Op: op.ID, Hash: p.s.OfferOf(op.ID, p.now).Hash})
	p.must(own)
	if got := p.s.Guests["nextcloud-moulin"].Epoch; got != (failover.Epoch{Generation: 1, Index: p.s.Index}) {
		t.Errorf("epoch %s, want 1-%d: the entry that gave ownership", got, p.s.Index)
	}
	if got := rejection(p.apply(own)); got == "" {
		t.Error("the same token gave ownership twice")
	}
}
