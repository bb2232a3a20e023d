package failover_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/network"
)

// start is when every test begins, in the dead of night.
var start = time.Date(2026, 3, 2, 3, 0, 0, 0, time.UTC)

const (
	gib = int64(1) << 30
)

// fiveSites is the small network of design section 15: three briques, a
// parpaing and a witness. One host of a structure and one of Raoull's stand at
// each brique.
func fiveSites() network.Spec {
	spec := network.Spec{
		Network: "assos",
		Zones:   map[string]network.Zone{"assos.example": {}},
		Sites:   map[network.SiteID]network.Site{},
		Structures: map[network.StructureID]network.Structure{
			"le-moulin":   {Home: "moulin", VLAN: 120, Mode: network.ModeAuto},
			"atelier":     {Home: "moulin", VLAN: 121, Mode: network.ModeAuto},
			"la-fabrique": {Home: "fabrique", VLAN: 130, Mode: network.ModeAuto},
			"le-quai":     {Home: "quai", VLAN: 140, Mode: network.ModeAsk},
		},
		Guests: map[network.GuestID]network.Guest{
			"nextcloud-moulin": {ID: 1101, Structure: "le-moulin", Host: "pve-moulin", Priority: 1, Prefer: []network.SiteID{"quai"}, Names: []string{"nuage.moulin.assos.example"}},
			"compta-moulin":    {ID: 1103, Structure: "le-moulin", Host: "pve-moulin", Priority: 2, Prefer: []network.SiteID{"quai"}, After: []network.GuestID{"nextcloud-moulin"}},
			"wiki-atelier":     {ID: 1104, Structure: "atelier", Host: "pve-moulin", Priority: 2, Type: network.CT, Names: []string{"wiki.assos.example"}},
			"archive-moulin":   {ID: 1109, Structure: "le-moulin", Host: "pve-moulin", Priority: 4},
			"site-fabrique":    {ID: 1201, Structure: "la-fabrique", Host: "pve-fabrique", Priority: 1, Names: []string{"fabrique.assos.example"}},
			"mail-fabrique":    {ID: 1202, Structure: "la-fabrique", Host: "pve-fabrique", Priority: 2, Exposure: "mail"},
			"erp-quai":         {ID: 1301, Structure: "le-quai", Host: "pve-quai", Priority: 1, Names: []string{"erp.assos.example"}},
		},
	}
	for id, s := range spec.Structures {
		s.OffSite = network.OffSite{Policy: network.ConsentAllowed, Consent: "2026-01-01"}
		spec.Structures[id] = s
	}
	for i, name := range []network.SiteID{"moulin", "fabrique", "quai"} {
		spec.Sites[name] = brique(name, i+1)
	}
	spec.Sites["halle"] = network.Site{
		Kind: network.Parpaing, Mesh: mesh(4), Public: public(4),
		Hosts: map[network.HostID]network.Host{
			"pbs-halle": {Owner: network.OwnerRaoull, PBS: &network.PBS{URL: "https://10.40.1.20:8007", Datastore: "backups"}},
		},
	}
	spec.Sites["temoin"] = network.Site{Kind: network.Witness, Mesh: mesh(5)}
	return spec
}

func mesh(n int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 77, byte(n), 1}), 0)
}

func public(n int) network.Public {
	return network.Public{IPv4: netip.AddrFrom4([4]byte{203, 0, 113, byte(n)})}
}

