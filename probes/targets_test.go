package probes_test

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/network"
	"github.com/raoull/worldwidewelsh/probes"
)

func ap(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }
func ip(s string) netip.Addr     { return netip.MustParseAddr(s) }

// threeSites is a brique with a structure's host, a brique on IPv6 only in
// public, and a witness with nothing.
func threeSites() *network.Spec {
	return network.Spec{
		Network: "assos",
		Zones: map[string]network.Zone{
			"aaa.example":   {Backend: "rfc2136"},
			"assos.example": {Backend: "embedded"},
		},
		Sites: map[network.SiteID]network.Site{
			"moulin": {
				Kind: network.Brique, Mesh: ap("10.77.1.1:9977"), DNS: ap("10.77.1.1:53"),
				Anchors: []netip.AddrPort{ap("192.0.2.53:53"), ap("198.51.100.7:443"), ap("192.0.2.53:53")},
				Public:  network.Public{IPv4: ip("203.0.113.17"), IPv6: ip("2001:db8:1::1")},
				Router:  network.Router{Type: "routeros", Address: ip("10.77.1.254")},
				Hosts: map[network.HostID]network.Host{
					"pve-m": {Owner: network.OwnerStructure, PVE: &network.PVE{URL: "https://10.10.1.10:8006"}, Dropbear: ap("10.10.1.10:2222")},
					"raoull-m": {
						Owner: network.OwnerRaoull, PVE: &network.PVE{URL: "https://10.10.1.20:8006"},
						PBS: &network.PBS{URL: "https://[fd00::20]:8007"},
					},
				},
			},
			"quai": {
				Kind: network.Brique, Mesh: ap("10.77.3.1:9977"),
				Public: network.Public{IPv6: ip("2001:db8:3::1"), HTTPS: 8443},
				Router: network.Router{Type: "tcp", Address: ip("10.77.3.254"), Port: 22},
				Hosts: map[network.HostID]network.Host{
					"raoull-q": {Owner: network.OwnerRaoull, PVE: &network.PVE{URL: "https://pve.quai.lan:8006"}},
				},
			},
			"temoin": {Kind: network.Witness, Mesh: ap("10.77.9.1:9977"), Router: network.Router{Type: "none", Address: ip("10.77.9.254")}},
		},
		Guests: map[network.GuestID]network.Guest{
			"wiki": {Host: "pve-m", Names: []string{"wiki.assos.example", "aide.assos.example"}, Check: &network.Check{TCP: "{address}:80"}},
			"mail": {Host: "pve-m", Names: []string{"mail.assos.example"}, Exposure: "mail"},
			"chat": {Host: "raoull-q", Check: &network.Check{URL: "http://{address}:8080/ping", Expect: "pong"}},
		},
	}.WithDefaults()
}

// line shows what of a target matters here.
func line(t probes.Target) string {
	return fmt.Sprintf("%s %s %s %s %s sni=%s url=%s expect=%s pin=%s from=%s", t.Site, t.Name, t.Path, t.Kind, t.Addr,
		t.ServerName, t.URL, t.Expect, t.Pin, from(t))
}

func from(t probes.Target) string {
	if !t.From.IsValid() {
		return ""
	}
	return t.From.String()
}

func lines(targets []probes.Target) []string {
	out := make([]string, len(targets))
	for i, t := range targets {
		out[i] = line(t)
	}
	return out
}

