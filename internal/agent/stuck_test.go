package agent_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
)

// newStuckRig is a network in which a guest of moulin is stuck at quai: its copy there declares a
// machine that its host does not have. Its copy at home runs.
func newStuckRig(t *testing.T) *backRig {
	t.Helper()
	b := newHomeRig(t, nil)
	b.spoilt()
	b.failOver()
	if op, p := b.op(), b.log.state.Guests[guest]; op.Phase != failover.OpStuck || p.Phase != failover.PhaseStuck || p.Owner != away {
		t.Fatalf("the failover ended %s: %s; placement %+v", op.Phase, b.note(), p)
	}
	return b
}

// spoilt gives the copy at quai, once it is restored, what its host refuses.
func (b *backRig) spoilt() {
	check := b.log.confirm
	b.log.confirm = func(t failover.Token) error {
		if t.Step == failover.StepStart && b.log.state.Ops[t.Op].Kind == failover.KindFailover {
			b.lab(b.pve.SetOption(awayID, "machine", "pc-q35-99.0"))
		}
		if check != nil {
			return check(t)
		}
		return b.log.state.TokenCurrent(t)
	}
}

// byHandAway has a person get the copy at quai to start, and put it off again.
func (b *backRig) byHandAway() {
	b.t.Helper()
	b.lab(b.pve.SetOption(awayID, "machine", "pc-q35-8.1"))
	b.lab(b.pve.StartGuest(awayID, b.now))
	for range 20 {
		b.step()
	}
	b.lab(b.pve.StopGuest(awayID, b.now))
	b.step()
}

// each is called at every step.
type each func(now time.Time)

func (f each) Advance(now time.Time) { f(now) }

func (b *backRig) isHome() {
	b.t.Helper()
	p := b.log.state.Guests[guest]
	kept, _ := b.homePVE.Guest(homeID)
	if p.Owner != home || p.VMID != homeID || p.Phase != failover.PhaseHome || p.Serving != home || !kept.Running {
		b.t.Errorf("placement %+v, running %t; want at home", p, kept.Running)
	}
	for _, op := range sortedOps(b.log.state) {
		if op.Phase != failover.OpDone && op.Phase != failover.OpCancelled {
			b.t.Errorf("%s %s is %s", op.Kind, op.ID, op.Phase)
		}
	}
	for _, s := range b.pbs.Snapshots("moulin") {
		if s.Protected {
			b.t.Errorf("its restore point %s stays protected", s.Name())
		}
	}
}

// TestStuckCopyThatNeverRanIsRemoved: its host proves that every start was refused, so nothing is
// sealed, and it goes once its guest serves at home.
func TestStuckCopyThatNeverRanIsRemoved(t *testing.T) {
	b := newStuckRig(t)
	b.failback(failover.KeepHome)
	b.ended()
	b.isHome()
	if _, there := b.pve.Guest(awayID); there {
		t.Error("its copy at quai is still there")
	}
	if n := len(b.pbs.Snapshots(nsSealed)) + len(b.homePBS.Snapshots(nsSealed)); n > 0 {
		t.Errorf("%d sealed backups of what never ran", n)
	}
}

// TestStuckCopyThatIsGone: somebody has deleted it; there is nothing to seal, and nothing to remove.
func TestStuckCopyThatIsGone(t *testing.T) {
	b := newStuckRig(t)
	b.lab(b.pve.RemoveGuest(awayID, b.now))
	b.failback(failover.KeepHome)
	b.ended()
	b.isHome()
}

// TestStuckCopyThatRanIsSealed: who has started it may have written to it, whether it runs still
// or not.
func TestStuckCopyThatRanIsSealed(t *testing.T) {
	b := newStuckRig(t)
	b.byHandAway()
	b.failback(failover.KeepHome)
	b.ended()
	b.isHome()
	b.sealedAt(awayID)
	if g, there := b.pve.Guest(awayID); !there || g.Running {
		t.Errorf("its copy at quai: there %t, running %t; want it kept, off", there, g.Running)
	}
}

// TestStuckAfterALiveRestoreIsSealed: a live restore starts a VM without a task of its own. One whose host
// lost its power right after that, and refuses to start it again, has run all the same.
func TestStuckAfterALiveRestoreIsSealed(t *testing.T) {
	b := newHomeRig(t, nil)
	b.live = true
	b.more = append(b.more, each(func(now time.Time) {
		g, there := b.pve.Guest(awayID)
		live, _ := b.run().Step(failover.StepLive)
		switch {
		case b.op().Kind != failover.KindFailover || !there || live.Status != failover.StatusDone:
		case g.Lock != "": // its disks follow, and nobody has checked it yet
			b.silentAt = "pve:quai"
		case g.Running:
			b.lab(b.pve.SetOption(awayID, "machine", "pc-q35-99.0"))
			b.pve.PowerLoss(now)
			b.pve.PowerOn(now)
			b.silentAt = ""
		}
	}))
	b.failOver()
	if op, p := b.op(), b.log.state.Guests[guest]; op.Phase != failover.OpStuck || p.Phase != failover.PhaseStuck || p.Owner != away {
		t.Fatalf("the failover ended %s: %s; placement %+v", op.Phase, b.note(), p)
	}
	b.failback(failover.KeepHome)
	b.ended()
	b.isHome()
	b.sealedAt(awayID)
	if _, there := b.pve.Guest(awayID); !there {
		t.Error("its copy at quai is gone")
	}
}

