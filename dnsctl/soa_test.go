package dnsctl_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/raoull/worldwidewelsh/dnsctl"
	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/network"
)

func TestDeclaredTimersOfTheSOA(t *testing.T) {
	s := state(t)
	byDefault := only(t, s).SOA
	spec := *s.Network
	z := spec.Zones["assos.example"]
	z.SOA = network.SOA{Refresh: network.Duration(time.Hour), Minimum: network.Duration(5 * time.Minute)}
	spec.Zones = map[string]network.Zone{"assos.example": z}
	s.Network = &spec
	want := byDefault
	want.Refresh, want.Minimum, want.TTL = time.Hour, 5*time.Minute, 5*time.Minute
	if got := only(t, s).SOA; got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// A group that is rebuilt knows less than the lost majority may have published:
// its serials come after all that the old generation can have reached.
func TestSerialsGrowThroughARebuild(t *testing.T) {
	s := state(t)
	self := failover.SetMember{Site: "moulin", ServerID: "m2", Address: "10.0.0.1:9977", Voter: true}
	published := only(t, s).Serial
	for generation := range 5 {
		// What the lost majority may have committed besides: more than a decade's entries.
		published = dnsctl.SerialMax(published, only(t, s).Serial+10_000_000)
		s = s.Rebuilt(self, "a test", failover.Stamp{Index: s.Index + 1, Term: 9, At: s.Clock})
		if got := only(t, s).Serial; !dnsctl.SerialLess(published, got) {
			t.Fatalf("rebuild %d: serial %d is not after %d", generation+1, got, published)
		}
	}
}

// Ten thousand questions from eight clients at once, over UDP: none is lost, and
// none is answered with an error.
func TestServerStandsLoad(t *testing.T) {
	const clients, each, names = 8, 1250, 5000
	_, addr := start(t, dnsctl.Config{}, bigZone(names))
	var wg sync.WaitGroup
	for c := range clients {
		wg.Go(func() {
			conn, err := dns.DialTimeout("udp", addr, time.Second)
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			for i := range each {
				name := fmt.Sprintf("h%d.big.test.", (c*each+i)%(names-1))
				if err := exchange(conn, question(name, dns.TypeA)); err != nil {
					t.Errorf("client %d, question %d, %s: %v", c, i, name, err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// exchange asks over an open connection and demands one address.
func exchange(conn *dns.Conn, m *dns.Msg) error {
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return err
	}
	if err := conn.WriteMsg(m); err != nil {
		return err
	}
	answer, err := conn.ReadMsg()
	if err != nil {
		return err
	}
	if answer.Id != m.Id || answer.Rcode != dns.RcodeSuccess || len(answer.Answer) != 1 {
		return fmt.Errorf("answer %d to %d: %s, %d records", answer.Id, m.Id, dns.RcodeToString[answer.Rcode], len(answer.Answer))
	}
	return nil
}
