package logtest

import (
	"testing"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/network"
)

// The smallest network in which an operation can begin.
const (
	home, away = failover.SiteID("moulin"), failover.SiteID("quai")
	guest      = failover.GuestID("nuage")
)

func spec() *network.Spec {
	return network.Spec{
		Network: "test",
		Sites: map[network.SiteID]network.Site{
			home: {Kind: network.Brique, Hosts: map[network.HostID]network.Host{
				"pve-moulin": {Owner: network.OwnerStructure, PVE: &network.PVE{URL: "https://10.10.1.10:8006", Node: "pve-moulin"}},
			}},
			away: {Kind: network.Brique, Hosts: map[network.HostID]network.Host{
				"pve-quai": {
					Owner:   network.OwnerRaoull,
					PVE:     &network.PVE{URL: "https://10.30.1.20:8006", Node: "pve-quai"},
					Restore: &network.Restore{Storage: "local", Bridge: "vmbr0", IDs: network.IDRange{First: 90000, Last: 90009}},
				},
			}},
		},
		Structures: map[network.StructureID]network.Structure{
			"le-moulin": {Home: home, VLAN: 120, Mode: network.ModeAuto, OffSite: network.OffSite{Policy: network.ConsentAllowed}},
		},
		Guests: map[network.GuestID]network.Guest{
			guest: {ID: 1101, Type: network.VM, Structure: "le-moulin", Host: "pve-moulin", Priority: 1},
		},
	}.WithDefaults()
}

func assignment(volid string) failover.Assignment {
	return failover.Assignment{
		Guest: guest, Structure: "le-moulin", Priority: 1, Target: away, Host: "pve-quai", VLAN: 120,
		Point: failover.RestorePoint{Storage: "pbs-moulin", Volid: volid},
	}
}

// beginStep begins an operation whose first step is claimed, and returns the
// token of that step.
func beginStep(t *testing.T, n failover.Log) (failover.OpID, failover.Token) {
	t.Helper()
	mustPropose(t, n, failover.ApplyNetwork{Spec: spec()})
	st := mustPropose(t, n, failover.BeginOp{
		Kind: failover.KindFailover, Domain: failover.SiteDomain(home), Forced: true,
		Plan: failover.Plan{Loss: failover.Loss{Site: home}, Assignments: []failover.Assignment{assignment("backup/1")}},
	})
	op := opOf(t, n, st)
	token := op.TokenOf(guest)
	mustPropose(t, n, failover.StepMoved{Token: token, Attempt: 1, To: failover.StatusRunning})
	return op.ID, token
}

// opOf returns the operation that an entry began, as the leader has it.
func opOf(t *testing.T, n failover.Log, st failover.Stamp) failover.Operation {
	t.Helper()
	for _, op := range n.State().Ops {
		if op.Begun.Index == st.Index {
			return op
		}
	}
	t.Fatalf("no operation was begun by entry %d", st.Index)
	return failover.Operation{}
}

func confirmation(t *testing.T, c Cluster) {
	nodes, l := c.Nodes(), leader(t, c)
	op, token := beginStep(t, nodes[l])
	c.Settle()
	for i, n := range nodes {
		if err := confirm(t, n, token); err != nil {
			t.Errorf("node %d: Confirm of the newest token: %v", i, err)
		}
		for name, stale := range map[string]failover.Token{
			"of another operation": {Op: "op-1", Guest: guest, Step: token.Step, Index: token.Index},
			"of an older entry":    {Op: op, Guest: guest, Step: token.Step, Index: token.Index - 1},
			"of a later step":      {Op: op, Guest: guest, Step: failover.StepStart, Index: token.Index},
		} {
			if err := confirm(t, n, stale); !isRejected(err) {
				t.Errorf("node %d: Confirm of a token %s: %v, want *RejectedError", i, name, err)
			}
		}
	}
	f := follower(t, c)
	c.Cut(f) // it does not hear of the retargeting
	mustPropose(t, nodes[l], failover.Retarget{Op: op, Guest: guest, Assignment: assignment("backup/0")})
	c.Heal(f)
	if err := confirm(t, nodes[l], token); !isRejected(err) {
		t.Errorf("Confirm of an out-dated token at the leader: %v, want *RejectedError", err)
	}
	c.Settle()
	if err := confirm(t, nodes[f], token); !isRejected(err) {
		t.Errorf("Confirm of an out-dated token at a follower: %v, want *RejectedError", err)
	}
}

func confirmationAlone(t *testing.T, c Cluster) {
	nodes, l := c.Nodes(), leader(t, c)
	_, token := beginStep(t, nodes[l])
	c.Settle()
	c.Cut(l)
	if nodes[l].State().TokenCurrent(token) != nil {
		t.Fatal("the token is not the newest in the leader's own state")
	}
	// It may still believe to lead; only a majority can say that it does.
	if err := confirm(t, nodes[l], token); err == nil {
		t.Error("Confirm by a leader that is cut off: nil")
	}
	c.Settle()
	if err := confirm(t, nodes[l], token); err == nil {
		t.Error("Confirm by a leader that lost its term: nil")
	}
	if err := confirm(t, nodes[(l+1)%len(nodes)], token); err != nil {
		t.Errorf("Confirm by the others: %v", err)
	}
	c.Heal(l)
	c.Settle()
	if err := confirm(t, nodes[l], token); err != nil {
		t.Errorf("Confirm after healing: %v", err)
	}
}
