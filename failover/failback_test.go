package failover_test

import (
	"encoding/json"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/network"
)

// apartPlay is movePlay with nextcloud-moulin and compta-moulin failed over to quai, moulin
// back, and all declared that a failback needs.
func apartPlay(t *testing.T) *play {
	t.Helper()
	p := movePlay(t)
	declareHomeward(p)
	loss := failover.Loss{Site: "moulin", Guests: []failover.GuestID{kept1, kept2}, Target: "quai", ByHand: true}
	plan := failover.PlanFor(p.s, loss, p.now)
	if len(plan.Assignments) != 2 {
		t.Fatalf("not both are failed over: %+v", plan)
	}
	p.must(failover.BeginOp{Kind: failover.KindFailover, Domain: "site:moulin", Plan: plan, Forced: true})
	p.done(kept1, failover.StepStart)
	p.done(kept2, failover.StepStart)
	p.done(kept1, "")
	p.done(kept2, "")
	p.settle()
	return p
}

// declareHomeward declares all that a failback needs, and has backups of both guests everywhere.
func declareHomeward(p *play) {
	p.t.Helper()
	p.redeclare(func(spec *network.Spec) {
		for site, hosts := range map[failover.SiteID][]failover.HostID{
			"moulin": {"pve-moulin", "raoull-moulin"}, "quai": {"raoull-quai"}, "fabrique": {"raoull-fabrique"},
		} {
			for _, id := range hosts {
				h := spec.Sites[site].Hosts[id]
				h.Lineages = map[network.SiteID]network.LineageStorages{"moulin": {Away: "pbs-away-moulin", Sealed: "pbs-sealed-moulin"}}
				if h.Restore != nil {
					h.Sources = map[network.SiteID][]string{"moulin": {"pbs-moulin"}}
				}
				if h.Restore == nil {
					h.Restore = &network.Restore{Storage: "local-zfs", Bridge: "vmbr0", IDs: network.IDRange{First: 1500, Last: 1599}, Parallel: 1}
				}
				spec.Sites[site].Hosts[id] = h
			}
		}
	})
	p.tell(func(r *failover.Readiness) {
		r.Points = maps.Clone(r.Points)
		for _, g := range []failover.GuestID{kept1, kept2} {
			point := restorePoint(g, p.now.Add(-time.Hour), gib)
			point.Namespace = "moulin"
			r.Points[g] = []failover.RestorePoint{point}
		}
	})
}

const (
	kept1 = failover.GuestID("nextcloud-moulin")
	kept2 = failover.GuestID("compta-moulin") // needs the first
)

// redeclare applies the network in force, changed.
func (p *play) redeclare(edit func(*network.Spec)) {
	p.t.Helper()
	text, err := json.Marshal(p.s.Network)
	if err != nil {
		p.t.Fatal(err)
	}
	var spec network.Spec
	if err := json.Unmarshal(text, &spec); err != nil {
		p.t.Fatal(err)
	}
	edit(&spec)
	p.must(failover.ApplyNetwork{Spec: &spec, IfVersion: p.s.NetworkVersion})
}

func (p *play) failbackPlan(keep failover.Keep, guests ...failover.GuestID) failover.Plan {
	return failover.PlanFor(p.s, failover.Loss{Site: "moulin", Guests: guests, Planned: true, ByHand: true, Keep: keep}, p.now)
}

func (p *play) failback(keep failover.Keep, guests ...failover.GuestID) failover.OpID {
	p.t.Helper()
	plan := p.failbackPlan(keep, guests...)
	if len(plan.LeftOut) > 0 {
		p.t.Fatalf("left out: %+v", plan.LeftOut)
	}
	p.must(failover.BeginOp{Kind: failover.KindFailback, Plan: plan, Forced: true})
	return p.newest().ID
}

// steps lists what is left of a guest's run.
func (p *play) steps(op failover.OpID, g failover.GuestID) []failover.StepID {
	var out []failover.StepID
	for _, s := range p.s.Ops[op].Guests[g].Steps {
		out = append(out, s.ID)
	}
	return out
}

