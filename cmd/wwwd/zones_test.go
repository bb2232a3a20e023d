package main

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/raoull/worldwidewelsh/dnsctl"
	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/api"
	"github.com/raoull/worldwidewelsh/internal/network/netyaml"
)

const zoneOnAServer = `network: assos
zones:
  assos.example: {backend: rfc2136, primaries: ["192.0.2.53"], key: www-updates}
sites:
  moulin:
    kind: brique
    mesh: 10.77.1.1
    public: {ipv4: 203.0.113.17}
    hosts:
      pve-moulin: {owner: raoull, pve: {url: "https://10.10.1.20:8006", node: pve-moulin}, pbs: {url: "https://10.10.1.20:8007", datastore: backups}}
  quai:
    kind: witness
    mesh: 10.77.2.1
structures:
  le-moulin: {home: moulin, vlan: 120}
guests:
  nuage: {id: 1101, type: vm, structure: le-moulin, host: pve-moulin, names: [nuage.assos.example]}
`

// emptyZone answers for the zone, and has nothing in it.
type emptyZone struct{}

func (emptyZone) Exchange(_ context.Context, _ string, m *dns.Msg) (*dns.Msg, error) {
	r := new(dns.Msg).SetReply(m)
	r.Authoritative = true
	if m.Question[0].Qtype == dns.TypeSOA {
		r.Answer = []dns.RR{&dns.SOA{Hdr: dns.RR_Header{Name: m.Question[0].Name, Rrtype: dns.TypeSOA, Class: dns.ClassINET}, Serial: 7}}
	}
	return r, nil
}

// What the log says of a primary stands beside it, since only the leader knows
// why an update failed; but not that nothing answered, when it answers now.
func TestAnAnswerRefutesThatNothingAnswered(t *testing.T) {
	spec, problems := netyaml.Parse("network.yaml", []byte(zoneOnAServer))
	if spec == nil {
		t.Fatal(netyaml.Format(problems))
	}
	for note, want := range map[string]string{
		"our clock is off by 6m40s": "our clock is off by 6m40s",
		"not reached (unreachable)": "lacks ",
		"":                          "lacks ",
	} {
		s := failover.NewState()
		for i, c := range []failover.Command{failover.Bootstrap{Network: "assos"}, failover.ApplyNetwork{Spec: spec}} {
			if err := s.Apply(failover.Stamp{Index: uint64(i + 1), Term: 1, At: time.Unix(int64(i), 0)}, c); err != nil {
				t.Fatal(err)
			}
		}
		z := s.Zones["assos.example"]
		z.Notes = map[string]string{"192.0.2.53:53": note}
		s.Zones["assos.example"] = z
		g, ok := dnsctl.GoalOf(s, "assos.example")
		if !ok {
			t.Fatal("no goal")
		}
		got := zones{d: &daemon{ask: emptyZone{}}}.check(t.Context(), s, g)
		if len(got.Servers) != 1 || got.Servers[0].Status != "differs" || !strings.Contains(got.Servers[0].Error, want) {
			t.Errorf("note %q: got %+v, want %q", note, got.Servers, want)
		}
	}
}

// A server is known by the zone's NS record and by the site that it stands at; resolvers are the world's.
func TestWhereAServerStands(t *testing.T) {
	text := strings.Replace(zoneOnAServer, `{backend: rfc2136, primaries: ["192.0.2.53"], key: www-updates}`, `
    backend: embedded
    secondaries: [203.0.113.17, 192.0.2.53]
    resolvers: [203.0.113.17]
    records:
      - {name: "@", type: NS, data: ns1.assos.example.}
      - {name: ns1, type: A, data: 203.0.113.17}`, 1)
	spec, problems := netyaml.Parse("network.yaml", []byte(text))
	if spec == nil {
		t.Fatal(netyaml.Format(problems))
	}
	s := failover.NewState()
	for i, c := range []failover.Command{failover.Bootstrap{Network: "assos"}, failover.ApplyNetwork{Spec: spec}} {
		if err := s.Apply(failover.Stamp{Index: uint64(i + 1), Term: 1, At: time.Unix(int64(i), 0)}, c); err != nil {
			t.Fatal(err)
		}
	}
	g, ok := dnsctl.GoalOf(s, "assos.example")
	if !ok {
		t.Fatal("no goal")
	}
	got := zones{}.servers(s, g)
	want := []api.ServerCheck{
		{Server: "203.0.113.17:53", Name: "ns1.assos.example", Role: "secondary", Site: "moulin"},
		{Server: "192.0.2.53:53", Role: "secondary"},
		{Server: "203.0.113.17:53", Role: "resolver"},
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}
