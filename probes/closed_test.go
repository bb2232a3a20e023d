package probes_test

import (
	"context"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/probes"
)

func TestClosedTargets(t *testing.T) {
	spec := threeSites()
	got := []string{}
	for _, target := range probes.ClosedTargets(spec, "temoin", probes.Options{}) {
		if target.Every != 10*time.Minute || target.Kind != probes.KindKnock || target.Path != failover.PathPublic {
			t.Errorf("%+v", target)
		}
		got = append(got, string(target.Site)+" "+target.Addr.String())
	}
	var want []string
	for _, id := range spec.SiteIDs() {
		for _, a := range []netip.Addr{spec.Sites[id].Public.IPv4, spec.Sites[id].Public.IPv6} {
			for _, port := range []uint16{22, 8006, 8007, spec.Sites[id].Mesh.Port(), 9978} {
				if id != "temoin" && a.IsValid() && port != 0 {
					want = append(want, string(id)+" "+netip.AddrPortFrom(a, port).String())
				}
			}
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if len(want) == 0 {
		t.Fatal("no site has a public address")
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	// What is declared may be open, and a lab on loopback has one SSH for all sites.
	site := spec.Sites["moulin"]
	site.Public.HTTPS = 22
	spec.Sites["moulin"] = site
	site = spec.Sites["quai"]
	site.Public.IPv4, site.Public.IPv6 = ip("127.3.0.1"), netip.Addr{}
	spec.Sites["quai"] = site
	for _, target := range probes.ClosedTargets(spec, "temoin", probes.Options{}) {
		if target.Site == "quai" || target.Addr.Port() == 22 {
			t.Errorf("%s is checked", target.Name)
		}
	}
}

// TestExposedPorts: each port is asked every ten minutes; an answer is told, a
// refusal and silence are as it should be.
func TestExposedPorts(t *testing.T) {
	w := newWorld()
	closed := probes.NewClosed(w.config())
	var targets []probes.Target
	for _, port := range []uint16{22, 8006, 8007} {
		at := netip.AddrPortFrom(ip("203.0.113.17"), port)
		targets = append(targets, probes.Target{Site: "moulin", Name: "closed:" + at.String(), Addr: at, Every: 10 * time.Minute, Kind: probes.KindKnock})
		w.seen["closed:"+at.String()] = d
	}
	w.seen[targets[1].Name], w.seen[targets[2].Name] = r, u
	closed.Update(targets, began)
	if got := probes.Exposed(closed, began); len(got) != 0 {
		t.Errorf("before any check: %v", got)
	}
	now := run(closed.Steppers(), began, time.Hour)
	if n := w.asked[targets[0].Name]; n < 5 || n > 7 {
		t.Errorf("asked %d times in an hour", n)
	}
	want := []failover.Exposure{{Site: "moulin", Address: targets[2].Addr}}
	if got := probes.Exposed(closed, now); !slices.Equal(got, want) {
		t.Errorf("exposed %v, want %v", got, want)
	}
	w.seen[targets[2].Name] = d
	for _, p := range closed.Steppers() {
		p.Step(context.Background(), p.Next())
	}
	if got := probes.Exposed(closed, now.Add(11*time.Minute)); len(got) != 0 {
		t.Errorf("after it was closed: %v", got)
	}
}

// TestExposuresAreReportedOnChange: they are no reason to hurry or to repeat.
func TestExposuresAreReportedOnChange(t *testing.T) {
	in := inputs(observed("agent", u, 1))
	reporter := told(in)
	in.Exposed = []failover.Exposure{{Site: "moulin", Address: netip.MustParseAddrPort("203.0.113.17:22")}}
	if reporter.Due(began.Add(time.Second), in) || !reporter.Due(began.Add(1300*time.Millisecond), in) {
		t.Error("want a report a quarter of a second after the change")
	}
	report := reporter.Build(in)
	if !slices.Equal(report.Exposed, in.Exposed) || len(report.Observations) != 1 {
		t.Errorf("report %+v", report)
	}
	reporter.Accepted(began.Add(2*time.Second), report, in)
	if next := reporter.Next(began.Add(3*time.Second), in); next.Before(began.Add(time.Minute)) {
		t.Errorf("next report after %s", next.Sub(began))
	}
}

// TestTunnelsAreEvidenceOnly: they are read where they can be, and their
// silence is reported on change, without the haste of a loss.
func TestTunnelsAreEvidenceOnly(t *testing.T) {
	var got []string
	for _, target := range probes.Targets(threeSites(), "temoin", nil, probes.Options{Tunnels: []string{"agent", "router"}}) {
		if target.Path == failover.PathTunnel {
			got = append(got, string(target.Site)+" "+target.Name+" "+string(target.Kind))
		}
	}
	want := []string{"moulin tunnel:agent tunnel", "moulin tunnel:router tunnel", "quai tunnel:agent tunnel", "quai tunnel:router tunnel"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("targets (-want +got):\n%s", diff)
	}
	frozen := failover.Observation{Site: "moulin", Target: "tunnel:agent", Path: failover.PathTunnel, Seen: d, For: time.Second}
	in := inputs(observed("agent", u, 1), frozen)
	if next := told(in).Next(began, in); !next.Equal(began.Add(time.Minute)) {
		t.Errorf("with a frozen tunnel the next report is after %s, want a minute", next.Sub(began))
	}
}

func TestTunnelProbe(t *testing.T) {
	target := probes.Target{Site: "moulin", Name: "tunnel:agent", Path: failover.PathTunnel, Kind: probes.KindTunnel}
	ctx, cancel := context.WithTimeout(t.Context(), enough)
	defer cancel()
	if got := probes.New(probes.Config{Now: time.Now})(ctx, target); got.Seen != x {
		t.Errorf("nothing to read: %+v", got)
	}
	probe := probes.New(probes.Config{Now: time.Now, Tunnel: func(_ context.Context, asked probes.Target) probes.Result {
		if asked != target {
			t.Errorf("asked for %+v", asked)
		}
		return probes.Result{Seen: d, Note: "nothing came\nback"}
	}})
	if got := probe(ctx, target); got.Seen != d || got.Note != "nothing came back" {
		t.Errorf("%+v", got)
	}
}