// TestFailbackKeepsTheCopyThatServes: the copy at home is sealed and parked before anything
// else is touched, the other one moves home under another id, and that is the declared one.
func TestFailbackKeepsTheCopyThatServes(t *testing.T) {
	p := apartPlay(t)
	away := p.s.Guests[kept1]
	op := p.failback(failover.KeepAway, kept1, kept2)
	for _, at := range []struct {
		step failover.StepID
		site failover.SiteID
	}{
		{failover.StepLeave, "moulin"},
		{failover.StepSeal, "moulin"},
		{failover.StepSealVerify, "moulin"},
		{failover.StepSealCopy, "quai"},
		{failover.StepPark, "moulin"},
		{failover.StepReady, "moulin"},
	} {
		p.done(kept1, at.step)
		if !p.runs(kept1, at.site) {
			t.Fatalf("%s is not to do at %s", at.step, at.site)
		}
	}
	if seal := p.s.SealOf(kept1, p.s.HomePlace(kept1)); seal == nil || !slices.Equal(seal.Sites(), []failover.SiteID{"moulin", "quai"}) {
		t.Fatalf("the copy at home is parked and not sealed at two sites: %+v", seal)
	}
	p.done(kept1, failover.StepShutdown)
	p.done(kept2, failover.StepBackup)
	p.done(kept1, failover.StepStill)
	p.done(kept2, failover.StepStill)
	p.done(kept1, failover.StepOwn)
	p.done(kept2, failover.StepOwn)
	p.done(kept1, "")
	p.done(kept2, "")
	p.must(failover.EndOp{Op: op})
	now, g := p.s.Guests[kept1], p.s.Network.Guests[kept1]
	if now.Owner != "moulin" || now.Host != "pve-moulin" || now.VMID == 1101 || now.Serving != "moulin" || now.Phase != failover.PhaseHome {
		t.Fatalf("placement %+v, want at home under another id", now)
	}
	if g.ID != now.VMID || now.VMID != 1500 {
		t.Errorf("declared %d, runs as %d, want both 1500", g.ID, now.VMID)
	}
	if p.s.Guests[kept2].VMID != 1501 {
		t.Errorf("the second came home as %d, want 1501", p.s.Guests[kept2].VMID)
	}
	if !away.Epoch.Less(now.Epoch) || now.Point.Namespace != failover.AwayNamespace("moulin") {
		t.Errorf("epoch %s after %s, from %+v", now.Epoch, away.Epoch, now.Point)
	}
	places := map[int]bool{}
	for _, c := range p.s.CopiesAt("moulin") {
		if c.Guest == kept1 {
			places[c.VMID] = true
		}
	}
	if !places[1101] || !places[1500] {
		t.Errorf("moulin looks at %v, want the parked copy and the new one", places)
	}
	if got := p.decided(); got != nil {
		t.Errorf("decided %T after the failback, want nothing", got)
	}
}

// TestFailbackKeepsTheCopyAtHome: the copy that served is stopped and sealed, and the one
// at home goes on as it is.
func TestFailbackKeepsTheCopyAtHome(t *testing.T) {
	p := apartPlay(t)
	away := p.s.Guests[kept1].Now()
	op := p.failback(failover.KeepHome, kept1)
	want := []failover.StepID{
		failover.StepShutdown, failover.StepSeal, failover.StepSealVerify, failover.StepSealCopy, failover.StepUnpark, failover.StepStill,
		failover.StepOwn, failover.StepStart, failover.StepCheck, failover.StepServe, failover.StepSettle,
	}
	if got := p.steps(op, kept1); !slices.Equal(got, want) {
		t.Fatalf("steps %v, want %v", got, want)
	}
	p.done(kept1, failover.StepOwn)
	token := p.s.Ops[op].TokenOf(kept1)
	p.must(failover.Own{Token: token})
	p.done(kept1, "")
	p.must(failover.EndOp{Op: op})
	now := p.s.Guests[kept1]
	if now.Owner != "moulin" || now.VMID != 1101 || now.Phase != failover.PhaseHome || p.s.Network.Guests[kept1].ID != 1101 {
		t.Fatalf("placement %+v, want the copy that was left", now)
	}
	seal := p.s.SealOf(kept1, away)
	if seal == nil || !slices.Equal(seal.Sites(), []failover.SiteID{"quai", "moulin"}) {
		t.Fatalf("the copy that served is sealed as %+v, want at quai and moulin", seal)
	}
}

