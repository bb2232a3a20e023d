package dnsctl_test

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/raoull/worldwidewelsh/dnsctl"
	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/lab/nameserver"
	"github.com/raoull/worldwidewelsh/internal/network"
)

// secondaryKey is a transfer key for tests only.
var secondaryKey = dnsctl.Key{Name: "xfr-key.", Secret: secret}

// secondaries are real servers that fetch assos.example from several primaries,
// with a transfer key. What the agents serve is unsigned: two kinds sign it on
// its way to the public.
func secondaries(from []string) map[string]primary {
	out := map[string]primary{}
	for _, kind := range []string{"bind", "bind-signing", "knot", "knot-signing", "nsd"} {
		server, signs := strings.CutSuffix(kind, "-signing")
		conf := nameserver.Server{Kind: server, Zone: "assos.example", Keys: []nameserver.Key{{Name: secondaryKey.Name, Secret: secret}}, Signs: signs}
		for _, a := range from {
			conf.Primaries = append(conf.Primaries, netip.MustParseAddrPort(a))
		}
		out[kind] = primary{name: kind, signs: signs, conf: conf}
	}
	return out
}

// agentServer is one agent's embedded server that can be killed and come back.
type agentServer struct {
	*dnsctl.Server
	addr string
	stop func()
}

func runAgent(t *testing.T, addr string) *agentServer {
	t.Helper()
	srv := newServer(t, dnsctl.Config{Listen: []string{addr}, TransferKeys: []dnsctl.Key{secondaryKey}})
	if err := srv.Listen(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- srv.Run(ctx) }()
	stopped := false
	a := &agentServer{Server: srv, addr: srv.Addrs()[0].String(), stop: func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Errorf("agent ended with %v", err)
		}
	}}
	t.Cleanup(a.stop)
	return a
}

// serve publishes a state as the agent does.
func (a *agentServer) serve(t *testing.T, s *failover.State, transfers dnsctl.Transfers) {
	t.Helper()
	a.SetSecondaries(dnsctl.Access(s))
	if err := a.Publish(dnsctl.Desired(s)); err != nil {
		t.Fatal(err)
	}
	a.SetTransfers(transfers)
}

// await polls a server until a name leads where it should; it returns how long that took.
func awaitAlias(t *testing.T, addr, name, want string, limit time.Duration) time.Duration {
	t.Helper()
	begun := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	got := ""
	for {
		once, end := context.WithTimeout(ctx, time.Second)
		r, err := dialer().Exchange(once, addr, question(name, dns.TypeCNAME))
		end()
		if err == nil {
			got = fmt.Sprint(r.Answer)
			if len(r.Answer) == 1 && r.Answer[0].(*dns.CNAME).Target == want {
				return time.Since(begun)
			}
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s answers %s for %s after %s, want %s", addr, got, name, limit, want)
		case <-tick.C:
		}
	}
}

// awaitQuestion waits until an agent has been asked something more.
func awaitQuestion(t *testing.T, a *agentServer, before uint64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for a.Stats().Queries == before {
		if pause(ctx, 10*time.Millisecond); ctx.Err() != nil {
			t.Fatal("the agent with old data was not asked")
		}
	}
}

// drive steps a publisher in real time until the test ends it.
func drive(t *testing.T, p *dnsctl.Publisher) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		timer := time.NewTimer(0)
		defer timer.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-timer.C:
			}
			timer.Reset(max(time.Millisecond, time.Until(p.Step(ctx, time.Now()))))
		}
	}()
	return func() { cancel(); <-done }
}

// stateOfPrimaries is a network with its sites' name servers at these addresses, whose zone has a transfer key.
func stateOfPrimaries(t *testing.T, from []string) (*failover.State, *network.Spec, network.Zone) {
	t.Helper()
	spec := declared()
	for j, id := range []network.SiteID{"moulin", "quai", "temoin"} {
		site := spec.Sites[id]
		site.DNS = netip.MustParseAddrPort(from[j])
		spec.Sites[id] = site
	}
	z := spec.Zones["assos.example"]
	z.TransferKey = "xfr-key"
	// The address of the secondary is known when it runs; only its host counts for transfers.
	z.Secondaries = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:1")}
	spec.Zones["assos.example"] = z
	s := failover.NewState()
	for j, c := range []failover.Command{failover.Bootstrap{Network: "assos"}, failover.ApplyNetwork{Spec: spec}} {
		if err := s.Apply(failover.Stamp{Index: uint64(j + 1), Term: 1, At: time.Unix(int64(j), 0)}, c); err != nil {
			t.Fatal(err)
		}
	}
	return s, spec, z
}

