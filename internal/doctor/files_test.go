package doctor_test

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/doctor"
	"github.com/raoull/worldwidewelsh/internal/network"
)

// twoSites declares what the files of two agents are held against.
func twoSites() *network.Spec {
	site := func(n byte) network.Site {
		mesh := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 77, n, 1}), 9977)
		return network.Site{Kind: network.Brique, Mesh: mesh, DNS: netip.AddrPortFrom(mesh.Addr(), 53), Hosts: map[network.HostID]network.Host{
			network.HostID(fmt.Sprintf("raoull-%d", n)): {
				Owner: network.OwnerRaoull, PVE: &network.PVE{}, PBS: &network.PBS{}, Restore: &network.Restore{},
			},
			network.HostID(fmt.Sprintf("pve-%d", n)): {Owner: network.OwnerStructure, PVE: &network.PVE{}, Fence: "port"},
		}}
	}
	return &network.Spec{
		Network: "assos", Zones: map[string]network.Zone{"assos.example": {Backend: "rfc2136", Key: "k"}},
		Sites: map[network.SiteID]network.Site{"moulin": site(1), "quai": site(2)},
		Guests: map[network.GuestID]network.Guest{"web": {
			Host: "pve-1", Priority: 1, Check: &network.Check{Exec: "probe"}, Hooks: &network.Hooks{Before: &network.Hook{Run: "ask"}, After: &network.Hook{Run: "tell"}},
		}},
	}
}

// Each way in which an agent's own file does not fit is found, at its site; files that
// fit are not touched.
func TestFiles(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(moulin *doctor.LocalFile)
		want   []string // codes
		site   failover.SiteID
	}{
		{"fits", func(*doctor.LocalFile) {}, []string{doctor.CodeFine}, ""},
		{"mesh", func(f *doctor.LocalFile) { f.Advertise = "10.77.1.2:9977" }, []string{doctor.CodeFileMesh}, "moulin"},
		{"no name server", func(f *doctor.LocalFile) { f.DNS = nil }, []string{doctor.CodeFileNoDNS}, "moulin"},
		{"no tokens", func(f *doctor.LocalFile) { f.PVE, f.PBS = false, false }, []string{doctor.CodeFileNoToken, doctor.CodeFileNoToken}, "moulin"},
		{"a host of another site", func(f *doctor.LocalFile) { f.Hands = append(f.Hands, "pve-2") }, []string{doctor.CodeFileStranger}, "moulin"},
		{"a host that is gone", func(f *doctor.LocalFile) { f.Inventory = []network.HostID{"old"} }, []string{doctor.CodeFileStranger}, "moulin"},
		{"a pin of none", func(f *doctor.LocalFile) { f.Pins["pve:old"] = "aa" }, []string{doctor.CodeFileStranger}, "moulin"},
		{"no key", func(f *doctor.LocalFile) { f.TSIG = nil }, []string{doctor.CodeFileNoTSIG}, "moulin"},
		{"no fence", func(f *doctor.LocalFile) { f.Fences = nil }, []string{doctor.CodeFileNoFence}, "moulin"},
		{"no hands", func(f *doctor.LocalFile) { f.Hands = nil }, []string{doctor.CodeFileNoHands}, "moulin"},
		{"no program", func(f *doctor.LocalFile) { f.Programs = []string{"probe"} }, []string{doctor.CodeFileNoProgram, doctor.CodeFileNoProgram}, "moulin"},
		{"another version", func(f *doctor.LocalFile) { f.Version = "2" }, []string{doctor.CodeFileVersions}, ""},
		{"another pin", func(f *doctor.LocalFile) { f.Pins["pve:pve-2"] = "BB:CC" }, []string{doctor.CodeFilePins}, ""},
		{"the same pin in another dress", func(f *doctor.LocalFile) { f.Pins["pve:pve-2"] = "aabb" }, []string{doctor.CodeFine}, ""},
		{"authorities", func(f *doctor.LocalFile) { f.PublicCA = true }, []string{doctor.CodeFileAuthorities}, ""},
	} {
		file := func(n int, site failover.SiteID) doctor.LocalFile {
			return doctor.LocalFile{
				Site: site, Version: "1", Advertise: fmt.Sprintf("10.77.%d.1:9977", n), DNS: []string{"x:53"}, PVE: true, PBS: true,
				Hands: []network.HostID{network.HostID(fmt.Sprintf("pve-%d", n))}, Fences: []string{"port"}, Programs: []string{"ask", "probe", "tell"}, TSIG: []string{"k"},
				Pins: map[string]string{"pve:pve-2": "AA:BB"},
			}
		}
		moulin, quai := file(1, "moulin"), file(2, "quai")
		tt.change(&moulin)
		got := filesOf(twoSites(), map[failover.SiteID]doctor.Told{"moulin": {File: &moulin}, "quai": {File: &quai}})
		var codes []string
		for _, f := range got {
			codes = append(codes, f.Code)
			if f.Site != tt.site || f.Text == "" {
				t.Errorf("%s: %+v, want it of %q", tt.name, f, tt.site)
			}
		}
		if !slices.Equal(codes, tt.want) {
			t.Errorf("%s: got %v, want %v", tt.name, codes, tt.want)
		}
	}
	silent := filesOf(twoSites(), map[failover.SiteID]doctor.Told{"quai": {Why: "no answer"}})
	if len(silent) != 1 || silent[0].Code != doctor.CodeFileUntold || silent[0].Severity != doctor.Info {
		t.Errorf("an agent that is silent: %+v", silent)
	}
}

func filesOf(spec *network.Spec, told map[failover.SiteID]doctor.Told) []doctor.Finding {
	s := failover.NewState()
	s.Network = spec
	var out []doctor.Finding
	for _, f := range doctor.Examine(doctor.Input{State: s, Files: told}).Items {
		if f.Category == doctor.Files {
			out = append(out, f)
		}
	}
	return out
}