func brique(name network.SiteID, n int) network.Site {
	own, ours := network.HostID("pve-"+string(name)), network.HostID("raoull-"+string(name))
	return network.Site{
		Kind: network.Brique, Mesh: mesh(n), Public: public(n),
		Router: network.Router{Address: netip.AddrFrom4([4]byte{10, 77, byte(n), 254})},
		Hosts: map[network.HostID]network.Host{
			own: {
				Owner:    network.OwnerStructure,
				PVE:      &network.PVE{URL: fmt.Sprintf("https://10.%d.1.10:8006", n), Node: string(own)},
				Dropbear: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(n), 1, 10}), 2222),
			},
			ours: {
				Owner:   network.OwnerRaoull,
				PVE:     &network.PVE{URL: fmt.Sprintf("https://10.%d.1.20:8006", n), Node: string(ours)},
				PBS:     &network.PBS{URL: fmt.Sprintf("https://10.%d.1.20:8007", n), Datastore: "backups"},
				Restore: &network.Restore{Storage: "local-zfs", Bridge: "vmbr0", IDs: network.IDRange{First: 90000, Last: 90999}},
			},
		},
	}
}

// tweak changes one value of a declaration: "le-moulin.mode=ask".
func tweak(spec *network.Spec, word string) error {
	path, value, ok := strings.Cut(word, "=")
	name, field, ok2 := strings.Cut(path, ".")
	if !ok || !ok2 {
		return fmt.Errorf("%q: want NAME.FIELD=VALUE", word)
	}
	if name == "policy" {
		return tweakPolicy(&spec.Policy, field, value)
	}
	if st, ok := spec.Structures[network.StructureID(name)]; ok {
		err := tweakStructure(&st, field, value)
		spec.Structures[network.StructureID(name)] = st
		return err
	}
	if g, ok := spec.Guests[network.GuestID(name)]; ok {
		if field == "gone" {
			delete(spec.Guests, network.GuestID(name))
			return nil
		}
		err := tweakGuest(&g, field, value)
		spec.Guests[network.GuestID(name)] = g
		return err
	}
	if s, ok := spec.Sites[network.SiteID(name)]; ok {
		err := tweakSite(&s, field, value)
		spec.Sites[network.SiteID(name)] = s
		return err
	}
	return fmt.Errorf("%q: nothing of that name", word)
}

func tweakPolicy(p *network.Policy, field, value string) (err error) {
	switch field {
	case "max_domains":
		p.MaxDomains, err = strconv.Atoi(value)
	case "commit":
		err = p.Commit.UnmarshalText([]byte(value))
	case "warm_max_age":
		err = p.WarmMaxAge.UnmarshalText([]byte(value))
	case "block":
		err = p.Block.UnmarshalText([]byte(value))
	default:
		return fmt.Errorf("policy.%s: not known", field)
	}
	return err
}

func tweakStructure(s *network.Structure, field, value string) (err error) {
	switch field {
	case "mode":
		s.Mode = network.Mode(value)
	case "off_site":
		s.OffSite.Policy = network.Consent(value)
	case "split":
		s.Split = value
	case "prepare":
		s.Prepare = value
	case "prepare_b":
		err = s.Policy.PrepareB.UnmarshalText([]byte(value))
	case "commit":
		err = s.Policy.Commit.UnmarshalText([]byte(value))
	case "vlan":
		s.VLAN, err = strconv.Atoi(value)
	default:
		return fmt.Errorf("structure field %s: not known", field)
	}
	return err
}

func tweakGuest(g *network.Guest, field, value string) (err error) {
	switch field {
	case "priority":
		g.Priority, err = strconv.Atoi(value)
	case "max_loss":
		err = g.MaxLoss.UnmarshalText([]byte(value))
	case "commit":
		err = g.Commit.UnmarshalText([]byte(value))
	case "memory":
		err = g.Memory.UnmarshalText([]byte(value))
	case "host":
		g.Host = network.HostID(value)
	case "standby":
		g.Standby = value
	case "prefer":
		g.Prefer = []network.SiteID{network.SiteID(value)}
	default:
		return fmt.Errorf("guest field %s: not known", field)
	}
	return err
}