// TestStuckCopyThatRanStaysWithoutPlaces: where no two sites can keep what it may hold, nothing
// moves, and the reason is told.
func TestStuckCopyThatRanStaysWithoutPlaces(t *testing.T) {
	b := newStuckRig(t)
	spec := backSpec()
	for _, site := range []failover.SiteID{home, away} {
		for id, h := range spec.Sites[site].Hosts {
			h.Lineages = nil
			spec.Sites[site].Hosts[id] = h
		}
	}
	b.must(failover.ApplyNetwork{Spec: spec, IfVersion: b.log.state.NetworkVersion})
	b.byHandAway()
	b.failback(failover.KeepHome)
	op := b.ended()
	if note := op.Guests[guest].Back.Args["note"]; op.Phase != failover.OpCancelled || !strings.Contains(note, "no two places to seal it") {
		t.Errorf("ended %s, back for %q", op.Phase, note)
	}
	if p := b.log.state.Guests[guest]; p.Phase != failover.PhaseStuck || p.Owner != away {
		t.Errorf("placement %+v, want stuck as before", p)
	}
}

// TestStuckCopyStartedOnTheWay: a start between the look and the entry that gives its guest home
// has all taken back; a start after it leaves the copy alone, for a person.
func TestStuckCopyStartedOnTheWay(t *testing.T) {
	b := newStuckRig(t)
	b.failback(failover.KeepHome)
	b.until("unpark running")
	b.byHandAway()
	if op := b.ended(); op.Phase != failover.OpCancelled || b.log.state.Guests[guest].Phase != failover.PhaseStuck {
		t.Errorf("ended %s, the guest is %s; want it stuck as before", op.Phase, b.log.state.Guests[guest].Phase)
	}
	if g, there := b.pve.Guest(awayID); !there || g.Running {
		t.Errorf("the copy at quai: there %t, running %t", there, g.Running)
	}

	b = newStuckRig(t)
	b.failback(failover.KeepHome)
	b.until("start pending")
	b.byHandAway()
	b.ended()
	if _, there := b.pve.Guest(awayID); !there {
		t.Error("the copy at quai, which somebody has started, is deleted")
	}
	stuck := slices.ContainsFunc(sortedOps(b.log.state), func(o failover.Operation) bool {
		step, _, _ := o.Guests[guest].Current()
		return o.Kind == failover.KindTidy && o.Phase == failover.OpStuck && strings.Contains(step.Note, "was started")
	})
	if !stuck {
		t.Error("nobody is called to look into it")
	}
}

// TestForeignGuestUnderTheIDOfAStuckCopy is left alone, and its people are asked whose it is.
func TestForeignGuestUnderTheIDOfAStuckCopy(t *testing.T) {
	b := newStuckRig(t)
	b.lab(b.pve.SetOption(awayID, "description", "mine"))
	b.failback(failover.KeepHome)
	op := b.ended()
	if note := op.Guests[guest].Back.Args["note"]; op.Phase != failover.OpCancelled || !strings.Contains(note, "does not carry our marker") {
		t.Errorf("ended %s, back for %q", op.Phase, note)
	}
}

// TestStuckWithTheRestOfARestore: its copy was deleted before it ever started, and the host lost its
// power while it was restored once more. What is left never ran; its guest comes home, and a person
// takes the lock away that keeps the rest from being removed.
func TestStuckWithTheRestOfARestore(t *testing.T) {
	b := newStuckRig(t)
	stuck := b.op().ID
	b.lab(b.pve.RemoveGuest(awayID, b.now))
	b.must(failover.RetryOp{Op: stuck}) // it is gone
	b.ended()
	b.must(failover.RetryOp{Op: stuck})
	b.until("restore running")
	for range 6 {
		b.step()
	}
	b.pve.PowerLoss(b.now)
	b.pve.PowerOn(b.now)
	if b.ended(); b.log.state.Guests[guest].Phase != failover.PhaseStuck {
		t.Fatalf("at %s: %s, want stuck again", b.status(), b.note())
	}
	if g, there := b.pve.Guest(awayID); !there || g.Lock != "create" {
		t.Fatalf("under its id: there %t, lock %q; want the rest of a restore", there, g.Lock)
	}
	b.failback(failover.KeepHome)
	b.ended()
	if p := b.log.state.Guests[guest]; p.Owner != home || p.Phase != failover.PhaseHome {
		t.Fatalf("placement %+v, want at home", p)
	}
	for _, op := range sortedOps(b.log.state) {
		if step, _, _ := op.Guests[guest].Current(); op.Kind == failover.KindTidy && !strings.Contains(step.Note, "unlock") {
			t.Errorf("the cleanup is %s: %q, want to be told what to type", op.Phase, step.Note)
		}
	}
}