// All agents are primaries of a secondary. The leader dies with its site: what
// its successor decides is served by every secondary within two seconds (NSD
// reloads in its own time); a primary that comes back with old data and without
// quorum is believed by none, not even by one that starts with nothing. Were it to
// give its zone away, what is older would not be taken, nor what is newer missed.
func TestSecondariesFollowTheSurvivors(t *testing.T) {
	const name, home, away = "cloud.moulin.assos.example.", "moulin.site.assos.example.", "quai.site.assos.example."
	for kind := range secondaries(nil) {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			leader, second, third := runAgent(t, "127.0.0.1:0"), runAgent(t, "127.0.0.1:0"), runAgent(t, "127.0.0.1:0")
			from := []string{leader.addr, second.addr, third.addr}
			s1, spec, z := stateOfPrimaries(t, from)
			for _, a := range []*agentServer{leader, second, third} {
				a.serve(t, s1, dnsctl.TransfersAllowed)
			}
			addr := secondaries(from)[kind].start(t, "assos.example.")
			z.Secondaries = []netip.AddrPort{netip.MustParseAddrPort(addr)}
			spec.Zones["assos.example"] = z
			awaitAlias(t, addr, name, home, 10*time.Second)

			// The leader's site is gone; its successor moves the name.
			leader.stop()
			s2 := serve(s1, "quai", "cloud")
			s2.Domains[failover.SiteDomain("moulin")] = failover.Domain{Lost: failover.Stamp{Index: 3}}
			log := &fakeLog{state: s2, lead: true}
			for _, a := range []*agentServer{second, third} {
				a.serve(t, s2, dnsctl.TransfersAllowed)
			}
			stop := drive(t, publisher(log, dialer(), nil))
			limit := 2 * time.Second
			if kind == "nsd" {
				limit = 5 * time.Second
			}
			took := awaitAlias(t, addr, name, away, 10*time.Second)
			t.Logf("%s shows the move after %s", kind, took)
			if took > limit && !underRace {
				t.Errorf("the move was visible after %s, want at most %s", took, limit)
			}

			// The old leader is back, without quorum and with what it last knew.
			old := runAgent(t, leader.addr)
			old.serve(t, s1, dnsctl.TransfersRefused)
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			_ = dnsctl.Notify(ctx, dialer(), addr, dnsctl.Desired(s1)[0]) // whatever it says to that
			cold := secondaries(from)[kind].start(t, "assos.example.")
			awaitAlias(t, cold, name, away, 10*time.Second)
			awaitAlias(t, addr, name, away, time.Second)
			if n := old.Stats().Transfers; n != 0 {
				t.Errorf("an agent without quorum served %d transfers", n)
			}
			// Even if it gave its zone away, what is older is not taken.
			asked := old.Stats().Queries
			old.SetTransfers(dnsctl.TransfersAllowed)
			bare := new(dns.Msg).SetNotify("assos.example.") // with a serial that is not newer nobody would ask
			_, _ = dialer().Exchange(ctx, addr, bare)
			awaitQuestion(t, old, asked)
			awaitAlias(t, addr, name, away, time.Second)

			// And while it stands first in the list and is behind, what the others have newer is taken from them.
			stop()
			log.state = serve(log.state, "moulin", "cloud")
			for _, a := range []*agentServer{second, third} {
				a.serve(t, log.state, dnsctl.TransfersAllowed)
			}
			stop = drive(t, publisher(log, dialer(), nil))
			took = awaitAlias(t, addr, name, home, 10*time.Second)
			t.Logf("%s shows what one of its primaries lacks after %s", kind, took)
			if took > limit && !underRace {
				t.Errorf("the move was visible after %s with a primary behind, want at most %s", took, limit)
			}
			stop()
			converge(t, publisher(log, dialer(), nil), "verified", verified(log, "assos.example"))
			if n := len(ask(t, "tcp", addr, question("assos.example.", dns.TypeDNSKEY)).Answer); (n > 0) != secondaries(nil)[kind].signs {
				t.Errorf("%d keys of DNSSEC", n)
			}
		})
	}
}
