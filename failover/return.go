package failover

import (
	"fmt"
	"time"

	"github.com/raoull/worldwidewelsh/internal/network"
)

// BeginReturn has the agent of a site that is back shut a superseded copy down
// cleanly: one that its host has started, or will start with itself, although
// the guest is served elsewhere. Its disks stay as they are.
type BeginReturn struct {
	Guest GuestID `json:"guest"`
}

func (c BeginReturn) apply(s *State, st Stamp) error {
	if s.Network == nil {
		return reject(CodeNoNetwork)
	}
	p, ok := s.Guests[c.Guest]
	switch {
	case !ok:
		return reject(CodeUnknownGuest, "guest", string(c.Guest))
	case !s.standsDown(c.Guest):
		return reject(CodeNothing, "what", "superseded copy to shut down", "guest", string(c.Guest))
	}
	guest, b := s.Network.Guests[c.Guest], *p.Branch
	a := Assignment{
		Guest: c.Guest, Structure: guest.Structure, Priority: guest.Priority, Target: b.Site, Host: b.Host,
		VLAN: s.Network.Structures[guest.Structure].VLAN, Automatic: true,
	}
	op := Operation{
		ID: OpID(fmt.Sprintf("op-%d", st.Index)), Kind: KindReturn, Phase: OpReleasing, Begun: st, ReleaseAt: st.At,
		Plan: Plan{Loss: Loss{Site: b.Site, Guests: []GuestID{c.Guest}}, Assignments: []Assignment{a}},
		Guests: map[GuestID]GuestRun{c.Guest: {
			State: RunActive, Assignment: a, VMID: b.VMID, Token: st.Index, Admitted: st.Index, Steps: pendingSteps(StepShutdown),
			Source: Source{Site: b.Site, Host: b.Host, VMID: b.VMID, Epoch: p.Epoch, Off: b.Reason.Code == CodeBranchOff},
		}},
	}
	b.Op = op.ID
	p.Branch = &b
	s.Guests[c.Guest], s.Ops[op.ID] = p, op
	s.event(st, because(CodeReturnBegun, "guest", string(c.Guest), "site", string(b.Site), "host", string(b.Host), "id", fmt.Sprint(b.VMID), "op", string(op.ID)),
		Event{Op: op.ID, Guest: c.Guest, Site: b.Site})
	s.dropOldOps()
	return nil
}

// standsDown says whether the copy that a guest has left last is to be shut
// down now. Each is at most once in an epoch: who starts it again means it.
func (s *State) standsDown(g GuestID) bool {
	p := s.Guests[g]
	b := p.Branch
	if b == nil || b.Op != "" || p.Op != "" || p.Parked || p.Serving != p.Owner || p.Phase != PhaseAway && p.Phase != PhaseDiverged {
		return false
	}
	if _, busy := s.revivedBy(g); busy {
		return false // a failback that was given up is about to start it again
	}
	started := b.Reason.Code == CodeBranchBooted
	will := b.Reason.Code == CodeBranchOff && b.OnBoot
	return (started || will) && s.mayStop(g, b.Place)
}

// mayStop says whether a superseded copy may be shut down at all: on Raoull's
// hosts, and on a structure's if the structure says so (R23).
func (s *State) mayStop(g GuestID, at Place) bool {
	host, ok := s.Network.Sites[at.Site].Hosts[at.Host]
	return ok && (host.Owner == network.OwnerRaoull || s.Network.Structures[s.Network.Guests[g].Structure].OnReturn == "stop")
}

// stillSuperseded says whether a run's copy is the one that was to be shut down,
// and its guest is still served by the same other one.
func (s *State) stillSuperseded(run GuestRun) bool {
	p, from := s.Guests[run.Assignment.Guest], run.Source
	return p.Epoch == from.Epoch && p.Serving == p.Owner && !p.Now().same(Place{Site: from.Site, Host: from.Host, VMID: from.VMID})
}

// mayShutDown says whether a run may shut its guest's copy down.
func (s *State) mayShutDown(op Operation, run GuestRun) bool {
	if op.Kind == KindReturn {
		return s.stillSuperseded(run)
	}
	p, from := s.Guests[run.Assignment.Guest], run.Source
	return run.Admitted != 0 && p.Owner == from.Site && p.Epoch == from.Epoch
}

// chosen says whether an operation is about to give a guest to a copy that it has left, which is not
// to be shut down then.
func (s *State) chosen(g GuestID) bool {
	run, ok := s.Ops[s.Guests[g].Op].Guests[g]
	return ok && run.Assignment.Keep.Stays()
}

