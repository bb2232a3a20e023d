package dnsctl_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/raoull/worldwidewelsh/dnsctl"
	"github.com/raoull/worldwidewelsh/failover"
)

// What servers do with updates that are wrong, row by row of what was observed
// of them, and what this client makes of it.
func TestWhatRealPrimariesRefuse(t *testing.T) {
	alias := func(name string, before ...dnsctl.Record) []dnsctl.Change {
		return []dnsctl.Change{{Name: name, Type: "CNAME", Before: before, After: []dnsctl.Record{rec(name, "CNAME", "moulin.site.failover.test.")}}}
	}
	for _, p := range primaries() {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			addr := p.run(t)
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			ex := signer(t, goodKey, 0)
			token := dnsctl.Token{Network: "assos", Generation: 1, Index: 1}
			next := func() dnsctl.Token { token.Index++; return token }
			run := func(ex dnsctl.Exchanger, zone string, changes []dnsctl.Change) error {
				u, err := dnsctl.NewUpdater(ex, addr, zone, next(), changes)
				if err != nil {
					t.Fatal(err)
				}
				clock := time.Now()
				return hurry(ctx, u, &clock)
			}
			fresh := alias("www.failover.test.")
			fresh[0].Fresh = true
			for _, changes := range [][]dnsctl.Change{alias("www.failover.test."), fresh} {
				if err := run(ex, "failover.test.", changes); !errors.Is(err, dnsctl.ErrOccupied) {
					t.Errorf("CNAME beside A and TXT, guarded: %v, want ErrOccupied", err)
				}
			}
			if got := answersOf(t, addr, "www.failover.test.", 1); len(got) != 1 {
				t.Errorf("the guarded update left %v", got)
			}
			// A change that claims to replace a CNAME has no guard; the server ignores it (BIND, Knot) or refuses it.
			err := run(ex, "failover.test.", alias("www.failover.test.", rec("www.failover.test.", "CNAME", "x.failover.test.")))
			if want := map[bool]error{true: dnsctl.ErrRefused, false: dnsctl.ErrIneffective}[p.name == "powerdns"]; !errors.Is(err, want) {
				t.Errorf("CNAME beside others, not guarded: %v, want %v", err, want)
			}
			if err := run(ex, "unknown.test.", nil); err == nil || errors.Is(err, dnsctl.ErrUncertain) {
				t.Errorf("a zone that the server does not have: %v", err)
			}
			if err := run(dialer(), "failover.test.", move(7)); !errors.Is(err, dnsctl.ErrRefused) {
				t.Errorf("not signed: %v, want ErrRefused", err)
			}
			// Knot keeps the TTL of a record that is only added again: it has to be removed and added.
			short := dnsctl.Record{Name: "moulin.site.failover.test.", Type: "A", TTL: 30 * time.Second, Data: "203.0.113.17"}
			if err := run(ex, "failover.test.", []dnsctl.Change{{Name: short.Name, Type: "A", After: []dnsctl.Record{short}}}); err != nil {
				t.Fatal(err)
			}
			if r := ask(t, "tcp", addr, question(short.Name, 1)); len(r.Answer) != 1 || r.Answer[0].Header().Ttl != 30 {
				t.Errorf("new TTL: got %v", r.Answer)
			}
			// Hundreds of names in one update.
			var many []dnsctl.Change
			for i := range 400 {
				name := fmt.Sprintf("h%d.failover.test.", i)
				many = append(many, alias(name)...)
				many[i].Fresh = true
			}
			if err := run(ex, "failover.test.", many); err != nil {
				t.Errorf("400 names: %v", err)
			}
			// Four thousand with their guards do not fit one message, and nothing is written in parts.
			for i := range 4000 {
				many = append(many, alias(fmt.Sprintf("i%d.failover.test.", i))...)
			}
			if err := run(ex, "failover.test.", many); err == nil || len(answersOf(t, addr, "i1.failover.test.", 5)) != 0 {
				t.Errorf("4000 names: %v", err)
			}
		})
	}
}

