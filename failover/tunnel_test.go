package failover_test

import (
	"reflect"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
)

// TestATunnelIsNoVote: whatever WireGuard says of its peers, every verdict is
// the one without it: it is neither a path that is dark (S4 wants two) nor a
// sighting that cancels, and no silence of its own shortens or lengthens any.
func TestATunnelIsNoVote(t *testing.T) {
	for name, change := range map[string]func(o *failover.Observation){
		"all well":        func(*failover.Observation) {},
		"everything down": func(o *failover.Observation) { o.Seen, o.For = failover.SeenDown, 5*time.Minute },
		"mesh down": func(o *failover.Observation) {
			if o.Path == failover.PathMesh {
				o.Seen, o.For = failover.SeenDown, 5*time.Minute
			}
		},
		"public down": func(o *failover.Observation) {
			if o.Path == failover.PathPublic {
				o.Seen, o.For = failover.SeenDown, 5*time.Minute
			}
		},
	} {
		for _, tunnel := range []failover.Seen{failover.SeenUp, failover.SeenDown, failover.SeenUnknown} {
			for _, lasted := range []time.Duration{time.Second, time.Hour} {
				verdicts := func(with bool) map[failover.DomainID]failover.Verdict {
					l := moulinReady(t)
					l.now = l.now.Add(10 * time.Minute)
					for _, observer := range observersOfMoulin {
						r := report(l.s, observer, func(o *failover.Observation) {
							if o.Site == "moulin" {
								change(o)
							}
						})
						if with {
							r.Observations = append(r.Observations, failover.Observation{
								Site: "moulin", Target: "tunnel:agent", Path: failover.PathTunnel, Seen: tunnel, For: lasted,
							})
						}
						l.must(r)
					}
					return failover.Judge(l.s, l.now)
				}
				if got, want := verdicts(true), verdicts(false); !reflect.DeepEqual(got, want) {
					t.Errorf("%s, tunnel %s for %s:\n got %+v\nwant %+v", name, tunnel, lasted, got["site:moulin"], want["site:moulin"])
				}
			}
		}
	}
}
