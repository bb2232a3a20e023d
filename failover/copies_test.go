package failover_test

import (
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/network"
)

const movedGuest = failover.GuestID("wiki-atelier")

// movedLog is a network in which a guest of moulin was given to quai by a person,
// and has been served there for an hour. Its home host is owned as said.
func movedLog(t *testing.T, owner network.Owner, onReturn string) *log {
	t.Helper()
	l := newLog(t)
	spec := fiveSites().WithDefaults()
	host := spec.Sites["moulin"].Hosts[spec.Guests[movedGuest].Host]
	host.Owner = owner
	spec.Sites["moulin"].Hosts[spec.Guests[movedGuest].Host] = host
	structure := spec.Structures[spec.Guests[movedGuest].Structure]
	structure.OnReturn = onReturn
	spec.Structures[spec.Guests[movedGuest].Structure] = structure
	l.boot(spec)
	l.must(failover.ReportReadiness{Ready: failover.Readiness{
		Site: "quai", Host: "raoull-quai", MemoryFree: 64 * gib, StorageFree: 512 * gib,
		Points: map[failover.GuestID][]failover.RestorePoint{movedGuest: {restorePoint(movedGuest, start.Add(-time.Hour), gib)}},
	}})
	l.must(report(l.s, "moulin", func(*failover.Observation) {}))
	l.move(failover.Loss{Site: "moulin", Guests: []failover.GuestID{movedGuest}, Target: "quai", ByHand: true})
	l.now = l.now.Add(time.Hour)
	return l
}

// move carries a failover out that a person asked for.
func (l *log) move(loss failover.Loss) {
	l.t.Helper()
	plan := failover.PlanFor(l.s, loss, l.now)
	if len(plan.Assignments) == 0 {
		l.t.Fatalf("nothing to move: %+v", plan.LeftOut)
	}
	l.must(failover.BeginOp{Kind: failover.KindFailover, Domain: failover.SiteDomain(loss.Site), Plan: plan, Forced: true})
	l.finish(failover.KindFailover)
}

// finish carries out what is left of the operations of a kind.
func (l *log) finish(kind failover.OpKind) {
	l.t.Helper()
	for id, op := range l.s.Ops {
		for g := range op.Guests {
			for op.Kind == kind && !op.Phase.Ended() {
				run := l.s.Ops[id].Guests[g]
				if _, _, left := run.Current(); !left {
					break
				}
				switch token := l.s.Ops[id].TokenOf(g); token.Step {
				case failover.StepOwn:
					l.must(failover.Own{Token: token})
				case failover.StepServe:
					l.must(failover.Serve{Token: token})
				default:
					l.must(failover.StepMoved{Token: token, Attempt: 1, To: failover.StatusRunning, Found: &failover.Found{OnBoot: true}})
					l.must(failover.StepMoved{Token: token, Attempt: 1, To: failover.StatusDone})
				}
			}
		}
		if op.Kind == kind && !op.Phase.Ended() {
			l.must(failover.EndOp{Op: id})
		}
	}
}

// seen has the agent of a site tell what became of the copy of the moved guest there.
func (l *log) seen(site failover.SiteID, change func(*failover.Copy)) {
	l.t.Helper()
	c := failover.SiteCopies{Site: site, Copies: l.s.CopiesAt(site), AsOf: l.s.Index}
	for i := range c.Copies {
		change(&c.Copies[i])
	}
	l.must(failover.ReportCopies{Copies: c})
}

