package dnsctl_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/raoull/worldwidewelsh/dnsctl"
	"github.com/raoull/worldwidewelsh/failover"
)

// Whatever is lost, refused or answered twice on the way, and whoever believes
// to lead: once the faults are over every primary has the newest decision, and
// at no moment does an older one replace a newer one.
func TestPublishersConvergeUnderFaults(t *testing.T) {
	for seed := range uint64(40) {
		r := rand.New(rand.NewPCG(seed, 8))
		servers := map[string]*fakePrimary{"192.0.2.1:53": {}, "192.0.2.2:53": {}}
		newest := map[string]uint64{}
		faulty := true
		ex := exchangeFunc(func(_ context.Context, server string, m *dns.Msg) (*dns.Msg, error) {
			f := servers[server]
			fault := 0
			if faulty {
				fault = r.IntN(8)
			}
			switch fault {
			case 1:
				return nil, fmt.Errorf("ask %s: %w", server, context.DeadlineExceeded)
			case 2:
				return nil, fmt.Errorf("ask %s: %w", server, syscall.ECONNREFUSED)
			case 3:
				return nil, fmt.Errorf("ask %s: %w", server, dnsctl.ErrUnsigned)
			}
			reply := f.handle(m)
			if at := fenceIndex(f.fence()); at < newest[server] {
				t.Fatalf("seed %d: decision %d replaced %d at %s", seed, at, newest[server], server)
			} else {
				newest[server] = at
			}
			switch fault {
			case 4:
				return nil, fmt.Errorf("ask %s: the answer was lost: %w", server, context.DeadlineExceeded)
			case 5:
				f.handle(m) // the network delivers it twice
			}
			return reply, nil
		})
		state := foreignState(t, "192.0.2.1:53", "192.0.2.2:53")
		var logs []*fakeLog
		var pubs []*dnsctl.Publisher
		for range 3 { // leaders, each a decision behind the next
			log := &fakeLog{state: state, lead: true}
			logs, pubs = append(logs, log), append(pubs, publisher(log, ex, nil))
			state = serve(state, []failover.SiteID{"quai", "moulin"}[len(logs)%2], "g0", "g2")
		}
		last := logs[2]
		now := time.Unix(1e9, 0)
		run := func(steps int) {
			for range steps {
				i := r.IntN(3)
				if next := pubs[i].Step(t.Context(), now); next.After(now) {
					now = now.Add(min(next.Sub(now), time.Second))
				}
			}
		}
		run(400)
		faulty = false
		for n := 0; !verified(last, "failover.test")(); n++ {
			if n > 200 {
				t.Fatalf("seed %d: not converged: %+v", seed, last.state.Zones["failover.test"])
			}
			run(50)
		}
		want := fmt.Sprintf("ww1 net=assos gen=2 idx=%d", last.state.Zones["failover.test"].Changed)
		for addr, f := range servers {
			if f.fence() != want {
				t.Errorf("seed %d: %s has %q, want %q", seed, addr, f.fence(), want)
			}
			for _, rr := range f.alias("cloud.failover.test.") {
				if got := rr.(*dns.CNAME).Target; !strings.HasPrefix(got, string(last.state.Guests["g0"].Serving)+".") {
					t.Errorf("seed %d: %s sends cloud to %s", seed, addr, got)
				}
			}
		}
	}
}

func fenceIndex(fence string) uint64 {
	var index uint64
	if _, err := fmt.Sscanf(fence, "ww1 net=assos gen=2 idx=%d", &index); err != nil && fence != "" {
		panic(errors.Join(fmt.Errorf("fence %q", fence), err))
	}
	return index
}
