package failover

import (
	"time"
)

// HoldCodes returns the code of every reason for which automation holds a
// failover back, or would (the metric wwwd_failover_blocked).
func HoldCodes() []string {
	return []string{
		CodeWaitApproval, CodePaused, CodeBlocked, CodeTooMany, CodeMassEvent, CodeVeto, CodeLoneSighting, CodeFewVotes, CodeTwoVoters,
		CodeOnePath, CodeOneUpstream, CodeHostByHand, CodeUnlockGrace, CodeMeshDown, CodeAsymmetric, CodeWeAreSick, CodeMaintenance,
		CodeCleaning, CodeNothing,
	}
}

// held says why nothing is done about a domain although it is not well.
func (d *decider) held(v Verdict) Reason {
	name := []string{"domain", string(v.Domain), "site", string(v.Site)}
	kind, _ := splitDomain(v.Domain)
	switch {
	case kind == "host" && v.Cause == CauseHostDown:
		return d.heldDeadHost(v)
	case !v.Hold.IsZero():
		return v.Hold
	case kind == "host":
		return d.heldHost(v)
	case v.Cause == CauseMeshDown:
		return because(CodeMeshDown, name...)
	case v.Cause == CauseAsymmetric:
		return because(CodeAsymmetric, name...)
	case v.Cause == CauseWeAreSick:
		return because(CodeWeAreSick, name...)
	case v.Cause != CauseLost || d.dealtWith(v.Domain) && d.emptied(v.Site):
		return Reason{}
	}
	if op, running := d.s.OpFor(v.Domain); running {
		return d.heldOp(op, v)
	}
	if r := d.brake(v); !r.IsZero() || v.Level < LevelPrepareB {
		return r
	}
	if ended, ok := d.endedFor(v.Domain); ok {
		return because(CodeBlocked, append(name, "op", string(ended.ID))...)
	}
	if len(d.automatic(v).Assignments) == 0 {
		return because(CodeNothing, name...)
	}
	return Reason{}
}

// heldOp says what an operation that answers to a lost domain waits for.
func (d *decider) heldOp(op Operation, v Verdict) Reason {
	name := []string{"domain", string(v.Domain), "site", string(v.Site), "op", string(op.ID)}
	if op.Phase != OpReleasing && !op.admits() && !d.leaves(op, v.Site) {
		return Reason{} // nothing of it waits for automation or a person
	}
	if r := d.brake(v); !r.IsZero() {
		return r
	}
	switch {
	case !op.Resumable() && !op.admits():
		return because(CodeCleaning, name...)
	case d.restHolds(op, v):
		return because(CodeMaintenance, name...)
	case len(op.Waiting()) > 0 && v.Silence >= d.shortestDelay(op):
		return because(CodeWaitApproval, name...)
	}
	return Reason{}
}

// leaves says whether an operation gave up guests that the site still owns: they
// wait until what was prepared for them is cleaned up.
func (d *decider) leaves(op Operation, site SiteID) bool {
	for g, run := range op.Guests {
		if run.State == RunCancelled && d.s.Guests[g].Owner == site && d.s.Guests[g].Op == op.ID {
			return true
		}
	}
	return false
}

// restHolds says whether guests of an operation are due and wait only since
// their own host is in maintenance.
func (d *decider) restHolds(op Operation, v Verdict) bool {
	for g, run := range op.Guests {
		_, resting := d.s.restOfGuest(g)
		if resting && run.State == RunActive && run.Admitted == 0 && run.Assignment.Automatic && v.Silence >= d.s.Network.CommitDelay(g) {
			return true
		}
	}
	return false
}

// heldHost gives people time to type the passphrase of a host that waits for
// it; then it is one that is down, which a person decides about.
func (d *decider) heldHost(v Verdict) Reason {
	_, host := splitDomain(v.Domain)
	name := []string{"domain", string(v.Domain), "site", string(v.Site)}
	if v.Cause != CauseLocked {
		return Reason{}
	}
	if left := d.s.unlockGrace(HostID(host)) - v.Silence; left > 0 {
		return because(CodeUnlockGrace, append(name, "until", clockText(d.now.Add(left)))...)
	}
	return because(CodeHostByHand, name...)
}

