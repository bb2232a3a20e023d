package failover_test

import (
	"testing"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/network"
)

// BenchmarkWarm asks of the largest network, each guest of which is warm, which
// copies are wanted where: the leader does so whenever it has nothing else to do.
func BenchmarkWarm(b *testing.B) {
	s, _ := largest(b)
	spec := *s.Network
	spec.Guests = map[network.GuestID]network.Guest{}
	for id, g := range s.Network.Guests {
		g.Standby = network.WarmStandby
		spec.Guests[id] = g
	}
	s.Network = &spec
	for id, r := range s.Readiness {
		for _, points := range r.Ready.Points {
			for i := range points {
				points[i].Verified = false
			}
		}
		s.Readiness[id] = r
	}
	site := s.Network.SiteIDs()[1]
	if len(failover.WarmToVerify(s, site)) == 0 {
		b.Fatal("no copy is wanted")
	}
	for b.Loop() {
		failover.WarmToVerify(s, site)
	}
}
