package main

import (
	"testing"

	"github.com/raoull/worldwidewelsh/failover"
)

// TestEveryOperationIsAboutSomething: what removes copies, wakes or returns guests has no site or
// host of its own, and still says what it is about and does.
func TestEveryOperationIsAboutSomething(t *testing.T) {
	one, two := failover.OpGuestView{Guest: "nuage"}, failover.OpGuestView{Guest: "agenda"}
	var a app
	for _, c := range []struct {
		op          failover.OpView
		about, does string
	}{
		{failover.OpView{Kind: failover.KindFailover, Domain: "site:moulin", Cancelled: failover.Reason{Code: failover.CodeBack}}, "moulin", "cancelled, its copies are cleaned up"},
		{failover.OpView{Kind: failover.KindRescue, Domain: "host:asso", Cancelled: failover.Reason{Code: failover.CodeBack}}, "host asso", "cancelled, its copies are cleaned up"},
		{failover.OpView{Kind: failover.KindTidy, Of: "op-7", Guests: []failover.OpGuestView{one}, Cancelled: failover.Reason{Code: failover.CodeBack}}, "op-7", "removes what is left"},
		{failover.OpView{Kind: failover.KindWake, Guests: []failover.OpGuestView{one}}, "nuage", "at work, 0s"},
		{failover.OpView{Kind: failover.KindReturn, Guests: []failover.OpGuestView{one, two}}, "2 guests", "at work, 0s"},
	} {
		c.op.Phase = failover.OpReleasing
		if got := concern(c.op); got != c.about {
			t.Errorf("%s is about %q, want %q", c.op.Kind, got, c.about)
		}
		if got := a.opState(c.op, failover.Status{}); got != c.does {
			t.Errorf("%s: %q, want %q", c.op.Kind, got, c.does)
		}
	}
}
