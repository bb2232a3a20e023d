package agent_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/agent"
	"github.com/raoull/worldwidewelsh/internal/proxmox"
)

// TestHouseOfAnAgentThatIsCutOff: it looks at its own machines, changes nothing there, and
// forgets what it saw when it is in contact again.
func TestHouseOfAnAgentThatIsCutOff(t *testing.T) {
	m := newMoveRig(t)
	m.must(failover.Bootstrap{Generation: 1})
	m.must(failover.ApplyNetwork{Spec: spec()})
	alone := false
	h := &agent.House{
		Site: home, Log: m.log, Hosts: map[failover.HostID]*proxmox.PVE{"pve-moulin": m.there.Hands["pve-moulin"].PVE},
		Alone: func() bool { return alone }, Clock: &agent.LogClock{},
	}
	look := func() *failover.House {
		m.later(time.Minute)
		for range 4 {
			h.Step(t.Context(), m.now)
		}
		return h.View()
	}
	if got := look(); got != nil || len(m.requests) != 0 {
		t.Fatalf("in contact it has seen %+v with %d requests, want nothing", got, len(m.requests))
	}
	alone = true
	if got := look(); got == nil || got.Running != 1 || got.Guests != 1 || !got.NoStore || len(got.Silent) != 0 {
		t.Errorf("cut off it sees %+v, want its guest running", got)
	}
	if err := m.homePVE.StopGuest(homeID, m.now); err != nil {
		t.Fatal(err)
	}
	if got := look(); got == nil || got.Running != 0 || len(got.Off) != 1 || got.Off[0] != guest {
		t.Errorf("it sees %+v, want its guest off", got)
	}
	m.silentAt = "pve:moulin"
	if got := look(); got == nil || len(got.Silent) != 1 || got.Guests != 0 {
		t.Errorf("it sees %+v, want a silent host and no guest", got)
	}
	for _, q := range m.requests {
		if q.method != http.MethodGet {
			t.Errorf("%s %s", q.method, q.path)
		}
	}
	alone = false
	if got := look(); got != nil {
		t.Errorf("in contact again it still tells %+v", got)
	}
}
