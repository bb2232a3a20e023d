package dnsctl_test

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/raoull/worldwidewelsh/dnsctl"
	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/network"
)

// foreignState is a network whose zone failover.test stands on other servers.
// Of its names one is new there, one has a TXT beside it, one is the apex.
func foreignState(t testing.TB, primaries ...string) *failover.State {
	t.Helper()
	spec := declared()
	z := network.Zone{Backend: "rfc2136", Key: "ww-key", Records: []network.Record{{Name: "mail", Type: "MX", Data: "10 mx.other.example."}}}
	for _, p := range primaries {
		z.Primaries = append(z.Primaries, netip.MustParseAddrPort(p))
	}
	spec.Zones = map[string]network.Zone{"failover.test": z}
	spec.Common = map[string]network.CommonSet{"rproxy": {Names: []string{"status.failover.test"}, Members: map[network.SiteID]netip.Addr{
		"moulin": netip.MustParseAddr("10.10.10.5"), "quai": netip.MustParseAddr("10.20.10.5"),
	}}}
	spec.Guests = map[network.GuestID]network.Guest{}
	for i, name := range []string{"cloud.failover.test", "www.failover.test", "failover.test"} {
		spec.Guests[network.GuestID(fmt.Sprintf("g%d", i))] = network.Guest{
			ID: 101 + i, Type: network.VM, Structure: "le-moulin", Host: "pve-moulin", Names: []string{name},
		}
	}
	s := failover.NewState()
	for i, c := range []failover.Command{failover.Bootstrap{Network: "assos", Generation: 2}, failover.ApplyNetwork{Spec: spec.WithDefaults()}} {
		if err := s.Apply(failover.Stamp{Index: uint64(i + 1), Term: 1, At: time.Unix(int64(i), 0)}, c); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// serve moves guests to another site, as the command Serve does.
func serve(s *failover.State, site failover.SiteID, guests ...failover.GuestID) *failover.State {
	s = s.Clone()
	s.Index++
	for _, g := range guests {
		p := s.Guests[g]
		p.Serving = site
		s.Guests[g] = p
	}
	for name, z := range s.Zones {
		z.Changed = s.Index
		s.Zones[name] = z
	}
	return s
}

func publisher(log *fakeLog, ex dnsctl.Exchanger, sign func(string) (dnsctl.Exchanger, error)) *dnsctl.Publisher {
	return &dnsctl.Publisher{Site: "quai", Log: log, Exchange: ex, Sign: sign, Logger: slog.New(slog.DiscardHandler)}
}

// converge steps a publisher on a clock of its own until a condition holds.
func converge(t *testing.T, p *dnsctl.Publisher, what string, until func() bool) (took time.Duration) {
	t.Helper()
	return convergeAtPace(t, p, what, 0, until)
}

// convergeAtPace lets the waits up to a length pass, for servers that take their time; the longer ones are leapt over.
func convergeAtPace(t *testing.T, p *dnsctl.Publisher, what string, real time.Duration, until func() bool) (took time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	now := time.Unix(1e9, 0)
	begun := now
	for n := 0; !until(); n++ {
		if n > 3000 || ctx.Err() != nil {
			t.Fatalf("%s: not after %d steps", what, n)
		}
		next := p.Step(ctx, now)
		if next.Before(now) {
			t.Fatalf("%s: step at %s wants to be called at %s", what, now, next)
		}
		if wait := next.Sub(now); 0 < wait && wait <= real {
			pause(ctx, wait)
		}
		now = next
	}
	return now.Sub(begun)
}

func verified(log *fakeLog, zone string) func() bool {
	return func() bool {
		z := log.state.Zones[zone]
		for _, ok := range z.Servers {
			if !ok {
				return false
			}
		}
		return z.Verified == z.Changed && len(z.Notes) == 0
	}
}

func signerFor(t testing.TB, key dnsctl.Key, skew time.Duration) func(string) (dnsctl.Exchanger, error) {
	return func(name string) (dnsctl.Exchanger, error) {
		if name != "ww-key" {
			return nil, fmt.Errorf("key %q is not known here", name)
		}
		return signer(t, key, skew), nil
	}
}

// answersOf asks a server for the records of a name and type, sorted.
func answersOf(t testing.TB, addr, name string, qtype uint16) []string {
	t.Helper()
	var out []string
	for _, rr := range ask(t, "tcp", addr, question(name, qtype)).Answer {
		if r, err := dnsctl.FromRR(rr); err == nil && r.Name == name && rr.Header().Rrtype == qtype {
			out = append(out, r.Data)
		}
	}
	slices.Sort(out)
	return out
}

func TestPublisherMovesNamesOnRealPrimaries(t *testing.T) {
	for _, p := range slices.Concat(primaries(), signingPrimaries()) {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			addr := p.run(t)
			log := &fakeLog{state: foreignState(t, addr), lead: true}
			stale := log.state
			pub := publisher(log, dialer(), signerFor(t, goodKey, 0))
			converge := func(t *testing.T, p *dnsctl.Publisher, what string, until func() bool) time.Duration {
				t.Helper()
				return convergeAtPace(t, p, what, 200*time.Millisecond, until)
			}
			converge(t, pub, "at home", verified(log, "failover.test"))
			expect := func(when string, want map[string][]string) {
				t.Helper()
				for key, data := range want {
					name, rtype, _ := strings.Cut(key, " ")
					if got := answersOf(t, addr, name, dns.StringToType[rtype]); !slices.Equal(got, data) {
						t.Errorf("%s: %s: got %v, want %v", when, key, got, data)
					}
				}
			}
			expect("at home", map[string][]string{
				"cloud.failover.test. CNAME":    {"moulin.site.failover.test."},
				"moulin.site.failover.test. A":  {"203.0.113.1"},
				"www.failover.test. A":          {"203.0.113.1"}, // flattened: a TXT stands there
				"www.failover.test. AAAA":       {"2001:db8::1"},
				"www.failover.test. TXT":        {`"v=1"`},
				"failover.test. A":              {"203.0.113.1"},
				"failover.test. MX":             {"10 mail.failover.test."}, // not declared, not touched
				"mail.failover.test. MX":        {"10 mx.other.example."},
				"status.failover.test. A":       {"203.0.113.1", "203.0.113.2"},
				"alias.failover.test. CNAME":    {"moulin.site.failover.test."},
				"exact.wild.failover.test. TXT": {`"here"`},
			})
			log.state = serve(log.state, "quai", "g0", "g1", "g2")
			took := converge(t, pub, "moved", verified(log, "failover.test"))
			expect("moved", map[string][]string{
				"cloud.failover.test. CNAME": {"quai.site.failover.test."},
				"www.failover.test. A":       {"203.0.113.2"},
				"www.failover.test. AAAA":    nil,
				"failover.test. A":           {"203.0.113.2"},
				"failover.test. AAAA":        nil,
			})
			if took > 2*time.Second {
				t.Errorf("the waits of the move add up to %s", took)
			}
			// An old leader that still believes to lead cannot turn it back, and says why.
			old := &fakeLog{state: stale, lead: true}
			converge(t, publisher(old, dialer(), signerFor(t, goodKey, 0)), "stale", func() bool {
				return strings.Contains(old.state.Zones["failover.test"].Notes[addr], "newer decision")
			})
			expect("after the stale leader", map[string][]string{"cloud.failover.test. CNAME": {"quai.site.failover.test."}})
			// A new leader finds all as it should be and writes nothing but what is missing.
			next := &fakeLog{state: log.state, lead: true}
			next.state.Zones["failover.test"] = failover.ZoneState{Changed: log.state.Zones["failover.test"].Changed}
			converge(t, publisher(next, dialer(), signerFor(t, goodKey, 0)), "new leader", verified(next, "failover.test"))
			if p.signs {
				checkSigned(t, addr, "cloud.failover.test.", dns.TypeCNAME)
			}
			takeAway(t, addr, next)
			expect("taken away", map[string][]string{
				"cloud.failover.test. CNAME":    nil,
				"status.failover.test. A":       {"192.0.2.99"}, // a person's, added beside ours
				"mail.failover.test. MX":        nil,
				"www.failover.test. A":          {"203.0.113.1"},
				"moulin.site.failover.test. A":  {"203.0.113.1"},
				"alias.failover.test. CNAME":    {"moulin.site.failover.test."},
				"exact.wild.failover.test. TXT": {`"here"`},
			})
		})
	}
}

