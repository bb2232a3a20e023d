package proxmox

import (
	"maps"
	"testing"
)

// after is a guest's configuration with changes made.
func after(g GuestConfig, set map[string]string, del ...string) GuestConfig {
	out := GuestConfig{Values: maps.Clone(g.Values)}
	for _, k := range del {
		delete(out.Values, k)
	}
	for k, v := range set {
		out.Values[k] = v
		if v == "" {
			delete(out.Values, k)
		}
	}
	return out
}

func TestParkAndUnpark(t *testing.T) {
	whole := map[string]string{
		"name": "cloud", "onboot": "1", "description": "ask Anna\nsecond line",
		"net0": "virtio=AA:BB:CC:00:00:01,bridge=vmbr0,tag=120", "net1": "virtio=AA:BB:CC:00:00:02,bridge=vmbr1,link_down=1", "netx": "no interface",
	}
	for _, tt := range []struct {
		name string
		give map[string]string
	}{
		{"as it is", whole},
		{"protected before", after(GuestConfig{Values: whole}, map[string]string{"protection": "1"}).Values},
		{"without a description", after(GuestConfig{Values: whole}, map[string]string{"description": ""}).Values},
		{"with a marker of ours", after(GuestConfig{Values: whole}, map[string]string{"description": "www: network=n guest=g op=op-1 token=3 role=away\nask Anna"}).Values},
	} {
		t.Run(tt.name, func(t *testing.T) {
			was := GuestConfig{Values: tt.give}
			parked := after(was, was.Park("op-7", false))
			if !parked.Parked() || parked.Values["onboot"] != "0" || parked.Values["protection"] != "1" {
				t.Fatalf("parked: %v", parked.Values)
			}
			if got, want := parked.Values["net0"], tt.give["net0"]+",link_down=1"; got != want {
				t.Errorf("net0 %q, want %q", got, want)
			}
			if parked.Values["net1"] != tt.give["net1"] || parked.Values["netx"] != tt.give["netx"] {
				t.Errorf("net1 %q, netx %q: changed", parked.Values["net1"], parked.Values["netx"])
			}
			if more := parked.Park("op-8", false); more != nil {
				t.Errorf("parked twice: %v", more)
			}
			set, del := parked.Unpark()
			back := after(parked, set, del...)
			if back.Values["protection"] == "0" {
				delete(back.Values, "protection")
			}
			if !maps.Equal(back.Values, tt.give) {
				t.Errorf("unparked:\ngot  %v\nwant %v", back.Values, tt.give)
			}
			if set, del := back.Unpark(); set != nil || del != nil {
				t.Errorf("unparked twice: %v, %v", set, del)
			}
		})
	}
}

// TestParkRemembersTheStart: of a guest that was told not to start before it was parked.
func TestParkRemembersTheStart(t *testing.T) {
	was := GuestConfig{Values: map[string]string{"net0": "name=eth0,bridge=vmbr0", "onboot": "0"}}
	parked := after(was, was.Park("op-7", true))
	if set, _ := parked.Unpark(); set["onboot"] != "1" {
		t.Errorf("unpark sets %v, want that it starts with its host", set)
	}
}

// TestParkAgain: who put a cable in again is overruled, and what the guest was like before
// it was parked first is what it becomes.
func TestParkAgain(t *testing.T) {
	was := GuestConfig{Values: map[string]string{"net0": "name=eth0,bridge=vmbr0", "protection": "1"}}
	parked := after(was, was.Park("op-7", false))
	parked.Values["net0"], parked.Values["protection"] = "name=eth0,bridge=vmbr0", "0"
	if parked.Parked() {
		t.Fatal("counts as parked with its cable in")
	}
	again := after(parked, parked.Park("op-8", false))
	if !again.Parked() {
		t.Fatalf("not parked: %v", again.Values)
	}
	set, del := again.Unpark()
	back := after(again, set, del...)
	if back.Values["net0"] != was.Values["net0"] || back.Values["protection"] != "1" || back.Values["description"] != "" {
		t.Errorf("unparked: %v, want %v", back.Values, was.Values)
	}
}
