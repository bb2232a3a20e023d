package dnsctl_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/raoull/worldwidewelsh/dnsctl"
	"github.com/raoull/worldwidewelsh/failover"
	standin "github.com/raoull/worldwidewelsh/internal/lab/primary"
)

// clocked makes publisher steps cost what their exchanges would: a server that
// is dead takes the whole of the time that it is given.
type clocked struct {
	now     time.Time
	servers map[string]dnsctl.Exchanger
	dead    map[string]bool
	asked   []string
}

func (c *clocked) Exchange(ctx context.Context, server string, m *dns.Msg) (*dns.Msg, error) {
	c.asked = append(c.asked, server)
	if c.dead[server] {
		deadline, _ := ctx.Deadline()
		c.now = c.now.Add(time.Until(deadline))
		return nil, fmt.Errorf("ask %s: %w", server, context.DeadlineExceeded)
	}
	c.now = c.now.Add(10 * time.Millisecond)
	return c.servers[server].Exchange(ctx, server, m)
}

// until steps a publisher on this clock until a condition holds.
func (c *clocked) until(t *testing.T, pub *dnsctl.Publisher, log *fakeLog, what string, limit time.Duration, done func() bool) {
	t.Helper()
	begun := c.now
	for n := 0; !done(); n++ {
		if next := pub.Step(t.Context(), c.now); next.After(c.now) {
			c.now = next
		}
		if took := c.now.Sub(begun); took > limit || n > 100_000 {
			t.Fatalf("%s: not after %s; log says %+v", what, took, log.state.Zones["failover.test"])
		}
	}
}

// A primary that is dead, and not known to be, stands first in the line: the
// others have the new records within two seconds all the same, and it is
// updated soon after it comes back.
func TestADeadServerDoesNotDelayTheOthers(t *testing.T) {
	const first, second = "192.0.2.1:53", "192.0.2.2:53"
	a, b := &fakePrimary{}, &fakePrimary{}
	net := &clocked{now: time.Unix(1e9, 0), dead: map[string]bool{}, servers: map[string]dnsctl.Exchanger{first: a, second: b}}
	log := &fakeLog{state: foreignState(t, first, second), lead: true}
	pub := publisher(log, net, nil)
	until := func(what string, limit time.Duration, done func() bool) {
		t.Helper()
		net.until(t, pub, log, what, limit, done)
	}
	until("at home", 10*time.Second, verified(log, "failover.test"))
	net.dead[first] = true
	log.state = serve(log.state, "quai", "g0", "g1", "g2")
	until("the living server", 2*time.Second, func() bool { return strings.Contains(b.fence(), "idx=") && b.fence() != a.fence() })
	until("told", 10*time.Second, func() bool {
		z := log.state.Zones["failover.test"]
		return z.Verified == z.Changed && z.Servers[second] && z.Notes[first] == "not reached (silent)"
	})
	proposals := len(log.proposed)
	begun := net.now
	until("a while", 5*time.Minute, func() bool { return net.now.Sub(begun) > 4*time.Minute })
	if n := len(log.proposed) - proposals; n > 4 {
		t.Errorf("%d entries say again that a server is silent", n)
	}
	net.dead[first] = false
	until("the server that is back", time.Minute, verified(log, "failover.test"))
	if a.fence() != b.fence() {
		t.Errorf("fences %q and %q differ", a.fence(), b.fence())
	}
}

// The simulator has no keys: with the zone on other servers the same steps run
// over a plain exchanger.
func TestPublisherWorksWithoutSignatures(t *testing.T) {
	f := &fakePrimary{}
	log := &fakeLog{state: foreignState(t, "192.0.2.1:53"), lead: true}
	converge(t, publisher(log, f, nil), "at home", verified(log, "failover.test"))
	if f.fence() != "ww1 net=assos gen=2 idx=2" || f.applied() != 1 {
		t.Errorf("fence %q after %d updates", f.fence(), f.applied())
	}
}

// Somebody else's fence stops us before anything is written.
func TestPublisherLeavesAnotherNetworksZoneAlone(t *testing.T) {
	f := &fakePrimary{stands: "ww1 net=others gen=1 idx=1"}
	log := &fakeLog{state: foreignState(t, "192.0.2.1:53"), lead: true}
	converge(t, publisher(log, f, nil), "told", func() bool { return len(log.proposed) > 0 })
	if note := log.state.Zones["failover.test"].Notes["192.0.2.1:53"]; !strings.Contains(note, `network "others"`) || f.applied() != 0 {
		t.Errorf("note %q after %d updates", note, f.applied())
	}
}