// takeAway declares a network without some of the names, one of which a person
// has written to, and publishes that.
func takeAway(t *testing.T, addr string, log *fakeLog) {
	t.Helper()
	byHand := new(dns.Msg).SetUpdate("failover.test.")
	extra, err := rec("status.failover.test.", "A", "192.0.2.99").RR()
	if err != nil {
		t.Fatal(err)
	}
	byHand.Insert([]dns.RR{extra})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if r, err := signer(t, goodKey, 0).Exchange(ctx, addr, byHand); err != nil || r.Rcode != dns.RcodeSuccess {
		t.Fatalf("update by hand: %v %v", r, err)
	}
	spec := *log.state.Network
	spec.Guests = maps.Clone(spec.Guests)
	delete(spec.Guests, "g0")
	spec.Common = nil
	z := spec.Zones["failover.test"]
	z.Records = nil
	spec.Zones = map[string]network.Zone{"failover.test": z}
	if _, err := log.Propose(t.Context(), failover.ApplyNetwork{Spec: &spec, IfVersion: log.state.NetworkVersion}); err != nil {
		t.Fatal(err)
	}
	if log.state.Zones["failover.test"].Former == nil {
		t.Fatal("nothing is to be taken away")
	}
	converge(t, publisher(log, dialer(), signerFor(t, goodKey, 0)), "taken away", verified(log, "failover.test"))
	if f := log.state.Zones["failover.test"].Former; f != nil {
		t.Errorf("still to be taken away: %+v", f)
	}
}