// An address is not put beside a CNAME, and the last name servers of a zone are
// not taken away: a server accepts such an update and ignores it, or refuses it.
func TestRealPrimariesIgnoreWhatWouldBreakTheZone(t *testing.T) {
	for _, p := range primaries() {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			addr := p.run(t)
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			for n, tc := range []struct {
				change dnsctl.Change
				want   error
				code   uint16
				stands []string
			}{
				{
					dnsctl.Change{Name: "alias.failover.test.", Type: "A", After: []dnsctl.Record{rec("alias.failover.test.", "A", "192.0.2.7")}},
					map[bool]error{true: dnsctl.ErrRefused, false: dnsctl.ErrIneffective}[p.name == "powerdns"],
					dns.TypeCNAME,
					[]string{"moulin.site.failover.test."},
				},
				{
					dnsctl.Change{Name: "failover.test.", Type: "NS"},
					dnsctl.ErrIneffective,
					dns.TypeNS,
					[]string{"ns1.failover.test.", "ns2.failover.test."},
				},
			} {
				u, err := dnsctl.NewUpdater(signer(t, goodKey, 0), addr, "failover.test.", dnsctl.Token{Generation: 1, Index: uint64(n + 1)}, []dnsctl.Change{tc.change})
				if err != nil {
					t.Fatal(err)
				}
				clock := time.Now()
				if err := hurry(ctx, u, &clock); !errors.Is(err, tc.want) {
					t.Errorf("%v: %v, want %v", tc.change, err, tc.want)
				}
				if got := answersOf(t, addr, tc.change.Name, tc.code); !slices.Equal(got, tc.stands) {
					t.Errorf("%v left %v", tc.change, got)
				}
			}
		})
	}
}

// Names that had addresses before they were ours become a CNAME in one update,
// or keep addresses, ours, where the server signs; at no time are they gone.
func TestPublisherTakesOverNamesWithAddresses(t *testing.T) {
	const name = "cloud.failover.test."
	for _, p := range slices.Concat(primaries(), signingPrimaries()) {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			zone := mainZone()
			zone.Records = append(zone.Records, rec(name, "A", "192.0.2.77"), rec(name, "AAAA", "2001:db8::77"))
			p.conf.Text = zone.String()
			addr := p.run(t)
			updates := 0
			inner := signer(t, goodKey, 0)
			sign := func(string) (dnsctl.Exchanger, error) {
				return exchangeFunc(func(ctx context.Context, server string, m *dns.Msg) (*dns.Msg, error) {
					if m.Opcode == dns.OpcodeUpdate {
						updates++
					}
					r, err := inner.Exchange(ctx, server, m)
					if a := ask(t, "tcp", addr, question(name, dns.TypeA)); len(a.Answer) == 0 {
						t.Errorf("the name is gone: %s", dns.RcodeToString[a.Rcode])
					}
					return r, err
				}), nil
			}
			log := &fakeLog{state: foreignState(t, addr), lead: true}
			pub := publisher(log, dialer(), sign)
			for _, at := range []struct {
				site, a string
			}{{"moulin", "203.0.113.1"}, {"quai", "203.0.113.2"}} {
				log.state = serve(log.state, failover.SiteID(at.site), "g0")
				convergeAtPace(t, pub, at.site, 200*time.Millisecond, verified(log, "failover.test"))
				alias, addresses := answersOf(t, addr, name, dns.TypeCNAME), answersOf(t, addr, name, dns.TypeA)
				switch {
				case p.signs && (len(alias) != 0 || !slices.Equal(addresses, []string{at.a})):
					t.Errorf("%s: got %v and %v, want the address %s", at.site, alias, addresses, at.a)
				case !p.signs && (!slices.Equal(alias, []string{at.site + ".site.failover.test."}) || len(addresses) != 0):
					t.Errorf("%s: got %v and %v, want the CNAME", at.site, alias, addresses)
				}
			}
			if updates != 2 {
				t.Errorf("%d updates for 2 decisions", updates)
			}
			if n := pub.Failures()["failover.test"]; n != 0 {
				t.Errorf("%d updates are said to have failed", n)
			}
		})
	}
}