// heldDeadHost says what keeps automation from a host that most see nothing of: that
// there is nothing to do by itself, or what stops it.
func (d *decider) heldDeadHost(v Verdict) Reason {
	_, host := splitDomain(v.Domain)
	name := []string{"domain", string(v.Domain), "site", string(v.Site)}
	if op, running := d.s.OpFor(v.Domain); running {
		if op.Forced || v.Hold.IsZero() || op.Phase != OpReleasing && !op.admits() {
			return d.heldOp(op, v)
		}
		return v.Hold
	}
	switch r := d.brake(v); {
	case d.dealtWith(v.Domain) && d.leftAlone(HostID(host)):
		return Reason{}
	case len(d.automatic(v).Assignments) == 0 || d.dealtWith(v.Domain):
		return because(CodeHostByHand, name...)
	case !v.Hold.IsZero():
		return v.Hold
	default:
		return r
	}
}

// leftAlone says whether no guest that could be moved belongs to a host any more.
func (d *decider) leftAlone(h HostID) bool {
	for _, p := range d.s.Guests {
		if p.Host == h && p.Phase != PhaseExcluded {
			return false
		}
	}
	return true
}

// unlockGrace is the longest that one of the host's guests grants.
func (s *State) unlockGrace(h HostID) time.Duration {
	grace := s.Network.Policy.UnlockGrace.D()
	for g, p := range s.Guests {
		if p.Host == h {
			grace = max(grace, s.Network.PolicyOf(g).UnlockGrace.D())
		}
	}
	return grace
}

// brake is what stops automation for a lost domain, whatever the evidence.
func (d *decider) brake(v Verdict) Reason {
	name := []string{"domain", string(v.Domain), "site", string(v.Site)}
	if p, ok := d.s.PausedAt(v.Site, d.now); ok {
		return p.holds(because(CodePaused, name...))
	}
	if b, ok := d.s.Blocks[v.Domain]; ok && d.now.Before(b.Until) && !d.ownBlock(b) {
		return because(CodeBlocked, append(name, "op", string(b.Op), "until", clockText(b.Until))...)
	}
	most := d.s.Network.Policy.MaxDomains
	switch silent, running := d.troubled(v.Domain); {
	case silent+running <= most:
	case running >= most:
		return because(CodeTooMany, name...)
	default:
		return because(CodeMassEvent, name...)
	}
	return Reason{}
}

// ownBlock says whether a block is that of an operation still running: it does
// not stop its own work, unless a person ended that.
func (d *decider) ownBlock(b Block) bool {
	op, ok := d.s.Ops[b.Op]
	return ok && !op.Phase.Ended() && (op.Phase != OpReleasing || op.Cancelled.Code == CodeBack)
}

// troubled counts the sites that are suspected or lost, the dead hosts that have
// something to move, and those of both of which an automatic operation is still running
// (S6). A site that was failed over, or
// that had nothing to fail over and is dark for longer than the block period,
// does not count for ever: it is one known loss, not another one at once.
//
// An operation that had ended and that a person has opened again counts for its own domain alone:
// otherwise somebody who retries a stuck guest through the night keeps the failover of another
// site, truly dead, from being committed. What it answers to was answered within the limit, and
// between two retries nobody waits for it, either. A new loss of the same domain counts, and so does
// the operation for what of it may still be admitted by itself.
func (d *decider) troubled(of DomainID) (silent, running int) {
	for _, id := range d.domains() {
		v := d.verdicts[id]
		op, open := d.s.OpFor(v.Domain)
		kind, _ := splitDomain(id)
		again := open && op.Again.Index != 0
		switch {
		case open && op.Phase == OpCommitted && !op.Forced && (!again || id == of):
			running++
		case again && d.s.answers(op):
		case kind == "host" && !open && (v.Level < LevelSuspect || len(d.automatic(v).Assignments) == 0):
		case v.Level >= LevelSuspect && !d.dealtWith(v.Domain) && v.Silence < d.s.Network.Policy.Block.D():
			silent++
		}
	}
	return silent, running
}

// answers says whether an operation began after the loss of its domain that is on record.
func (s *State) answers(op Operation) bool {
	lost := s.Domains[op.Domain].Lost.Index
	return lost != 0 && op.Begun.Index > lost
}

// dealtWith says whether the lost domain's failover has ended already.
func (d *decider) dealtWith(id DomainID) bool {
	_, ok := d.endedFor(id)
	return ok
}

// endedFor returns the newest operation that answered to the loss of a domain
// and has ended.
func (d *decider) endedFor(id DomainID) (Operation, bool) {
	var newest Operation
	for _, op := range d.s.Ops {
		if op.Domain == id && (op.Phase == OpDone || op.Phase == OpStuck) && d.s.answers(op) && op.Begun.Index > newest.Begun.Index {
			newest = op
		}
	}
	return newest, newest.ID != ""
}