func tweakSite(s *network.Site, field, value string) error {
	s.Hosts = maps.Clone(s.Hosts)
	switch field {
	case "public":
		s.Public = network.Public{}
		return nil
	case "upstream":
		s.Upstreams = []string{value}
		return nil
	case "ids":
		for id, h := range s.Hosts {
			if h.Restore != nil {
				r := *h.Restore
				h.Restore = &r
				s.Hosts[id] = h
				return r.IDs.UnmarshalText([]byte(value))
			}
		}
	case "window", "budget":
		for id, h := range s.Hosts {
			if h.Restore != nil {
				r := *h.Restore
				h.Restore = &r
				s.Hosts[id] = h
				if field == "window" {
					return r.Warm.Window.UnmarshalText([]byte(value))
				}
				return r.Warm.Budget.UnmarshalText([]byte(value))
			}
		}
	case "restore":
		for id, h := range s.Hosts {
			h.Restore = nil
			s.Hosts[id] = h
		}
		return nil
	}
	return fmt.Errorf("site field %s: not known", field)
}

// observations is everything that an agent elsewhere sees of a site that is well.
func observations(spec *network.Spec, site network.SiteID) []failover.Observation {
	at := func(target string, path failover.Path) failover.Observation {
		return failover.Observation{Site: site, Target: target, Path: path, Seen: failover.SeenUp, For: time.Hour}
	}
	s := spec.Sites[site]
	out := []failover.Observation{at("agent", failover.PathMesh)}
	if s.Router.Address.IsValid() {
		out = append(out, at("router", failover.PathMesh))
	}
	for _, id := range s.HostIDs() {
		if s.Hosts[id].PVE != nil {
			out = append(out, at("pve:"+string(id), failover.PathMesh))
		}
		if s.Hosts[id].PBS != nil {
			out = append(out, at("pbs:"+string(id), failover.PathMesh))
		}
		if s.Hosts[id].Dropbear.IsValid() {
			// A host that runs has no Dropbear any more.
			o := at("dropbear:"+string(id), failover.PathMesh)
			o.Seen = failover.SeenRefused
			out = append(out, o)
		}
	}
	if s.Public.HTTPS != 0 {
		out = append(out, at("entry", failover.PathPublic))
	}
	return out
}

func encode(t testing.TB, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatalf("encode %T: %v", v, err)
	}
	return string(b)
}

// decode reads a state as the snapshot reader does.
func decode(t testing.TB, text string) *failover.State {
	t.Helper()
	s := failover.NewState()
	if err := json.Unmarshal([]byte(text), s); err != nil {
		t.Fatalf("decode state: %v", err)
	}
	return s
}

// log applies commands and checks after each what must hold after every one:
// the invariants, that a clone is not written to, that a snapshot carries
// everything, and that a refusal changes nothing.
type log struct {
	t        testing.TB
	s        *failover.State
	snapshot string // of s, as another agent would have it that restored it just now; "" = not made yet
	term     uint64
	now      time.Time
}

func newLog(t testing.TB) *log {
	return &log{t: t, s: failover.NewState(), term: 1, now: start}
}

func (l *log) apply(c failover.Command) error { return l.applyAs("", c) }

func (l *log) applyAs(id string, c failover.Command) error {
	l.t.Helper()
	if _, ok := c.(failover.Report); ok && l.s.Index%8 != 0 || l.s.Index%slow != 0 {
		return l.applyBriefly(id, c)
	}
	if l.snapshot == "" {
		l.snapshot = encode(l.t, l.s)
	}
	st := failover.Stamp{Index: l.s.Index + 1, Term: l.term, At: l.now, ID: id, Actor: "test"}
	prev, next := l.s, l.s.Clone()
	err := next.Apply(st, c)
	if got := encode(l.t, prev); got != l.snapshot {
		l.t.Fatalf("%T changed the state that it was cloned from:\n got %s\nwant %s", c, got, l.snapshot)
	}
	if violation := failover.Check(prev, next); violation != nil {
		l.t.Fatalf("%T at index %d: %v", c, st.Index, violation)
	}
	other := decode(l.t, l.snapshot)
	otherErr := other.Apply(st, c)
	after := encode(l.t, next)
	if got := encode(l.t, other); got != after || fmt.Sprint(otherErr) != fmt.Sprint(err) {
		l.t.Fatalf("%T on a restored snapshot: %v\n got %s\nwant %v\n     %s", c, otherErr, got, err, after)
	}
	if err != nil {
		if got, want := withoutStamp(l.t, next), withoutStamp(l.t, prev); got != want {
			l.t.Fatalf("%T was refused (%v) and changed the state:\n got %s\nwant %s", c, err, got, want)
		}
	}
	l.s, l.snapshot = next, after
	return err
}

