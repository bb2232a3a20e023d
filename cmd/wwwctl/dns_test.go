package main

import (
	"context"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/api"
	"github.com/raoull/worldwidewelsh/internal/api/apitest"
)

// fakeZones answers as the servers of a zone would: one lags, one is silent, a
// resolver remembers.
type fakeZones struct{ status string }

func (f fakeZones) Failures() map[string]uint64 { return map[string]uint64{"assos.example": 2} }

func (f fakeZones) Foresee(*failover.State, failover.Plan) []api.DNSChange {
	return []api.DNSChange{{
		Name: "nuage.assos.example", Type: "CNAME", TTL: time.Minute,
		Before: []string{"moulin.site.assos.example."}, After: []string{"quai.site.assos.example."},
	}}
}

func (f fakeZones) Check(context.Context) []api.ZoneCheck {
	return []api.ZoneCheck{{
		Zone: "assos.example", Backend: "rfc2136", Token: "1-18204",
		Servers: []api.ServerCheck{
			{Server: "192.0.2.53:53", Role: "primary", Status: "in-sync", Serial: 7},
			{Server: "198.51.100.53:53", Role: "secondary", Status: f.status, Serial: 6, Error: "lacks nuage.assos.example. CNAME quai.site.assos.example."},
			{Server: "9.9.9.9:53", Role: "resolver", Status: "differs"},
		},
		Names: []api.NameCheck{{
			Name: "nuage.assos.example", Type: "CNAME", Data: "quai.site.assos.example.", TTL: time.Minute, Away: true,
			Seen: map[string]api.NameSight{
				"192.0.2.53:53": {State: "ok", TTL: 10 * time.Minute}, "198.51.100.53:53": {State: "old"}, "9.9.9.9:53": {State: "old", TTL: 41 * time.Second},
			},
		}},
	}}
}

func agentWithZones(t *testing.T, b *apitest.Backend, z api.Zones) string {
	t.Helper()
	return listen(t, api.NewHandler(api.Options{Backend: b, Zones: z, Log: slog.New(slog.NewTextHandler(io.Discard, nil))}))
}

func TestDNSVerify(t *testing.T) {
	socket := agentWithZones(t, newBackend(t), fakeZones{"differs"})
	got := wwwctl(t.Context(), socket, "dns verify")
	for _, want := range []string{
		"ZONE assos.example  rfc2136", "decision 1-18204", "198.51.100.53:53  secondary  differs", "lacks nuage.assos.example.",
		"9.9.9.9", "old, 41s", "nuage.assos.example has a TTL of 10m", "lower it now",
	} {
		if !strings.Contains(got.out, want) {
			t.Errorf("no %q in\n%s", want, got.out)
		}
	}
	if got.code != exitFailure {
		t.Errorf("exit code %d, want %d: a server with authority answers otherwise than decided", got.code, exitFailure)
	}
	// A server that is silent, or a resolver that remembers, is no reason to fail.
	if got := wwwctl(t.Context(), agentWithZones(t, newBackend(t), fakeZones{"silent"}), "dns verify nuage -o tsv"); got.code != exitOK || !strings.Contains(got.out, "old, 41s") {
		t.Errorf("exit code %d, want 0:\n%s%s", got.code, got.out, got.errOut)
	}
}

func TestDNSPlan(t *testing.T) {
	socket := agentWithZones(t, newBackend(t), fakeZones{})
	got := wwwctl(t.Context(), socket, "dns plan moulin")
	if got.code != exitOK || !strings.Contains(got.out, "moulin.site.assos.example.") || !strings.Contains(got.out, "quai.site.assos.example.") || !strings.Contains(got.out, "Nothing was done") {
		t.Errorf("exit code %d:\n%s%s", got.code, got.out, got.errOut)
	}
	if got := wwwctl(t.Context(), socket, "plan moulin"); !strings.Contains(got.out, "DNS: 1 set of records would change, TTL 1m") {
		t.Errorf("plan says nothing of DNS:\n%s", got.out)
	}
	if got := wwwctl(t.Context(), agentOf(t, newBackend(t)), "plan moulin"); got.code != exitOK {
		t.Errorf("an agent that knows no zones: exit code %d: %s", got.code, got.errOut)
	}
}

func TestHoldAndRelease(t *testing.T) {
	b := newBackend(t)
	socket := agentOf(t, b)
	for _, line := range []string{"dns hold", "dns hold a b", "dns release", "dns hold nuage --for -1h", "dns plan"} {
		if got := wwwctl(t.Context(), socket, line); got.code != exitUsage {
			t.Errorf("%s: exit code %d, want %d", line, got.code, exitUsage)
		}
	}
	if got := wwwctl(t.Context(), socket, "dns hold nuage"); got.code != exitUnconfirmed {
		t.Errorf("without anybody to ask: exit code %d, want %d", got.code, exitUnconfirmed)
	}
	if got := wwwctl(t.Context(), socket, "dns hold nobody.example --yes"); got.code == exitOK || !strings.Contains(got.errOut, "nobody.example") {
		t.Errorf("a name that is not declared: exit code %d: %s", got.code, got.errOut)
	}
	// The first label is enough where it is only one's.
	if got := wwwctl(t.Context(), socket, "dns hold nuage --for 1h --reason moving --yes"); got.code != exitOK || !strings.Contains(got.out, "HELD") {
		t.Fatalf("exit code %d:\n%s%s", got.code, got.out, got.errOut)
	}
	h := b.State().Holds["nuage.assos.example"]
	if h.Site != "moulin" || h.Reason != "moving" || h.Until.IsZero() {
		t.Errorf("got %+v", h)
	}
	if got := wwwctl(t.Context(), socket, "dns show"); !strings.Contains(got.out, "moulin (held)") || !strings.Contains(got.out, "held: nuage.assos.example") {
		t.Errorf("the hold is not shown:\n%s", got.out)
	}
	if got := wwwctl(t.Context(), socket, "dns release nuage.assos.example --yes"); got.code != exitOK || len(b.State().Holds) != 0 {
		t.Errorf("exit code %d, holds %v", got.code, b.State().Holds)
	}
	if got := wwwctl(t.Context(), socket, "dns release nuage --yes"); got.code != exitRefused {
		t.Errorf("released twice: exit code %d, want %d: %s", got.code, exitRefused, got.errOut)
	}
}