// TestFailbackTakenBack: until ownership moves, whatever fails leaves both copies serving
// whom they served; one that was off stays off.
func TestFailbackTakenBack(t *testing.T) {
	for _, tt := range []struct {
		name string
		ran  bool
		at   failover.StepID
		want []failover.StepID
	}{
		{"its seal, while the copy at home ran", true, failover.StepSeal, []failover.StepID{failover.StepRejoin}},
		{"its seal, while the copy at home was off", false, failover.StepSeal, nil},
		{"its restore", true, failover.StepRestore, []failover.StepID{failover.StepRevive, failover.StepRejoin}},
		{"its restore, while the copy at home was off", false, failover.StepRestore, []failover.StepID{failover.StepRevive}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := apartPlay(t)
			p.leftOff = !tt.ran
			op := p.failback(failover.KeepAway, kept1)
			p.done(kept1, tt.at)
			token := p.s.Ops[op].TokenOf(kept1)
			p.must(failover.StepMoved{Token: token, Attempt: 1, To: failover.StatusRunning})
			p.must(failover.StepMoved{Token: token, Attempt: 1, To: failover.StatusFailed, Failure: failover.FailTarget, Note: "full"})
			c, ok := p.decided().(failover.CancelOp)
			if !ok {
				t.Fatalf("decided %T, want that it is taken back", p.decided())
			}
			p.must(c)
			if got := p.steps(op, kept1); !slices.Equal(got, tt.want) {
				t.Fatalf("left to do %v, want %v", got, tt.want)
			}
			if at := p.s.Guests[kept1]; at.Owner != "quai" || at.Op != "" {
				t.Errorf("placement %+v, want free at quai", at)
			}
			sealed := p.s.SealOf(kept1, p.s.HomePlace(kept1)) != nil
			for range tt.want {
				step, _, _ := p.s.Ops[op].Guests[kept1].Current()
				site := failover.SiteID("quai")
				if step.ID == failover.StepRejoin {
					site = "moulin"
				}
				if !p.runs(kept1, site) {
					t.Fatalf("%s is not to do at %s", step.ID, site)
				}
				token := p.s.Ops[op].TokenOf(kept1)
				p.must(failover.StepMoved{Token: token, Attempt: 1, To: failover.StatusRunning})
				p.must(failover.StepMoved{Token: token, Attempt: 1, To: failover.StatusDone})
			}
			if still := p.s.SealOf(kept1, p.s.HomePlace(kept1)) != nil; still != (sealed && !tt.ran) {
				t.Errorf("sealed %t, then %t, although it runs again: %t", sealed, still, tt.ran)
			}
		})
	}
}

// TestFailbackUndoneAndDecidedOtherwise: undone, the guest is where it was, with all that
// was written at home meanwhile; keeping home then means the branch that was sealed.
func TestFailbackUndoneAndDecidedOtherwise(t *testing.T) {
	p := apartPlay(t)
	op := p.failback(failover.KeepAway, kept1)
	p.done(kept1, "")
	p.must(failover.EndOp{Op: op})
	base, came := p.s.CameFrom(kept1)
	if !came {
		t.Fatal("nothing says what it came home from")
	}
	p.tell(func(r *failover.Readiness) { r.Points = map[failover.GuestID][]failover.RestorePoint{kept1: {base}} })
	p.move(kept1)
	if point := p.newest().Plan.Assignments[0].Point; point.Namespace == base.Namespace {
		t.Errorf("its last backup from home is looked for in %s, where no job of its home's host writes", point.Namespace)
	}
	p.done(kept1, "")
	p.must(failover.EndOp{Op: p.newest().ID})
	if at := p.s.Guests[kept1]; at.Owner != "quai" {
		t.Fatalf("placement %+v, want at quai again", at)
	}
	branch, ok := p.s.HomeBranch(kept1)
	if !ok || branch.VMID != 1101 {
		t.Fatalf("the branch at home is %+v, want the one that was parked (1101): the other one's data moved", branch)
	}
	p.must(failover.ReportCopies{Copies: failover.SiteCopies{Site: "moulin", Copies: p.s.CopiesAt("moulin"), AsOf: p.s.Index}})
	op = p.failback(failover.KeepHome, kept1)
	p.done(kept1, "")
	p.must(failover.EndOp{Op: op})
	if at := p.s.Guests[kept1]; at.VMID != 1101 || p.s.Network.Guests[kept1].ID != 1101 {
		t.Fatalf("placement %+v, declared %d, want 1101", at, p.s.Network.Guests[kept1].ID)
	}
}

