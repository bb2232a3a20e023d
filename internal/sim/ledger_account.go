package sim

import "github.com/raoull/worldwidewelsh/failover"

// Account says where all lies in the end that people were told is written.
type Account struct {
	Written int
	Running int // of it in the copy that is the guest's
	Sealed  int // else: in a sealed branch at two sites, or at those that are left of them
	Left    int // else: in a copy that its guest has left, and that is kept
	GivenUp int // else: a person has given it up
	Lost    int // else: with the disks of a site that was destroyed for good
}

// Add returns the sum of two.
func (a Account) Add(o Account) Account {
	sum(&a, o)
	return a
}

// account sums up what check has found to be nowhere missing.
func (l *ledger) account() Account {
	state := l.w.log.Last()
	a := Account{Written: l.n, GivenUp: l.forgotten}
	if state.Network == nil {
		return a
	}
	for _, g := range sortedKeys(l.written) {
		known := map[failover.Place]held{}
		for _, wr := range l.written[g] {
			took, owns := wr.place(), state.Guests[g].Now()
			owns.Epoch = failover.Epoch{}
			seal := state.SealOf(g, took)
			switch _, declared := state.Network.Guests[g]; {
			case !declared:
				a.GivenUp++
			case l.heldAt(known, owns).has(wr):
				a.Running++
			case seal != nil && l.sealed(*seal, wr) >= l.sealsLeft(*seal):
				a.Sealed++
			case l.heldAt(known, took).has(wr):
				a.Left++
			case l.kept(state, g, wr, known):
				a.GivenUp++
			default:
				a.Lost++
			}
		}
	}
	return a
}
