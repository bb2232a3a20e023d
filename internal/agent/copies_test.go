package agent_test

import (
	"log/slog"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/agent"
	"github.com/raoull/worldwidewelsh/internal/proxmox"
)

// TestCopiesAreToldWhenTheyChange: a guest that has moved has its copies looked at, one
// call per step; what has not changed is told once.
func TestCopiesAreToldWhenTheyChange(t *testing.T) {
	r := newRig(t)
	r.begin()
	r.until("nothing left")
	pve, err := proxmox.NewPVE(proxmox.Config{
		URL: "https://10.30.1.20:8006", Node: "pve-quai", TokenID: token, Secret: proxmox.NewSecret(pass), Transport: r,
	})
	if err != nil {
		t.Fatal(err)
	}
	copies := func(site failover.SiteID) *agent.Copies {
		return &agent.Copies{
			Site: site, Log: r.log, Hosts: map[failover.HostID]*proxmox.PVE{"pve-quai": pve}, Every: 30 * time.Second,
			Clock: &agent.LogClock{}, Logger: slog.New(slog.DiscardHandler),
		}
	}
	here, there := copies(away), copies(home)
	look := func(c *agent.Copies) int {
		before := len(r.log.made)
		for range 40 {
			calls := len(r.requests)
			r.later(time.Second)
			c.Step(t.Context(), r.now)
			if made := len(r.requests) - calls; made > 1 {
				t.Fatalf("%d calls in one step", made)
			}
		}
		return len(r.log.made) - before
	}
	if n := look(here); n != 1 {
		t.Fatalf("%d reports, want one", n)
	}
	seen := r.log.state.CopiesOf(guest)
	if len(seen) != 1 || !seen[0].Running || seen[0].Superseded || seen[0].OnBoot || seen[0].Since.IsZero() || seen[0].Booted.IsZero() {
		t.Fatalf("seen %+v, want the copy at quai, running, with its times, not started with its host", seen)
	}
	if n := look(here); n != 0 {
		t.Errorf("%d reports of what has not changed, want none", n)
	}
	if err := r.pve.StopGuest(vmid, r.now); err != nil {
		t.Fatal(err)
	}
	if n := look(here); n != 1 || r.log.state.CopiesOf(guest)[0].Running {
		t.Errorf("%d reports, running %t; want one that it is off", n, r.log.state.CopiesOf(guest)[0].Running)
	}
	if err := r.pve.RemoveGuest(vmid, r.now); err != nil {
		t.Fatal(err)
	}
	if n := look(here); n != 1 {
		t.Errorf("%d reports, want one that nothing stands there any more", n)
	}
	if told, ok := r.log.state.Copies[away]; !ok || len(told.Copies.Copies) != 0 {
		t.Errorf("told %t: %+v, want that its agent looked and found none", ok, told)
	}
	// The other site has no token for its structure's host: that is told, and nothing follows from it.
	if n := look(there); n != 1 || r.log.state.Guests[guest].Branch != nil {
		t.Errorf("%d reports, branch %+v; want one report and no branch", n, r.log.state.Guests[guest].Branch)
	}
	if c := r.log.state.Copies[home].Copies.Copies; len(c) != 1 || c[0].Unread == "" {
		t.Errorf("told of the copy at home: %+v, want that it was not read", c)
	}
}