// standingDown says whether the return of a site is shutting a guest's copy down just now.
func (s *State) standingDown(g GuestID) bool {
	for _, op := range s.Ops {
		if op.Kind != KindReturn || op.Phase.Ended() {
			continue
		}
		if step, _, left := op.Guests[g].Current(); left && step.Status == StatusRunning {
			return true
		}
	}
	return false
}

// unsettled counts the superseded copies at a site that we may shut down and that
// were not looked at since its agent was heard again, or are still to be shut down.
func (s *State) unsettled(site SiteID) int {
	n := 0
	seen := s.Copies[site].Stamp.Index
	for _, c := range s.CopiesAt(site) {
		p := s.Guests[c.Guest]
		if c.same(p.Now()) || !s.mayStop(c.Guest, c.Place) {
			continue
		}
		looked := seen > max(s.Reports[site].Back.Index, p.Epoch.Index)
		if open := p.Branch != nil && p.Branch.Op != "" && !s.Ops[p.Branch.Op].Phase.Ended(); !looked || open || s.standsDown(c.Guest) {
			n++
		}
	}
	return n
}

// stoodDown draws the consequences of a move of the only step of a return.
func (s *State) stoodDown(run *GuestRun, c StepMoved, st Stamp) {
	if c.To != StatusDone {
		return
	}
	run.State = RunDone
	p := s.Guests[c.Token.Guest]
	if p.Branch == nil || p.Branch.Op != c.Token.Op {
		return
	}
	b := *p.Branch
	if run.Source.Off && run.Source.Ran {
		// Started since it was last told of, by its host or by a person: the next look at it tells which.
		b.Op, b.Reason = "", Reason{}
		p.Branch = &b
		s.Guests[c.Token.Guest] = p
		return
	}
	b.Stopped, b.OnBoot, b.Since = st, run.Source.OnBoot, time.Time{}
	b.Reason, b.At = branchReason(CodeBranchStopped, c.Token.Guest, b.Place), st
	p.Branch = &b
	s.Guests[c.Token.Guest] = p
	s.event(st, b.Reason, Event{Op: c.Token.Op, Guest: c.Token.Guest, Site: b.Site})
}

// dropReturns ends the work of shutting a copy down whose guest moves again.
func (s *State) dropReturns(g GuestID, st Stamp) {
	s.dropRuns(g, st, func(op Operation, _ GuestRun) bool { return op.Kind == KindReturn && !op.Phase.Ended() })
}

// dropRuns ends what a guest's runs of some kind have left to do.
func (s *State) dropRuns(g GuestID, st Stamp, which func(Operation, GuestRun) bool) {
	for _, id := range sortedKeys(s.Ops) {
		op := s.Ops[id]
		run, ok := op.Guests[g]
		if !ok || !which(op, run) {
			continue
		}
		op = op.edit()
		run.Steps, run.Token, run.State, run.Stuck = nil, st.Index, RunCancelled, Reason{}
		op.Guests[g] = run
		s.Ops[id] = op
	}
}

// returned has superseded copies shut down that their hosts have started.
func (d *decider) returned() {
	for _, g := range sortedKeys(d.s.Guests) {
		b := d.s.Guests[g].Branch
		if b == nil || !d.s.standsDown(g) || d.verdicts[SiteDomain(b.Site)].Cause != CauseUp {
			continue
		}
		if pause, paused := d.s.PausedAt(b.Site, d.now); paused {
			d.why(because(CodePaused, "site", string(b.Site), "reason", pause.Reason))
			continue
		}
		d.propose(BeginReturn{Guest: g})
		return
	}
}

// checkReturns: S9, a copy is shut down at its site's return only on Raoull's
// hosts or where the structure says so; S3, only while another one serves.
func checkReturns(prev, next *State) error {
	for _, id := range next.opOrder() {
		op := next.Ops[id]
		if op.Kind != KindReturn {
			continue
		}
		for _, g := range sortedKeys(op.Guests) {
			run, p := op.Guests[g], next.Guests[g]
			step, _, left := run.Current()
			if before, _, _ := prev.Ops[id].Guests[g].Current(); !left || step.Status != StatusRunning || before.Status == StatusRunning {
				continue
			}
			host := next.Network.Sites[run.Source.Site].Hosts[run.Source.Host]
			if host.Owner != "raoull" && next.Network.Structures[next.Network.Guests[g].Structure].OnReturn != "stop" {
				return violated("S9", "the copy of %s on %s is shut down, which is its structure's", g, run.Source.Host)
			}
			if p.Serving != p.Owner || p.Host == run.Source.Host && p.VMID == run.Source.VMID {
				return violated("S3", "the copy of %s on %s is shut down and none is served elsewhere", g, run.Source.Host)
			}
		}
	}
	return nil
}