// applyBriefly is the short way for what comes most often: the invariants only.
func (l *log) applyBriefly(id string, c failover.Command) error {
	l.t.Helper()
	st := failover.Stamp{Index: l.s.Index + 1, Term: l.term, At: l.now, ID: id, Actor: "test"}
	next := l.s.Clone()
	err := next.Apply(st, c)
	if violation := failover.Check(l.s, next); violation != nil {
		l.t.Fatalf("%T at index %d: %v", c, st.Index, violation)
	}
	l.s, l.snapshot = next, ""
	return err
}

// withoutStamp encodes what a refused command must leave as it was.
func withoutStamp(t testing.TB, s *failover.State) string {
	c := s.Clone()
	c.Index, c.Clock, c.Seen, c.Leapt, c.LastTerm = 0, time.Time{}, nil, 0, 0
	return encode(t, c)
}

func (l *log) must(c failover.Command) {
	l.t.Helper()
	if err := l.apply(c); err != nil {
		l.t.Fatalf("%T: %v", c, err)
	}
}

// boot begins a network with every site as a voter, all of them well.
func (l *log) boot(spec *network.Spec) {
	l.t.Helper()
	l.must(failover.Bootstrap{Network: spec.Network, Generation: 1})
	l.must(failover.BeginTerm{Leader: spec.SiteIDs()[0]})
	for _, id := range spec.SiteIDs() {
		l.must(member(id, true))
	}
	l.must(failover.ApplyNetwork{Spec: spec})
}

func member(id failover.SiteID, voter bool) failover.SetMember {
	return failover.SetMember{Site: id, ServerID: "server-" + string(id), Address: string(id) + ":9977", Voter: voter}
}

// report is what observer sees when every other site is well, but for what
// change says.
func report(s *failover.State, observer failover.SiteID, change func(o *failover.Observation)) failover.Report {
	r := failover.Report{Observer: observer, Boot: "boot", Seq: s.Reports[observer].Report.Seq + 1}
	for _, site := range s.Network.SiteIDs() {
		if site == observer {
			continue
		}
		for _, o := range observations(s.Network, site) {
			change(&o)
			r.Observations = append(r.Observations, o)
		}
	}
	return r
}

// dark has every member but the lost sites report them silent for d.
func (l *log) dark(d time.Duration, lost ...failover.SiteID) {
	l.t.Helper()
	for _, observer := range slices.Sorted(maps.Keys(l.s.Members)) {
		if slices.Contains(lost, observer) {
			continue
		}
		l.must(report(l.s, observer, func(o *failover.Observation) {
			if slices.Contains(lost, o.Site) {
				o.Seen, o.For = failover.SeenDown, d
			}
		}))
	}
}

// settle applies what Decide says until it holds, and returns what it said last.
func (l *log) settle() failover.Decision {
	l.t.Helper()
	for range 200 {
		d := failover.Decide(l.s, l.now)
		if len(d.Commands) == 0 {
			return d
		}
		l.must(d.Commands[0])
	}
	l.t.Fatal("Decide does not come to rest")
	return failover.Decision{}
}

// restorePoint is a usable point of a guest at a target.
func restorePoint(g failover.GuestID, at time.Time, size int64) failover.RestorePoint {
	return failover.RestorePoint{
		Storage: "pbs", Volid: fmt.Sprintf("pbs:backup/%s/%s", g, at.UTC().Format(time.RFC3339)),
		Time: at, Size: size, Memory: gib, Verified: true,
	}
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
