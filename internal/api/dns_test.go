package api_test

import (
	"context"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/api"
)

// countingZones counts how often servers are asked.
type countingZones struct{ asked int }

func (z *countingZones) Check(ctx context.Context) []api.ZoneCheck {
	z.asked++
	if _, bounded := ctx.Deadline(); !bounded {
		return nil
	}
	return []api.ZoneCheck{{Zone: "assos.example", Names: []api.NameCheck{}}}
}

func (*countingZones) Foresee(*failover.State, failover.Plan) []api.DNSChange { return nil }

func (*countingZones) Failures() map[string]uint64 { return nil }

// Servers are asked only on request, by an agent without a leader too, which says how old its decisions are.
func TestDNSAsksOnRequest(t *testing.T) {
	b := newBackend(t)
	z := &countingZones{}
	c := serve(t, &root, api.Options{Backend: b, Zones: z})
	dns, err := c.DNS(t.Context(), false)
	if err != nil || z.asked != 0 || dns.Asked != nil || dns.Leaderless || dns.Age != 0 {
		t.Errorf("not to ask: got %+v, %v after %d looks", dns, err, z.asked)
	}
	b.LocalFunc = func() failover.LocalView { return failover.LocalView{Site: "fabrique", LastContact: 12 * time.Minute} }
	dns, err = c.DNS(t.Context(), true)
	if err != nil || z.asked != 1 || len(dns.Asked) != 1 || !dns.Leaderless || dns.Age != 12*time.Minute || len(dns.Names) == 0 {
		t.Errorf("to ask: got %+v, %v after %d looks", dns, err, z.asked)
	}
	// An agent that cannot ask still tells what was decided.
	dns, err = serve(t, &root, api.Options{Backend: b}).DNS(t.Context(), true)
	if err != nil || dns.Asked != nil || len(dns.Names) == 0 {
		t.Errorf("nobody to ask: got %+v, %v", dns, err)
	}
}
