package lab_test

import (
	"net/url"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/internal/lab"
)

// duo is a world whose host is in a corosync cluster with a second one, which has guest 200.
func duo(t *testing.T) (*world, *lab.PVE) {
	t.Helper()
	other, err := lab.NewPVE(lab.PVEConfig{
		Node: "pve-two", Tokens: map[string]string{pveToken: secret}, Cluster: "duo",
		Storages: []lab.StorageConfig{{ID: "local-zfs", Type: "zfspool", Size: 1 << 30}},
	})
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, func(p *lab.PVEConfig, _ *lab.PBSConfig) {
		p.Cluster = "duo"
		p.Peers = []lab.Peer{{Name: "pve-two", Host: other}, {Name: "pve-three"}}
	})
	other.Advance(w.now)
	if err := other.AddGuest(lab.GuestSpec{ID: 200, Kind: "qemu", Name: "loin", DiskSize: diskBytes}, nil); err != nil {
		t.Fatal(err)
	}
	return w, other
}

// TestRequestsForAnotherNode: the proxy hands them over; what becomes of that is 595 and 596.
func TestRequestsForAnotherNode(t *testing.T) {
	w, other := duo(t)
	row, _ := w.call("GET", "/nodes/pve-two/qemu/200/status/current", nil).(map[string]any)
	if row["name"] != "loin" {
		t.Errorf("status through the proxy = %v", row)
	}
	if r := w.try("GET", "/nodes/pve-three/status", nil); r.status != 595 || r.reason != "No route to host" || r.raw != "" || w.hint.Delay != 3*time.Second {
		t.Errorf("a node that is off: %d %q %q after %v, want 595 No route to host", r.status, r.reason, r.raw, w.hint.Delay)
	}
	w.suffer(other, lab.Fault{Effect: lab.EffectStallHost})
	if r := w.try("POST", "/nodes/pve-two/qemu/200/status/start", nil); r.status != 596 || r.reason != "Connection timed out" || w.hint.Delay != 30*time.Second || w.hint.Reply != lab.ReplyArrives {
		t.Errorf("a node that hangs: %d %q after %v, want 596 after 30 s", r.status, r.reason, w.hint.Delay)
	}
	other.Heal()
	other.PowerLoss(w.now)
	if r := w.try("GET", "/nodes/pve-two/status", nil); r.status != 595 {
		t.Errorf("a node without power: %d, want 595", r.status)
	}
	if r := w.request(w.pveRT, "", "GET", "/nodes/pve-two/status", nil); r.status != 401 {
		t.Errorf("without a token: %d, want 401 before anything is handed over", r.status)
	}
	rows, _ := w.call("GET", "/cluster/status", nil).([]any)
	if len(rows) != 4 || rows[0].(map[string]any)["nodes"] != 3.0 || rows[2].(map[string]any)["online"] != 0.0 {
		t.Errorf("cluster status = %v, want the cluster and three nodes", rows)
	}
	nodes, _ := w.call("GET", "/nodes", nil).([]any)
	if len(nodes) != 3 || nodes[1].(map[string]any)["status"] != "offline" {
		t.Errorf("nodes = %v", nodes)
	}
}

// TestIDsAreTheClusters: an id of another node is taken here too.
func TestIDsAreTheClusters(t *testing.T) {
	w, _ := duo(t)
	w.backup(100)
	if r := w.try("GET", "/cluster/nextid", pairs("vmid", "200")); r.status != 400 || r.body.Errors["vmid"] != "VM 200 already exists" {
		t.Errorf("nextid of a taken id: %d %v", r.status, r.body.Errors)
	}
	r := w.try("POST", nodePath("/qemu"), vmArgs(w, "200", "force", "1"))
	if want := "unable to restore VM 200 - VM 200 already exists on node 'pve-two'"; r.status != 500 || r.reason != want {
		t.Errorf("restore over another node's id: %d %q, want %q", r.status, r.reason, want)
	}
}

// TestWithoutQuorumNothingChanges: reading and stopping work, changing and deleting do not.
func TestWithoutQuorumNothingChanges(t *testing.T) {
	w, _ := duo(t)
	w.ok("POST", nodePath("/qemu/100/status/start"), nil)
	w.pve.SetQuorum(false)
	w.call("GET", nodePath("/qemu/100/config"), nil)
	const denied = "unable to open file '/etc/pve/nodes/pve-moulin/qemu-server/100.conf.tmp."
	if r := w.try("PUT", nodePath("/qemu/100/config"), pairs("cores", "2")); r.status != 500 || !hasPrefixSuffix(r.reason, denied, "' - Permission denied") {
		t.Errorf("config without quorum: %d %q", r.status, r.reason)
	}
	w.ok("POST", nodePath("/qemu/100/status/stop"), nil)
	if _, exit := w.run("DELETE", nodePath("/qemu/100"), nil); !hasPrefixSuffix(exit, denied, "' - Permission denied") {
		t.Errorf("DELETE without quorum ended %q", exit)
	}
	w.guest(100)
}

// TestHAResourcesActBehindTheCallersBack: start and stop are requests, delete needs purge.
func TestHAResourcesActBehindTheCallersBack(t *testing.T) {
	w := newWorld(t, func(p *lab.PVEConfig, _ *lab.PBSConfig) { p.HA = []string{"vm:100"} })
	st, _ := w.call("GET", nodePath("/qemu/100/status/current"), nil).(map[string]any)
	if st["ha"].(map[string]any)["managed"] != 1.0 {
		t.Errorf("status = %v, want ha managed", st["ha"])
	}
	upid := w.ok("POST", nodePath("/qemu/100/status/start"), nil)
	task, _ := w.call("GET", nodePath("/tasks/%s/status", url.PathEscape(upid)), nil).(map[string]any)
	if task["type"] != "hastart" || w.guest(100).Running {
		t.Errorf("task %v, running %v: want a request that has done nothing yet", task["type"], w.guest(100).Running)
	}
	w.advance(15 * time.Second)
	if !w.guest(100).Running {
		t.Error("the HA stack has not started its resource")
	}
	w.ok("POST", nodePath("/qemu/100/status/stop"), nil)
	w.advance(15 * time.Second)
	if w.guest(100).Running {
		t.Error("the HA stack has not stopped its resource")
	}
	if r := w.try("DELETE", nodePath("/qemu/100"), nil); r.reason != "unable to remove VM 100 - used in HA resources and purge parameter not set." {
		t.Errorf("DELETE without purge: %d %q", r.status, r.reason)
	}
	w.ok("DELETE", nodePath("/qemu/100"), pairs("purge", "1"))
	if rows, _ := w.call("GET", "/cluster/ha/resources", nil).([]any); len(rows) != 0 {
		t.Errorf("HA resources after the purge = %v", rows)
	}
}

func hasPrefixSuffix(s, prefix, suffix string) bool {
	return len(s) > len(prefix)+len(suffix) && s[:len(prefix)] == prefix && s[len(s)-len(suffix):] == suffix
}