// checkSigned asks for a set with DNSSEC and checks its signature with the zone's keys.
func checkSigned(t *testing.T, addr, name string, rtype uint16) {
	t.Helper()
	withDO := func(name string, rtype uint16) []dns.RR {
		return ask(t, "tcp", addr, question(name, rtype).SetEdns0(1232, true)).Answer
	}
	var set []dns.RR
	var sig *dns.RRSIG
	for _, rr := range withDO(name, rtype) {
		if s, ok := rr.(*dns.RRSIG); ok && s.TypeCovered == rtype {
			sig = s
		} else if rr.Header().Name == name && rr.Header().Rrtype == rtype {
			set = append(set, rr)
		}
	}
	if sig == nil || len(set) == 0 {
		t.Errorf("%s %s: %d records and no signature", name, dns.TypeToString[rtype], len(set))
		return
	}
	for _, rr := range withDO("failover.test.", dns.TypeDNSKEY) {
		if k, ok := rr.(*dns.DNSKEY); ok && k.KeyTag() == sig.KeyTag {
			if err := sig.Verify(k, set); err != nil {
				t.Errorf("signature of %s: %v", name, err)
			}
			return
		}
	}
	t.Errorf("key %d, which signed %s, is not in the zone", sig.KeyTag, name)
}

func TestPublisherSaysWhyAServerRefuses(t *testing.T) {
	other := dnsctl.Key{Name: "ww-key.", Secret: "b3RoZXItb2YtMzItYnl0ZXMtZm9yLXRlc3RzLW9ubHkhISE="}
	for _, p := range primaries() {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			addr := p.run(t)
			for _, tc := range []struct {
				name string
				sign func(string) (dnsctl.Exchanger, error)
				want string
			}{
				{"clock ahead", signerFor(t, goodKey, 400*time.Second), "our clock is off by 6m"},
				{"clock behind", signerFor(t, goodKey, -400*time.Second), "our clock is off by -6m"},
				{"wrong secret", signerFor(t, other, 0), "the secrets differ"},
				{"no such key here", func(string) (dnsctl.Exchanger, error) { return nil, fmt.Errorf("no key") }, "no key"},
			} {
				want := tc.want
				if p.name == "powerdns" && !strings.HasPrefix(tc.name, "no such") {
					want = "not signed" // no detail there
				}
				log := &fakeLog{state: foreignState(t, addr), lead: true}
				pub := publisher(log, dialer(), tc.sign)
				converge(t, pub, tc.name, func() bool { return len(log.proposed) > 0 })
				z := log.state.Zones["failover.test"]
				if ok, told := z.Servers[addr]; ok || !told || !strings.Contains(z.Notes[addr], want) {
					t.Errorf("%s: got servers %v, notes %v, want %q", tc.name, z.Servers, z.Notes, want)
				}
				if pub.Failures()["failover.test"] == 0 {
					t.Errorf("%s: no failure was counted", tc.name)
				}
			}
		})
	}
}