// TestBranchOfACopyThatWasLeft: what is said of a superseded copy follows from since
// when it and its host run, when its guest moved, and when its agent was heard again.
func TestBranchOfACopyThatWasLeft(t *testing.T) {
	ago := func(l *log, d time.Duration) time.Time { return l.now.Add(-d) }
	for _, tt := range []struct {
		name string
		seen func(l *log, c *failover.Copy)
		back time.Duration // after the host's start
		want string
	}{
		{"off", func(*log, *failover.Copy) {}, 0, failover.CodeBranchOff},
		{"started with its host", func(l *log, c *failover.Copy) {
			c.Running, c.Booted, c.Since = true, ago(l, 2*time.Minute), ago(l, time.Minute)
		}, 0, failover.CodeBranchBooted},
		{"ran all along", func(l *log, c *failover.Copy) {
			c.Running, c.Booted, c.Since = true, ago(l, 48*time.Hour), ago(l, 47*time.Hour)
		}, 0, failover.CodeBranchRan},
		{"started with its host while its site was cut off for longer", func(l *log, c *failover.Copy) {
			c.Running, c.Booted, c.Since = true, ago(l, 41*time.Minute), ago(l, 40*time.Minute)
		}, 0, failover.CodeBranchRan},
		{"started by a person long after its host", func(l *log, c *failover.Copy) {
			c.Running, c.Booted, c.Since = true, ago(l, 20*time.Minute), ago(l, time.Minute)
		}, 0, failover.CodeBranchRan},
		{"started within the moment in which its guest moved", func(l *log, c *failover.Copy) {
			p := l.s.Guests[movedGuest]
			p.Owned = ago(l, 2*time.Minute)
			l.s.Guests[movedGuest], l.snapshot = p, ""
			c.Running, c.Booted, c.Since = true, p.Owned.Add(time.Second), p.Owned.Add(10*time.Second)
		}, 0, failover.CodeBranchRan},
		{"of a host that does not say since when it runs", func(l *log, c *failover.Copy) {
			c.Running, c.Since = true, ago(l, time.Minute)
		}, 0, failover.CodeBranchRan},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := movedLog(t, network.OwnerRaoull, "leave")
			l.must(report(l.s, "moulin", func(*failover.Observation) {})) // it is heard again
			l.seen("moulin", func(c *failover.Copy) { tt.seen(l, c) })
			p := l.s.Guests[movedGuest]
			if p.Branch == nil || p.Branch.Reason.Code != tt.want || p.Branch.Site != "moulin" || p.Branch.Epoch != (failover.Epoch{}) {
				t.Fatalf("branch %+v, want %s at moulin of the zero epoch", p.Branch, tt.want)
			}
			if last := l.s.Events[len(l.s.Events)-1]; last.Reason.Code != tt.want || last.Guest != movedGuest {
				t.Errorf("last event %+v, want %s", last, tt.want)
			}
			events := len(l.s.Events)
			l.now = l.now.Add(time.Minute)
			l.seen("moulin", func(c *failover.Copy) { tt.seen(&log{now: l.now.Add(-time.Minute), s: l.s}, c) })
			if len(l.s.Events) != events {
				t.Error("the same was told twice")
			}
		})
	}
}

// TestCopiesOfAGuestThatMovedTwice: all copies are looked at, each by its site, and the
// one that was left last is the branch.
func TestCopiesOfAGuestThatMovedTwice(t *testing.T) {
	l := movedLog(t, network.OwnerStructure, "leave")
	first := l.s.Guests[movedGuest]
	if got := l.s.CopiesAt("fabrique"); len(got) != 0 {
		t.Fatalf("copies at fabrique: %v, want none", got)
	}
	again := first
	again.Owner, again.Host, again.Epoch.Index, again.Former = "fabrique", "raoull-fabrique", l.s.Index, []failover.Place{first.Now()}
	l.s.Guests[movedGuest], l.snapshot = again, ""
	for _, site := range []failover.SiteID{"moulin", "quai", "fabrique"} {
		l.seen(site, func(c *failover.Copy) { c.Running, c.Since = true, l.now })
	}
	copies := l.s.CopiesOf(movedGuest)
	if len(copies) != 3 || copies[0].Superseded || copies[0].Site != "fabrique" || !copies[1].Superseded || !copies[2].Superseded {
		t.Fatalf("copies %+v, want three, the owner's at fabrique first", copies)
	}
	if b := l.s.Guests[movedGuest].Branch; b == nil || b.Site != "quai" || b.VMID != first.VMID || b.Epoch != first.Epoch {
		t.Errorf("branch %+v, want the copy %d at quai of epoch %s", b, first.VMID, first.Epoch)
	}
	if err := l.apply(failover.ReportCopies{Copies: failover.SiteCopies{Site: "quai", Copies: l.s.CopiesAt("moulin")}}); err == nil {
		t.Error("quai may tell of copies at moulin")
	}
}