func TestTargetsOfAWitness(t *testing.T) {
	got := probes.Targets(threeSites(), "temoin", nil, probes.Options{
		From: map[failover.Path][]netip.Addr{
			failover.PathMesh:   {ip("10.77.9.1")},
			failover.PathPublic: {ip("192.0.2.9"), ip("2001:db8:9::1")},
		},
		Pins: map[string]string{"pve:pve-m": "ab12"},
	})
	want := []string{
		"moulin agent mesh agent 10.77.1.1:9977 sni= url=/v1/health expect= pin= from=10.77.9.1",
		"moulin dns mesh dns 10.77.1.1:53 sni= url= expect=assos.example pin= from=10.77.9.1",
		"moulin dropbear:pve-m mesh banner 10.10.1.10:2222 sni= url= expect=dropbear pin= from=10.77.9.1",
		"moulin entry public tls 203.0.113.17:443 sni=aide.assos.example url= expect= pin= from=192.0.2.9",
		"moulin name:aide.assos.example public http 203.0.113.17:443 sni=aide.assos.example url=/ expect= pin= from=192.0.2.9",
		"moulin name:wiki.assos.example public http 203.0.113.17:443 sni=wiki.assos.example url=/ expect= pin= from=192.0.2.9",
		"moulin pbs:raoull-m mesh tls [fd00::20]:8007 sni= url= expect= pin= from=",
		"moulin pve:pve-m mesh tls 10.10.1.10:8006 sni= url= expect= pin=ab12 from=10.77.9.1",
		"moulin pve:raoull-m mesh tls 10.10.1.20:8006 sni= url= expect= pin= from=10.77.9.1",
		"moulin router mesh icmp 10.77.1.254:0 sni= url= expect= pin= from=10.77.9.1",
		"quai agent mesh agent 10.77.3.1:9977 sni= url=/v1/health expect= pin= from=10.77.9.1",
		"quai entry public tls [2001:db8:3::1]:8443 sni= url= expect= pin= from=2001:db8:9::1",
		"quai router mesh banner 10.77.3.254:22 sni= url= expect= pin= from=10.77.9.1",
	}
	if diff := cmp.Diff(want, lines(got)); diff != "" {
		t.Errorf("targets (-want +got):\n%s", diff)
	}
	for _, target := range got {
		if target.Every != time.Second || target.Timeout != time.Second {
			t.Errorf("%s: every %s within %s, want the defaults", target.Name, target.Every, target.Timeout)
		}
	}
}

func TestTargetsOfTheOwnSite(t *testing.T) {
	got := probes.Targets(threeSites(), "moulin", nil, probes.Options{
		From:    map[failover.Path][]netip.Addr{failover.PathLAN: {ip("10.10.1.20")}},
		Guests:  map[network.GuestID]netip.Addr{"wiki": ip("10.10.1.31"), "chat": ip("10.10.1.32"), "mail": ip("10.10.1.33")},
		Every:   2 * time.Second,
		Timeout: 500 * time.Millisecond,
	})
	own := slices.DeleteFunc(slices.Clone(got), func(t probes.Target) bool { return t.Site != "moulin" })
	want := []string{
		"moulin dropbear:pve-m lan banner 10.10.1.10:2222 sni= url= expect=dropbear pin= from=10.10.1.20",
		"moulin guest:wiki guest tcp 10.10.1.31:80 sni= url= expect= pin= from=",
		"moulin pbs:raoull-m lan tls [fd00::20]:8007 sni= url= expect= pin= from=",
		"moulin pve:pve-m lan tls 10.10.1.10:8006 sni= url= expect= pin= from=10.10.1.20",
		"moulin pve:raoull-m lan tls 10.10.1.20:8006 sni= url= expect= pin= from=10.10.1.20",
	}
	if diff := cmp.Diff(want, lines(own)); diff != "" {
		t.Errorf("own targets (-want +got):\n%s", diff)
	}
	if e, w := got[0].Every, got[0].Timeout; e != 2*time.Second || w != 500*time.Millisecond {
		t.Errorf("every %s within %s, want what was asked for", e, w)
	}
}

func TestTargetsFollowTheServingSite(t *testing.T) {
	find := func(serving map[network.GuestID]network.SiteID) []string {
		var out []string
		for _, t := range probes.Targets(threeSites(), "temoin", serving, probes.Options{}) {
			if t.Name == "name:wiki.assos.example" {
				out = append(out, string(t.Site)+" "+t.Addr.String())
			}
		}
		return out
	}
	for _, tc := range []struct {
		name    string
		serving map[network.GuestID]network.SiteID
		want    []string
	}{
		{"at home", nil, []string{"moulin 203.0.113.17:443"}},
		{"away", map[network.GuestID]network.SiteID{"wiki": "quai"}, []string{"quai [2001:db8:3::1]:8443"}},
		{"nowhere, on purpose", map[network.GuestID]network.SiteID{"wiki": ""}, nil},
		{"where there is no entry", map[network.GuestID]network.SiteID{"wiki": "temoin"}, nil},
	} {
		if got := find(tc.serving); !slices.Equal(got, tc.want) {
			t.Errorf("%s: got %q, want %q", tc.name, got, tc.want)
		}
	}
	away := probes.Targets(threeSites(), "quai", map[network.GuestID]network.SiteID{"wiki": "quai", "chat": "moulin"},
		probes.Options{Guests: map[network.GuestID]netip.Addr{"wiki": ip("fd00::31"), "chat": ip("10.10.3.32")}})
	var guests []string
	for _, t := range away {
		if t.Path == failover.PathGuest {
			guests = append(guests, line(t))
		}
	}
	want := []string{"quai guest:wiki guest tcp [fd00::31]:80 sni= url= expect= pin= from="}
	if diff := cmp.Diff(want, guests); diff != "" {
		t.Errorf("guests at quai (-want +got):\n%s", diff)
	}
	home := probes.Targets(threeSites(), "quai", nil, probes.Options{Guests: map[network.GuestID]netip.Addr{"chat": ip("fd00::32")}})
	i := slices.IndexFunc(home, func(t probes.Target) bool { return t.Name == "guest:chat" })
	if i < 0 || line(home[i]) != "quai guest:chat guest http [fd00::32]:8080 sni= url=http://[fd00::32]:8080/ping expect=200 pong pin= from=" {
		t.Errorf("guest with a URL check: %s", lines(home))
	}
}