// TestFailbackIsRefused: with the reason, and what it would need.
func TestFailbackIsRefused(t *testing.T) {
	for _, tt := range []struct {
		name   string
		keep   failover.Keep
		change func(p *play)
		want   string
	}{
		{"home is dark", failover.KeepAway, func(p *play) { p.dark(time.Minute, "moulin"); p.settle() }, failover.CodeNotBack},
		{"no entries at the host that serves", failover.KeepAway, func(p *play) {
			p.redeclare(func(s *network.Spec) { unlineage(s, "quai", "raoull-quai") })
		}, failover.CodeNoLineage},
		{"no entries at home", failover.KeepAway, func(p *play) {
			p.redeclare(func(s *network.Spec) { unlineage(s, "moulin", "pve-moulin") })
		}, failover.CodeNoLineage},
		{"home takes nothing back", failover.KeepAway, func(p *play) {
			p.redeclare(func(s *network.Spec) {
				h := s.Sites["moulin"].Hosts["pve-moulin"]
				h.Restore, h.Lineages = nil, nil
				s.Sites["moulin"].Hosts["pve-moulin"] = h
			})
		}, failover.CodeNoWayBack},
		{"no second site", failover.KeepHome, func(p *play) {
			p.redeclare(func(s *network.Spec) {
				unlineage(s, "moulin", "raoull-moulin")
				unlineage(s, "fabrique", "raoull-fabrique")
			})
		}, failover.CodeNoVault},
		{"no copy at home", failover.KeepHome, func(p *play) {
			p.must(failover.ReportCopies{Copies: failover.SiteCopies{Site: "moulin", AsOf: p.s.Index, Copies: slices.DeleteFunc(
				p.s.CopiesAt("moulin"), func(c failover.Copy) bool { return c.Guest == kept1 })}})
		}, failover.CodeNoHomeCopy},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := apartPlay(t)
			good := p.failbackPlan(tt.keep, kept1)
			tt.change(p)
			plan := p.failbackPlan(tt.keep, kept1)
			if len(plan.Assignments) != 0 || plan.LeftOut[0].Reason.Code != tt.want {
				t.Fatalf("plan %+v, want that it is left out for %s", plan, tt.want)
			}
			if err := p.apply(failover.BeginOp{Kind: failover.KindFailback, Plan: good, Forced: true}); rejection(err) != tt.want {
				t.Errorf("begun with the plan of before: %v, want %s", err, tt.want)
			}
		})
	}
	p := apartPlay(t)
	if err := p.apply(failover.BeginOp{Kind: failover.KindFailback, Plan: p.failbackPlan(failover.KeepAway, kept1)}); rejection(err) != failover.CodeInvalid {
		t.Errorf("begun without a person: %v, want %s", err, failover.CodeInvalid)
	}
}

// TestFailbackWithoutACopyAtHome: nothing is left there, so there is nothing to seal.
func TestFailbackWithoutACopyAtHome(t *testing.T) {
	p := apartPlay(t)
	p.must(failover.ReportCopies{Copies: failover.SiteCopies{Site: "moulin", AsOf: p.s.Index, Copies: slices.DeleteFunc(
		p.s.CopiesAt("moulin"), func(c failover.Copy) bool { return c.Guest == kept1 })}})
	op := p.failback(failover.KeepAway, kept1)
	if got := p.steps(op, kept1)[0]; got != failover.StepReady {
		t.Fatalf("begins with %s, want %s", got, failover.StepReady)
	}
	p.done(kept1, "")
	p.must(failover.EndOp{Op: op})
	if at := p.s.Guests[kept1]; at.Owner != "moulin" || at.Phase != failover.PhaseHome {
		t.Errorf("placement %+v, want at home", at)
	}
}