// A hold whose time is over ends by itself, and a hold that was set anew does not.
func TestPublisherEndsHolds(t *testing.T) {
	f := &fakePrimary{}
	log := &fakeLog{state: foreignState(t, "192.0.2.1:53"), lead: true}
	hold(t, log, "cloud.failover.test", time.Hour)
	pub := publisher(log, f, nil)
	converge(t, pub, "held", verified(log, "failover.test"))
	if f.alias("cloud.failover.test.") != nil {
		t.Error("a held name was written")
	}
	log.state.Clock = log.state.Clock.Add(2 * time.Hour)
	converge(t, pub, "released", func() bool { return len(log.state.Holds) == 0 })
	converge(t, pub, "written", verified(log, "failover.test"))
	if f.alias("cloud.failover.test.") == nil {
		t.Error("a released name was not written")
	}
}

// Another leader moved a name and lost its lead again before this one heard of
// it; what this one wants equals what it wrote itself last. It must notice by
// the fence, and not take its memory for the server's content.
func TestPublisherNoticesWhatAnotherLeaderWrote(t *testing.T) {
	f := &fakePrimary{}
	log := &fakeLog{state: foreignState(t, "192.0.2.1:53"), lead: true}
	pub := publisher(log, f, nil)
	converge(t, pub, "at home", verified(log, "failover.test"))
	const name = "cloud.failover.test."
	changed := log.state.Zones["failover.test"].Changed
	u, err := dnsctl.NewUpdater(f, "192.0.2.1:53", "failover.test.", dnsctl.Token{Network: "assos", Generation: 2, Index: changed + 1}, []dnsctl.Change{{
		Name: name, Type: "CNAME", Before: []dnsctl.Record{rec(name, "CNAME", "moulin.site.failover.test.")},
		After: []dnsctl.Record{rec(name, "CNAME", "quai.site.failover.test.")},
	}})
	if err != nil {
		t.Fatal(err)
	}
	clock := time.Unix(1e9, 0)
	if err := hurry(t.Context(), u, &clock); err != nil {
		t.Fatal(err)
	}
	log.state = serve(log.state, "moulin", "g0")
	log.state = serve(log.state, "moulin", "g0")
	before := len(log.proposed)
	converge(t, pub, "back home", verified(log, "failover.test"))
	if rrs := f.alias(name); len(rrs) != 1 || rrs[0].(*dns.CNAME).Target != "moulin.site.failover.test." {
		t.Errorf("server has %v", rrs)
	}
	for _, c := range log.proposed[before:] {
		if v, ok := c.(failover.VerifyZone); ok && v.Servers["192.0.2.1:53"] && len(v.Notes) > 0 {
			t.Errorf("a server was called in sync and not: %+v", v)
		}
	}
}

// restoredAt has an old backup take the place of what a primary holds, right before a question.
type restoredAt struct {
	*fakePrimary
	left   int // questions until then
	backup standin.Backup
	wrote  func() // called after each update that was applied
}

func (r *restoredAt) Exchange(ctx context.Context, server string, m *dns.Msg) (*dns.Msg, error) {
	if r.left--; r.left == 0 {
		r.server().Restore(r.backup)
	}
	before := r.applied()
	reply, err := r.fakePrimary.Exchange(ctx, server, m)
	if r.applied() > before {
		r.wrote()
	}
	return reply, err
}

// TestPrimaryRestoredInTheMiddleOfALook: what was looked at before it is not true of what stands there afterwards. An
// update from both would carry our fence and leave a name where the backup has it (campaign, seed 14918).
func TestPrimaryRestoredInTheMiddleOfALook(t *testing.T) {
	for _, bare := range []bool{false, true} {
		for at := 1; at < 20; at++ {
			f := &fakePrimary{}
			log := &fakeLog{state: foreignState(t, "192.0.2.1:53"), lead: true}
			before := f.server().Backup()
			converge(t, publisher(log, f, nil), "at home", verified(log, "failover.test"))
			if !bare {
				before = f.server().Backup()
			}
			log.state = serve(log.state, "quai", "g0")
			converge(t, publisher(log, f, nil), "moved", verified(log, "failover.test"))
			moved := fmt.Sprint(f.alias("cloud.failover.test."))
			log.state = serve(log.state, "quai", "g1")
			token := fmt.Sprintf("ww1 net=assos gen=2 idx=%d", log.state.Zones["failover.test"].Changed)
			r := &restoredAt{fakePrimary: f, left: at, backup: before}
			r.wrote = func() {
				if got := fmt.Sprint(f.alias("cloud.failover.test.")); f.fence() == token && got != moved {
					t.Errorf("restored before question %d (bare %t): the zone carries %s, and cloud stands at %s, want %s", at, bare, token, got, moved)
				}
			}
			converge(t, publisher(log, r, nil), "moved by a new leader", verified(log, "failover.test"))
		}
	}
}
