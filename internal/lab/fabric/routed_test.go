package fabric_test

import (
	"net/netip"
	"testing"

	"github.com/raoull/worldwidewelsh/internal/lab/fabric"
)

func TestRoutedPlanGivesRealAddresses(t *testing.T) {
	p := fabric.Plan{Block: 77, VLANs: []int{120, 130}, Routed: true}
	for _, tt := range []struct {
		name string
		got  netip.Addr
		want string
	}{
		{"mesh of the first site", p.Mesh(0), "10.77.1.1"},
		{"its backend", p.MeshBackend(0), "10.77.1.1"},
		{"public of the first", p.Public(0), "203.0.113.1"},
		{"public of the second", p.Public(1), "198.51.100.2"},
		{"backend of that", p.PublicBackend(1), "198.51.100.2"},
		{"management", p.Management(4), "10.10.5.9"},
		{"router", p.Router(2), "10.77.3.254"},
		{"first host", p.Host(2, 0), "10.10.3.10"},
		{"backend of the second host", p.HostBackend(2, 1), "10.10.3.20"},
		{"last host", p.Host(2, fabric.MaxRoutedHosts-1), "10.10.3.200"},
		{"host too many", p.Host(2, fabric.MaxRoutedHosts), "invalid IP"},
		{"guest", p.Guest(0, 130, 3), "10.101.0.13"},
		{"the same guest elsewhere", p.Guest(4, 130, 3), "10.101.0.13"},
		{"guest of no VLAN", p.Guest(0, 140, 3), "invalid IP"},
		{"site too many", p.Mesh(fabric.MaxSites), "invalid IP"},
	} {
		if tt.got.String() != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, tt.got, tt.want)
		}
	}
}