// TestSealsAreAcknowledged: only by a person, and only when the guest is home.
func TestSealsAreAcknowledged(t *testing.T) {
	p := apartPlay(t)
	if err := p.apply(failover.AckSeal{Guest: kept1}); rejection(err) != failover.CodeStillAway {
		t.Errorf("while it is away: %v, want %s", err, failover.CodeStillAway)
	}
	op := p.failback(failover.KeepAway, kept1)
	p.done(kept1, "")
	p.must(failover.EndOp{Op: op})
	p.must(failover.AckSeal{Guest: kept1})
	var acked int
	for _, l := range p.s.LineagesOf(kept1) {
		if l.Sealed != nil && l.Sealed.Acked.Index == p.s.Index {
			acked++
		}
	}
	if acked != 1 {
		t.Errorf("%d seals acknowledged, want 1", acked)
	}
	if err := p.apply(failover.AckSeal{Guest: kept1}); rejection(err) != failover.CodeNothing {
		t.Errorf("twice: %v, want %s", err, failover.CodeNothing)
	}
}

func unlineage(s *network.Spec, site failover.SiteID, host failover.HostID) {
	h := s.Sites[site].Hosts[host]
	h.Lineages = nil
	s.Sites[site].Hosts[host] = h
}

// TestNetworkFromBeforeAFailback is refused: it would have the guest be the copy that was left.
func TestNetworkFromBeforeAFailback(t *testing.T) {
	p := apartPlay(t)
	op := p.failback(failover.KeepAway, kept1)
	p.done(kept1, "")
	p.must(failover.EndOp{Op: op})
	spec := *p.s.Network
	spec.Guests = maps.Clone(spec.Guests)
	g := spec.Guests[kept1]
	g.ID = 1101
	spec.Guests[kept1] = g
	if err := p.apply(failover.ApplyNetwork{Spec: &spec, IfVersion: p.s.NetworkVersion}); rejection(err) != failover.CodeOldCopy {
		t.Errorf("applied: %v, want %s", err, failover.CodeOldCopy)
	}
	g.ID = 1180
	spec.Guests[kept1] = g
	p.must(failover.ApplyNetwork{Spec: &spec, IfVersion: p.s.NetworkVersion})
}

// TestNoFailoverLeadsHome: a guest that lives away is not brought to Raoull's host of its
// home site when the one where it lives is lost: the copy that it left stands there, with
// the same address.
func TestNoFailoverLeadsHome(t *testing.T) {
	p := apartPlay(t)
	r := p.s.Readiness["quai"].Ready
	point := restorePoint(kept1, p.now, gib)
	for _, site := range []failover.SiteID{"moulin", "fabrique"} {
		r.Site, r.Host = site, failover.HostID("raoull-"+string(site))
		r.Points = map[failover.GuestID][]failover.RestorePoint{kept1: {point}}
		p.must(failover.ReportReadiness{Ready: r})
	}
	for _, byHand := range []bool{false, true} {
		loss := failover.Loss{Site: "quai", Guests: []failover.GuestID{kept1}, ByHand: byHand}
		plan := failover.PlanFor(p.s, loss, p.now)
		for _, a := range plan.Assignments {
			if a.Target == "moulin" {
				t.Errorf("by hand %t: %s is planned to go to its home", byHand, a.Guest)
			}
		}
		if byHand && len(plan.Assignments) == 1 {
			plan.Assignments[0].Target, plan.Assignments[0].Host = "moulin", "raoull-moulin"
			if err := p.apply(failover.BeginOp{Kind: failover.KindFailover, Domain: "site:quai", Plan: plan, Forced: true}); rejection(err) != failover.CodeNotTarget {
				t.Errorf("begun by hand: %v, want %s", err, failover.CodeNotTarget)
			}
		}
	}
	if plan := failover.PlanFor(p.s, failover.Loss{Site: "quai", Guests: []failover.GuestID{kept1}, ByHand: true}, p.now); len(plan.Assignments) != 1 {
		t.Fatalf("left out by hand: %+v, want at fabrique", plan.LeftOut)
	}
}
