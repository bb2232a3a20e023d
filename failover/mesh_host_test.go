package failover_test

import (
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
)

// TestDeadMeshIsNoDeadHost: the windows of the hosts may trip a moment before that of
// the agent or the router. That must not put the hosts on record as down: afterwards
// nobody knows anything new of them, and a person would be sent to start them by hand.
func TestDeadMeshIsNoDeadHost(t *testing.T) {
	l := moulinReady(t)
	for _, after := range []time.Duration{0, time.Second, 5 * time.Second} {
		l.now = l.now.Add(after)
		for _, observer := range observersOfMoulin {
			l.must(report(l.s, observer, func(o *failover.Observation) {
				if o.Site != "moulin" || o.Path != failover.PathMesh {
					return
				}
				o.Seen, o.For = failover.SeenDown, 8200*time.Millisecond+after
				if o.Target == "agent" || o.Target == "router" {
					o.For -= 600 * time.Millisecond
				}
			}))
		}
		l.settle()
		for _, host := range []failover.DomainID{"host:pve-moulin", "host:raoull-moulin"} {
			if d := l.s.Domains[host]; d.Cause == failover.CauseHostDown || d.Lost.Index != 0 || !d.Held.IsZero() {
				t.Errorf("%s later %s is recorded as %s, lost at entry %d, held by %q: want no news of it", after, host, d.Cause, d.Lost.Index, d.Held.Code)
			}
		}
		want := failover.CauseUp // nothing is settled yet
		if after > 0 {
			want = failover.CauseMeshDown
		}
		if d := l.s.Domains["site:moulin"]; d.Cause != want {
			t.Errorf("%s later the site is %s, want %s", after, d.Cause, want)
		}
	}
}
