package failover_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/message"
	"github.com/raoull/worldwidewelsh/internal/network"
)

// hookPlay is movePlay with a program before and one after for a guest.
func hookPlay(t *testing.T, veto bool) *play {
	t.Helper()
	p := movePlay(t)
	spec := *p.s.Network
	spec.Guests = maps.Clone(spec.Guests)
	g := spec.Guests[hooked]
	g.Hooks = &network.Hooks{Before: &network.Hook{Run: "ask", Veto: veto}, After: &network.Hook{Run: "tell"}}
	spec.Guests[hooked] = g
	p.must(failover.ApplyNetwork{Spec: spec.WithDefaults(), IfVersion: p.s.NetworkVersion})
	return p
}

const hooked = failover.GuestID("nextcloud-moulin")

func (p *play) failed(g failover.GuestID, kind failover.Failure, to failover.StepStatus) {
	p.t.Helper()
	op := p.opOf(g)
	step, _, _ := op.Guests[g].Current()
	token := op.TokenOf(g)
	p.must(failover.StepMoved{Token: token, Attempt: step.Attempt + 1, To: failover.StatusRunning})
	p.must(failover.StepMoved{Token: token, Attempt: step.Attempt + 1, To: to, Failure: kind, Note: "no"})
}

// Where the programs stand in the way of each kind: before what cannot be taken back,
// and after the guest serves.
func TestHooksStandWhereTheyCanStillStopIt(t *testing.T) {
	for kind, begin := range map[string]func(*play) failover.BeginOp{
		"failover": func(p *play) failover.BeginOp {
			loss := failover.Loss{Site: "moulin", ByHand: true}
			return failover.BeginOp{Kind: failover.KindFailover, Domain: failover.SiteDomain("moulin"), Plan: failover.PlanFor(p.s, loss, p.now), Forced: true}
		},
		"switchover": func(p *play) failover.BeginOp {
			loss := failover.Loss{Site: "moulin", ByHand: true, Planned: true}
			return failover.BeginOp{Kind: failover.KindSwitchover, Plan: failover.PlanFor(p.s, loss, p.now), Forced: true}
		},
	} {
		p := hookPlay(t, true)
		p.must(begin(p))
		var ids []failover.StepID
		for _, st := range p.opOf(hooked).Guests[hooked].Steps {
			ids = append(ids, st.ID)
		}
		next := map[string]failover.StepID{"failover": failover.StepOwn, "switchover": failover.StepShutdown}[kind]
		before, after := slices.Index(ids, failover.StepBefore), slices.Index(ids, failover.StepAfter)
		if before < 0 || ids[before+1] != next || after < 0 || ids[after-1] != failover.StepServe {
			t.Errorf("%s: steps %v, want before right before %s, and after right after serve", kind, ids, next)
		}
		if other := p.newest().Guests["compta-moulin"]; len(other.Steps) != len(ids)-2 {
			t.Errorf("%s: a guest without hooks has the steps %v", kind, other.Steps)
		}
	}
}

// A program with a veto stops a failover of its guest, of no other; a person asks again.
func TestVetoStopsAFailover(t *testing.T) {
	p := hookPlay(t, true)
	loss := failover.Loss{Site: "moulin", Guests: []failover.GuestID{hooked}, ByHand: true}
	p.must(failover.BeginOp{Kind: failover.KindFailover, Domain: failover.SiteDomain("moulin"), Plan: failover.PlanFor(p.s, loss, p.now), Forced: true})
	p.done(hooked, failover.StepBefore)
	op := p.opOf(hooked)
	p.failed(hooked, failover.FailHook, failover.StatusFailed)
	c, ok := p.decided().(failover.Stick)
	if !ok || c.Reason.Code != failover.CodeHookVeto || c.Reason.Args["program"] != "ask" {
		t.Fatalf("decided %+v, want stuck by the veto of ask", p.decided())
	}
	if text := message.Text(message.English, c.Reason.Code, c.Reason.Args); !strings.Contains(text, "when that is settled: wwwctl op retry "+string(op.ID)) {
		t.Errorf("a person is told %q, want what to type", text)
	}
	p.must(c)
	p.must(failover.RetryOp{Op: op.ID})
	if step, _, _ := p.opOf(hooked).Guests[hooked].Current(); step.ID != failover.StepBefore || step.Attempt != 0 {
		t.Errorf("after a person's retry: %+v, want the program to be asked anew", step)
	}
	p.done(hooked, failover.StepAfter)
	p.failed(hooked, failover.FailHook, failover.StatusDone)
	p.done(hooked, "")
	if got := p.s.Events[len(p.s.Events)-1].Reason.Code; !p.told(failover.CodeHookFailed) || !p.told(failover.CodeHookRan) {
		t.Errorf("no event of both programs; the last is %s", got)
	}
}

func (p *play) told(code string) bool {
	return slices.ContainsFunc(p.s.Events, func(e failover.Event) bool { return e.Reason.Code == code })
}

// In a planned move a veto takes the structure back while all of it still serves.
func TestVetoTakesAMoveBackBeforeAnythingIsShutDown(t *testing.T) {
	p := hookPlay(t, true)
	p.move(hooked, "compta-moulin")
	p.done("compta-moulin", failover.StepShutdown)
	p.done(hooked, failover.StepBefore)
	if p.runs("compta-moulin", "moulin") {
		t.Error("a guest of the structure may be shut down before the program of another was asked")
	}
	id := p.opOf(hooked).ID
	p.failed(hooked, failover.FailHook, failover.StatusFailed)
	c, ok := p.decided().(failover.CancelOp)
	if !ok || c.Reason.Code != failover.CodeHookVeto {
		t.Fatalf("decided %+v, want the move taken back by the veto", p.decided())
	}
	p.must(c)
	text := message.Text(message.English, c.Reason.Code, c.Reason.Args)
	if err := p.apply(failover.RetryOp{Op: id}); err == nil || !strings.Contains(text, "was taken back: type it again") {
		t.Errorf("a person is told %q, and a retry gives %v; want it refused, and what to type instead told", text, err)
	}
	for g, run := range p.s.Ops[id].Guests {
		if run.State != failover.RunCancelled || len(run.Steps) != 0 || p.s.Guests[g].Owner != "moulin" {
			t.Errorf("%s: %s with steps %v, owner %s; want untouched at home", g, run.State, run.Steps, p.s.Guests[g].Owner)
		}
	}
}

// Nobody is asked for a guest before it is admitted: the preparation of a countdown has no effects.
func TestProgramsWaitForAdmission(t *testing.T) {
	p := hookPlay(t, false)
	loss := failover.Loss{Site: "moulin", Guests: []failover.GuestID{hooked}}
	p.must(failover.BeginOp{Kind: failover.KindFailover, Domain: failover.SiteDomain("moulin"), Plan: failover.PlanFor(p.s, loss, p.now)})
	p.done(hooked, failover.StepBefore)
	token, target := p.opOf(hooked).TokenOf(hooked), p.opOf(hooked).Guests[hooked].Assignment.Target
	p.must(failover.StepMoved{Token: token, Attempt: 1, To: failover.StatusRunning})
	if err := p.s.TokenCurrent(token); err == nil || p.runs(hooked, target) {
		t.Errorf("runnable %t, confirmed by the leader %t; want neither", p.runs(hooked, target), err == nil)
	}
}
