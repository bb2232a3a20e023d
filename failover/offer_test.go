package failover_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
)

// asked returns a network in which quai is lost and an operation waits for
// approval, with three guests so that they can differ.
func asked(t testing.TB) (*play, failover.OpID) {
	p := &play{log: *newLog(t), ready: map[failover.SiteID]failover.Readiness{}}
	p.network([]string{"five", "le-moulin.mode=ask", "atelier.mode=ask"})
	p.dark(50*time.Second, "moulin")
	p.settle()
	return p, p.newest().ID
}

// admissible is what an approval now would let happen.
func admissible(s *failover.State, id failover.OpID) map[failover.GuestID]string {
	out := map[failover.GuestID]string{}
	for g, run := range s.Ops[id].Guests {
		if run.State == failover.RunActive && run.Admitted == 0 {
			out[g] = fmt.Sprint(run.Assignment.Target, run.Assignment.Point.Volid)
		}
	}
	return out
}

// shown is an offer as a person saw it.
type shown struct {
	offer failover.Offer
	at    time.Time
	what  map[failover.GuestID]string
}

// TestNoStaleApprovalIsHonoured lives through random histories of an operation
// that waits: time passes, targets and restore points fail, modes change, guests
// are admitted or give up. Whatever was shown when: an approval is honoured only
// within ApprovalAge, and only if it admits exactly what was shown.
func TestNoStaleApprovalIsHonoured(t *testing.T) {
	honoured, refused := 0, 0
	for seed := range uint64(max(2, 12/slow)) {
		r := rand.New(rand.NewPCG(seed, 1))
		p, id := asked(t)
		var seen []shown
		for range 40 {
			switch r.IntN(5) {
			case 0:
				p.now = p.now.Add(time.Duration(r.IntN(600)) * time.Second)
			case 1:
				fail(p, r)
			case 2:
				word := []string{"le-moulin.mode=auto", "le-moulin.mode=ask", "atelier.mode=auto"}[r.IntN(3)]
				p.declare([]string{word})
			case 3:
				seen = append(seen, shown{p.s.OfferOf(id, p.now), p.now, admissible(p.s, id)})
			case 4:
				if len(seen) == 0 {
					continue
				}
				s := seen[r.IntN(len(seen))]
				now := admissible(p.s, id)
				if err := p.apply(failover.Approve{Op: id, Hash: s.offer.Hash}); err != nil {
					refused++
					continue
				}
				honoured++
				if age := p.now.Sub(s.at); age > failover.ApprovalAge || p.now.After(s.offer.Until) {
					t.Fatalf("seed %d: an approval of what was shown %s ago, good until %s, was honoured at %s", seed, age, s.offer.Until, p.now)
				}
				if !maps.Equal(s.what, now) {
					t.Fatalf("seed %d: approved %v, admitted %v", seed, s.what, now)
				}
			}
			p.dark(50*time.Second+p.now.Sub(start), "moulin")
			p.settle()
			if p.s.Ops[id].Phase.Ended() {
				break
			}
		}
	}
	if honoured == 0 || refused == 0 {
		t.Errorf("%d honoured, %d refused: the test shows nothing", honoured, refused)
	}
}

// fail lets one restore fail, so that it goes on elsewhere or from another point.
func fail(p *play, r *rand.Rand) {
	for _, site := range p.s.Network.SiteIDs() {
		for _, token := range failover.Runnable(p.s, site, p.now) {
			if r.IntN(2) == 0 {
				continue
			}
			op := p.s.Ops[token.Op]
			if p.apply(p.moved(op, token, "running")) == nil {
				kind := []string{"done", "failed:target:full", "failed:point:bad"}[r.IntN(3)]
				_ = p.apply(p.moved(p.s.Ops[token.Op], token, kind)) // it may be claimed already
			}
			return
		}
	}
}

// TestApprovalNeedsAnOffer: neither nothing nor the plan's own hash is an approval.
func TestApprovalNeedsAnOffer(t *testing.T) {
	p, id := asked(t)
	for _, hash := range []string{"", p.s.Ops[id].Plan.Hash, "a-000000000000"} {
		if got := rejection(p.apply(failover.Approve{Op: id, Hash: hash})); got != failover.CodeStalePlan {
			t.Errorf("approved with %q: code %q, want %q", hash, got, failover.CodeStalePlan)
		}
	}
	offer := p.s.OfferOf(id, p.now)
	p.now = offer.Until.Add(-time.Second)
	p.must(failover.Approve{Op: id, Hash: offer.Hash})
	if again := p.s.OfferOf(id, p.now); again != (failover.Offer{}) {
		t.Errorf("still offered once approved: %+v", again)
	}
}