// Names and types that the key may not write are refused, and a change of both
// kinds is not applied in part.
func TestRealPrimariesKeepToTheRightsOfAKey(t *testing.T) {
	for _, p := range primaries()[:2] { // PowerDNS has no rights by name
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			p.conf.Writable = []string{"_ww-fence", "www"}
			addr := p.run(t)
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			ex := signer(t, goodKey, 0)
			if _, err := update(ctx, ex, addr, dnsctl.Token{Generation: 1, Index: 1}, move(1)); err != nil {
				t.Errorf("what is granted: %v", err)
			}
			other := rec("mail.failover.test.", "A", "198.51.100.25")
			for what, c := range map[string]dnsctl.Change{
				"name": {Name: other.Name, Type: "A", After: []dnsctl.Record{other}},
				"type": {Name: "www.failover.test.", Type: "MX", After: []dnsctl.Record{rec("www.failover.test.", "MX", "10 mx.other.example.")}},
			} {
				if _, err := update(ctx, ex, addr, dnsctl.Token{Generation: 1, Index: 2}, append(move(2), c)); !errors.Is(err, dnsctl.ErrRefused) {
					t.Errorf("%s not granted: %v, want ErrRefused", what, err)
				}
			}
			if got := answersOf(t, addr, "www.failover.test.", 1); len(got) != 1 || got[0] != "198.51.100.1" {
				t.Errorf("a refused update was applied in part: %v", got)
			}
		})
	}
}

// A name is turned from one CNAME to another in one update, after which it is
// never without records, also where the server signs.
func TestRealPrimariesTurnAnAlias(t *testing.T) {
	const name = "alias.failover.test."
	to := func(target string, ttl time.Duration) []dnsctl.Record {
		return []dnsctl.Record{{Name: name, Type: "CNAME", TTL: ttl, Data: target}}
	}
	for _, p := range slices.Concat(primaries(), signingPrimaries()) {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			addr := p.run(t)
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			inner := signer(t, goodKey, 0)
			updates := 0
			ex := exchangeFunc(func(ctx context.Context, server string, m *dns.Msg) (*dns.Msg, error) {
				if m.Opcode == dns.OpcodeUpdate {
					updates++
				}
				return inner.Exchange(ctx, server, m)
			})
			before := to("moulin.site.failover.test.", time.Minute)
			for n, after := range [][]dnsctl.Record{
				to("quai.site.failover.test.", time.Minute), to("moulin.site.failover.test.", 2*time.Minute), to("www.failover.test.", time.Minute),
				to("www.failover.test.", time.Hour),
			} {
				c := []dnsctl.Change{{Name: name, Type: "CNAME", Before: before, After: after}}
				if _, err := update(ctx, ex, addr, dnsctl.Token{Generation: 1, Index: uint64(n + 1)}, c); err != nil {
					t.Errorf("to %v: %v", after, err)
				}
				// The update waits until a server that signs shows the data, but a TTL alone may follow a moment later.
				for {
					r := ask(t, "tcp", addr, question(name, dns.TypeCNAME))
					if len(r.Answer) != 1 || r.Answer[0].(*dns.CNAME).Target != after[0].Data {
						t.Fatalf("want %v, got %v", after, r.Answer)
					}
					if r.Answer[0].Header().Ttl == uint32(after[0].TTL.Seconds()) {
						break
					}
					if ctx.Err() != nil {
						t.Fatalf("want %v, still %v", after, r.Answer)
					}
				}
				before = after
			}
			if updates != 4 {
				t.Errorf("%d updates for 4 changes", updates)
			}
		})
	}
}
