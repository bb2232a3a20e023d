package failover

import (
	"fmt"
	"time"
)

// A copy away from home does not start with its host: only the log knows whether it still
// is the one that counts. So after a power cut at its site the agent there starts it, once
// for each start of its host, as Proxmox does with what has onboot set.

// BeginWake has the agent of the site that owns a guest start it again.
type BeginWake struct {
	Guest GuestID `json:"guest"`
}

// sameBoot is by how much two times of one start of a host may differ.
const sameBoot = time.Minute

// asleep returns the copy of a guest that lives away, if its host has started since it was
// last seen to run and it has not. What was seen to run since then and is off was stopped by
// a person.
func (s *State) asleep(g GuestID) (Copy, bool) {
	p := s.Guests[g]
	lives := !s.AtHome(g) && p.Op == "" && p.Serving == p.Owner && (p.Phase == PhaseAway || p.Phase == PhaseDiverged)
	told := s.Copies[p.Owner]
	if !lives || told.Stamp.Index <= s.Reports[p.Owner].Back.Index || told.Copies.AsOf < p.Epoch.Index {
		return Copy{}, false
	}
	if _, busy := s.revivedBy(g); busy {
		return Copy{}, false
	}
	for _, c := range told.Copies.Copies {
		if c.Guest != g || !c.same(p.Now()) {
			continue
		}
		since := p.Owned
		if p.Booted.After(since) {
			since = p.Booted.Add(sameBoot)
		}
		return c, c.Unread == "" && !c.Running && c.Booted.After(since)
	}
	return Copy{}, false
}

// ranSince remembers for which start of its host the copy that counts was seen to run.
func (s *State) ranSince(seen Copy, asOf uint64) {
	p, ok := s.Guests[seen.Guest]
	if !ok || !seen.Running || seen.Booted.IsZero() || !seen.same(p.Now()) || asOf < p.Epoch.Index || p.Booted.Equal(seen.Booted) {
		return
	}
	p.Booted = seen.Booted
	s.Guests[seen.Guest] = p
}

func (c BeginWake) apply(s *State, st Stamp) error {
	if s.Network == nil {
		return reject(CodeNoNetwork)
	}
	seen, asleep := s.asleep(c.Guest)
	if !asleep {
		return reject(CodeNothing, "what", "guest to start again", "guest", string(c.Guest))
	}
	op := s.beginWake(c.Guest, st)
	p := s.Guests[c.Guest]
	p.Booted = seen.Booted
	s.Guests[c.Guest] = p
	s.event(st, because(CodeAwayWoken, "guest", string(c.Guest), "site", string(p.Owner), "op", string(op)), Event{Op: op, Guest: c.Guest, Site: p.Owner})
	s.dropOldOps()
	return nil
}

// woken draws the consequences of a move of the only step of a wake.
func (s *State) woken(run *GuestRun, c StepMoved, st Stamp) {
	if c.To != StatusDone {
		return
	}
	run.State = RunDone
	g := c.Token.Guest
	if p := s.Guests[g]; p.Phase == PhaseStuck && p.Op == "" {
		s.setPhase(g, s.homePhase(g), "", st)
	}
	s.event(st, because(CodeStarted, "guest", string(g), "site", string(run.Source.Site), "id", fmt.Sprint(run.VMID)), Event{Op: c.Token.Op, Guest: g, Site: run.Source.Site})
}

// wake has guests that live away started again after a start of their host, those first on
// which others depend.
func (d *decider) wake() {
	if len(d.s.Copies) == 0 {
		return // nothing has ever moved
	}
	for _, g := range sortedKeys(d.s.Guests) {
		site := d.s.Guests[g].Owner
		_, asleep := d.s.asleep(g)
		if !asleep || d.verdicts[SiteDomain(site)].Cause != CauseUp || d.followsSleeper(g) {
			continue
		}
		if pause, paused := d.s.PausedAt(site, d.now); paused {
			d.why(because(CodePaused, "site", string(site), "reason", pause.Reason))
			continue
		}
		if rest, resting := d.s.RestOf(HostDomain(d.s.Guests[g].Host)); resting {
			d.why(because(CodeMaintenance, "domain", string(HostDomain(d.s.Guests[g].Host)), "until", clockText(rest.Until)))
			continue
		}
		d.propose(BeginWake{Guest: g})
		return
	}
}

// followsSleeper says whether a guest depends on one that is to be started first.
func (d *decider) followsSleeper(g GuestID) bool {
	for _, dep := range d.s.Network.Guests[g].After {
		if _, asleep := d.s.asleep(dep); asleep {
			return true
		}
		if _, rising := d.s.revivedBy(dep); rising {
			return true
		}
	}
	return false
}

// checkWakes: S3, only the copy that counts is started again, at the site that owns it.
func checkWakes(prev, next *State) error {
	for _, id := range next.opOrder() {
		op := next.Ops[id]
		if op.Kind != KindWake {
			continue
		}
		for _, g := range sortedKeys(op.Guests) {
			run, p := op.Guests[g], next.Guests[g]
			step, _, left := run.Current()
			before, _, _ := prev.Ops[id].Guests[g].Current()
			if left && step.Status == StatusRunning && before.Status != StatusRunning && (p.Epoch != run.Source.Epoch || p.Owner != run.Source.Site || p.VMID != run.VMID) {
				return violated("S3", "%s is started again as %d at %s, it is %s's", g, run.VMID, run.Source.Site, p.Owner)
			}
		}
	}
	return nil
}
