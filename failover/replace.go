package failover

import (
	"fmt"

	"github.com/raoull/worldwidewelsh/internal/network"
)

// A home may have no room for two copies of a guest. Then a person may name the copy at home
// that is given up for the one that comes: it is sealed at two sites and parked as in any
// failback, and what comes home is restored only when it is gone. On a Raoull host its agent
// deletes it; on a structure's host the last deletion is its people's own act, and the
// failback waits for it while the guest goes on serving where it lives. Until the copy is
// acknowledged its sealed backups are kept like those of any other.

// replaceable says whether the copy that an assignment gives up is the one at home that its
// guest has left.
func (s *State) replaceable(a Assignment) bool {
	at, left := s.HomeBranch(a.Guest)
	return a.Keep == KeepAway && left && at.Host == a.Host && at.VMID == a.Replace
}

// mayMakeRoom says whether the copy that a run names may go: it is sealed at two sites by this
// operation, which has read both backups whole, and it does not count.
func (s *State) mayMakeRoom(op Operation, run GuestRun) error {
	g, at := run.Assignment.Guest, run.Left.place()
	seal := s.SealOf(g, at)
	switch {
	case op.Kind != KindFailback || !op.Forced || run.Assignment.Replace == 0 || run.Assignment.Replace != at.VMID:
		return reject(CodeInvalid, "what", fmt.Sprintf("copy %d given up by a %s that nobody has asked for", at.VMID, op.Kind))
	case run.Admitted == 0 || run.Owned() || at.same(s.Guests[g].Now()):
		return reject(CodeWrongPhase, "guest", string(g), "phase", string(s.Guests[g].Phase))
	case !run.isDone(StepSealVerify) || !run.isDone(StepSealCopy) || !run.isDone(StepPark):
		return reject(CodeWrongStep, "guest", string(g), "have", string(StepPark), "got", string(StepReplace))
	case seal == nil || seal.Op != op.ID || len(seal.Sites()) < sealedAt || len(run.Sealed) < sealedAt || !seal.Copies[0].Point.Time.Equal(run.Sealed[0].Point.Time):
		return reject(CodeNotSealed, "guest", string(g), "site", string(at.Site), "host", string(at.Host), "id", fmt.Sprint(at.VMID))
	}
	return nil
}

// mayDeleteReplaced refuses what the program does not delete itself: what stands on a
// structure's host.
func (s *State) mayDeleteReplaced(run GuestRun) error {
	if s.Network.Sites[run.Left.Site].Hosts[run.Left.Host].Owner != network.OwnerRaoull {
		return reject(CodeTheirCopy, "guest", string(run.Assignment.Guest), "site", string(run.Left.Site), "host", string(run.Left.Host), "id", fmt.Sprint(run.Left.VMID))
	}
	return nil
}

// checkReplaced: S7, a copy is given up for another only when it is sealed at two sites, a
// person has named it, and it is not the one that counts.
func checkReplaced(prev, next *State) error {
	for _, id := range next.opOrder() {
		op := next.Ops[id]
		if op.Kind != KindFailback {
			continue
		}
		for _, g := range sortedKeys(op.Guests) {
			run, p := op.Guests[g], next.Guests[g]
			step, _, left := run.Current()
			before, _, _ := prev.Ops[id].Guests[g].Current()
			if !left || step.ID != StepReplace || step.Status != StatusRunning || before.ID == step.ID && before.Status == StatusRunning {
				continue
			}
			at := run.Left.place()
			switch seal := next.SealOf(g, at); {
			case seal == nil || len(seal.Sites()) < 2:
				return violated("S7", "copy %d of %s is given up for another and is sealed as %+v", at.VMID, g, seal)
			case at.same(p.Now()):
				return violated("S7", "copy %d of %s, which counts, is given up for another", at.VMID, g)
			case !op.Forced || run.Assignment.Replace != at.VMID:
				return violated("S7", "copy %d of %s is given up and nobody has named it", at.VMID, g)
			}
		}
	}
	return nil
}