func TestAnchorTargets(t *testing.T) {
	got := lines(probes.AnchorTargets(threeSites(), "moulin", probes.Options{}))
	want := []string{
		"moulin anchor:192.0.2.53:53 public dns 192.0.2.53:53 sni= url= expect= pin= from=",
		"moulin anchor:198.51.100.7:443 public tls 198.51.100.7:443 sni= url= expect= pin= from=",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("anchors (-want +got):\n%s", diff)
	}
	if got := probes.AnchorTargets(threeSites(), "quai", probes.Options{}); len(got) != 0 {
		t.Errorf("anchors of a site that declares none: %s", lines(got))
	}
}

func TestTargetsAreUnique(t *testing.T) {
	for _, self := range []network.SiteID{"moulin", "quai", "temoin", "elsewhere"} {
		seen := map[string]bool{}
		for _, target := range probes.Targets(threeSites(), self, map[network.GuestID]network.SiteID{"wiki": "quai"}, probes.Options{}) {
			k := fmt.Sprint(target.Site, target.Name, target.Path)
			if seen[k] {
				t.Errorf("%s probes %s twice", self, k)
			}
			seen[k] = true
		}
	}
	if got := probes.Targets(&network.Spec{}, "moulin", nil, probes.Options{}); len(got) != 0 {
		t.Errorf("targets of an empty network: %s", lines(got))
	}
}

func TestObservers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sites := make([]network.SiteID, rapid.IntRange(1, 30).Draw(t, "sites"))
		for i := range sites {
			sites[i] = network.SiteID(fmt.Sprintf("s%02d", i))
		}
		of := rapid.SampledFrom(sites).Draw(t, "of")
		voters := sites[:rapid.IntRange(0, min(5, len(sites))).Draw(t, "voters")]
		got := probes.Observers(sites, of, voters)
		want := min(7, len(sites)-1)
		if len(sites) <= 9 {
			want = len(sites) - 1
		}
		if len(got) != want || slices.Contains(got, of) || !slices.IsSorted(got) || len(slices.Compact(slices.Clone(got))) != want {
			t.Fatalf("%d sites: %s is probed by %s, want %d others", len(sites), of, got, want)
		}
		for _, v := range voters {
			if v != of && !slices.Contains(got, v) {
				t.Fatalf("%s is not probed by the voter %s but by %s", of, v, got)
			}
		}
		shuffled := rapid.Permutation(sites).Draw(t, "order")
		if again := probes.Observers(shuffled, of, voters); !slices.Equal(got, again) {
			t.Fatalf("depends on the order: %s, %s", got, again)
		}
		if len(sites) <= 10 {
			return
		}
		gone := rapid.SampledFrom(got).Draw(t, "gone")
		rest := slices.DeleteFunc(slices.Clone(sites), func(s network.SiteID) bool { return s == gone })
		left := probes.Observers(rest, of, voters)
		kept := slices.DeleteFunc(slices.Clone(got), func(s network.SiteID) bool { return s == gone })
		for _, s := range kept {
			if !slices.Contains(left, s) {
				t.Fatalf("without %s, %s is probed by %s, was by %s", gone, of, left, got)
			}
		}
	})
}

func TestObserversShareTheWork(t *testing.T) {
	sites := make([]network.SiteID, 100)
	for i := range sites {
		sites[i] = network.SiteID(fmt.Sprintf("site-%d", i))
	}
	load := map[network.SiteID]int{}
	for _, of := range sites {
		for _, by := range probes.Observers(sites, of, nil) {
			load[by]++
		}
	}
	for _, s := range sites {
		if load[s] > 20 {
			t.Errorf("%s probes %d of 100 sites, 7 would be its share", s, load[s])
		}
	}
}
