package proxmox_test

import (
	"strings"
	"testing"

	"github.com/raoull/worldwidewelsh/internal/proxmox"
)

// TestFork: no address, mark or protection of the program's stays; the guest's own things do.
func TestFork(t *testing.T) {
	mark := proxmox.Marker{Network: "assos", Guest: "nuage", Op: "op-7", Role: "away", Token: 7}
	g := proxmox.GuestConfig{Values: map[string]string{
		"net0": "virtio=BC:24:11:00:00:01,bridge=vmbr0,tag=120,link_down=1", "net1": "model=e1000,macaddr=BC:24:11:00:00:02,bridge=vmbr0",
		"protection": "1", "onboot": "0", "tags": "www;www-op-7;web", "vmgenid": "5e0b", "memory": "2048",
		"description": "www-park: nets=net0 protection=0 onboot=1 op=op-9\n" + mark.Describe("of the association"),
	}}
	set, del, err := g.Fork(proxmox.VM, "nuage", "op-11")
	if err != nil || len(del) != 0 {
		t.Fatalf("delete %v, error %v", del, err)
	}
	for key, want := range map[string]string{
		"net0": "virtio,bridge=vmbr0,tag=120,link_down=1", "net1": "e1000,bridge=vmbr0,link_down=1", "protection": "0", "onboot": "0",
		"tags": "web", "vmgenid": "1", "description": "www-fork: of=nuage op=op-11\nof the association",
	} {
		if set[key] != want {
			t.Errorf("%s: %q, want %q", key, set[key], want)
		}
	}
	if _, ok := set["memory"]; ok {
		t.Error("memory is changed")
	}
	for k, v := range set {
		g.Values[k] = v
	}
	if _, marked := g.Marker(); marked || g.WasParked() || !g.Forked() {
		t.Error("still marked or parked, or not forked")
	}
	if set, del, err := g.Fork(proxmox.VM, "nuage", "op-11"); len(set)+len(del) != 0 || err != nil {
		t.Errorf("twice: set %v, delete %v, %v", set, del, err)
	}
	ct := proxmox.GuestConfig{Values: map[string]string{"net0": "name=eth0,bridge=vmbr0,hwaddr=BC:24:11:00:00:01,ip=dhcp", "protection": "1", "tags": "www"}}
	set, del, err = ct.Fork(proxmox.CT, "nuage", "op-11")
	if _, touched := set["protection"]; err != nil || set["net0"] != "name=eth0,bridge=vmbr0,ip=dhcp,link_down=1" || touched || strings.Join(del, " ") != "tags" {
		t.Errorf("container: set %v, delete %v, %v; want its people's protection kept", set, del, err)
	}
}