// A primary dies just before an update reaches it, or just after it has applied
// it and before it could say so. In both cases the publisher finds out by
// looking, once the server is back, and applies the decision exactly once.
func TestPublisherResolvesWhatADeadPrimaryDid(t *testing.T) {
	for _, p := range primaries() {
		for _, when := range []string{"before", "after"} {
			t.Run(p.name+" killed "+when+" it applies", func(t *testing.T) {
				t.Parallel()
				server := p.launch(t, "failover.test.")
				inner := signer(t, goodKey, 0)
				armed, accepted := false, 0
				sign := func(string) (dnsctl.Exchanger, error) {
					return exchangeFunc(func(ctx context.Context, to string, m *dns.Msg) (*dns.Msg, error) {
						if !armed || m.Opcode != dns.OpcodeUpdate {
							return inner.Exchange(ctx, to, m)
						}
						kill := server.cmd != nil
						if kill && when == "before" {
							server.end(syscall.SIGKILL)
						}
						r, err := inner.Exchange(ctx, to, m)
						if err == nil && r.Rcode == dns.RcodeSuccess {
							accepted++
						}
						if kill && when == "after" && server.cmd != nil && accepted == 1 {
							server.end(syscall.SIGKILL)
							return nil, fmt.Errorf("the answer was lost: %w", context.DeadlineExceeded)
						}
						return r, err
					}), nil
				}
				log := &fakeLog{state: foreignState(t, server.addr), lead: true}
				pub := publisher(log, dialer(), sign)
				converge(t, pub, "at home", verified(log, "failover.test"))
				log.state, armed = serve(log.state, "quai", "g0", "g1", "g2"), true
				converge(t, pub, "dead", func() bool { return server.cmd == nil })
				converge(t, pub, "noticed", func() bool { return log.state.Zones["failover.test"].Notes[server.addr] != "" })
				if z := log.state.Zones["failover.test"]; z.Verified == z.Changed {
					t.Fatal("verified at a server that is dead")
				}
				armed = when == "after"
				if err := server.up(t); err != nil {
					t.Fatal(err)
				}
				converge(t, pub, "moved", verified(log, "failover.test"))
				if got := answersOf(t, server.addr, "cloud.failover.test.", dns.TypeCNAME); !slices.Equal(got, []string{"quai.site.failover.test."}) {
					t.Errorf("got %v", got)
				}
				if when == "after" && accepted != 1 {
					t.Errorf("the decision was applied %d times", accepted)
				}
			})
		}
	}
}
