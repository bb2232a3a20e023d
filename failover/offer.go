package failover

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"
)

// ApprovalAge is how long at most a person may look at what is to be approved.
// What was shown longer ago is shown anew: targets, restore points and the site
// itself may have changed meanwhile.
const ApprovalAge = 15 * time.Minute

// Offer is what a person approves: the guests of an operation that nobody has
// admitted yet, as they stand now.
type Offer struct {
	Hash  string    `json:"hash"` // to be sent with the approval
	Until time.Time `json:"until"`
}

// OfferOf returns what an operation offers for approval now; the zero Offer
// when there is nothing to approve.
func (s *State) OfferOf(id OpID, now time.Time) Offer {
	op, ok := s.Ops[id]
	if !ok || op.Phase == OpReleasing || op.Phase.Ended() || !op.admits() {
		return Offer{}
	}
	n := op.offerAt(s.notBefore(now))
	return Offer{Hash: op.offerHash(n), Until: op.Begun.At.Add(time.Duration(n+2) * ApprovalAge / 2)}
}

// offers says whether a hash is that of what the operation offers at a time.
// Offers are renewed every half of ApprovalAge, and the last one still counts.
func (o Operation) offers(hash string, at time.Time) bool {
	n := o.offerAt(at)
	return hash == o.offerHash(n) || n > 0 && hash == o.offerHash(n-1)
}

func (o Operation) offerAt(at time.Time) int {
	return max(0, int(at.Sub(o.Begun.At)/(ApprovalAge/2)))
}

// offerHash covers the frozen plan, and of every guest that an approval would
// admit its target and restore point: they may be other ones than planned.
func (o Operation) offerHash(n int) string {
	h := sha256.New()
	fmt.Fprintf(h, "%s|%s|%d\n", o.ID, o.Plan.Hash, n)
	for _, g := range sortedKeys(o.Guests) {
		if run := o.Guests[g]; run.State == RunActive && run.Admitted == 0 {
			a := run.Assignment
			fmt.Fprintf(h, "%s>%s/%s %s\n", g, a.Target, a.Host, a.Point.Volid)
		}
	}
	return "a-" + hex.EncodeToString(h.Sum(nil))[:12]
}
