package fabric_test

import (
	"net"
	"net/netip"
	"strconv"
	"strings"
	"testing"

	"github.com/raoull/worldwidewelsh/internal/lab/fabric"
)

func fullPlan() fabric.Plan {
	p := fabric.Plan{Block: 77}
	for v := range fabric.MaxVLANs {
		p.VLANs = append(p.VLANs, 100+10*v)
	}
	return p
}

func TestPlanAddressesAreDistinct(t *testing.T) {
	p := fullPlan()
	guard := netip.MustParseAddr("127.77.255.254")
	seen := map[netip.Addr]string{guard: "guard", guard.Prev(): "port check"}
	take := func(a netip.Addr, what string) {
		b := a.As4()
		if b[0] != 127 || b[1] != p.Block || b[3] == 0 || b[3] == 255 {
			t.Errorf("%s: got %s, want a host address in 127.%d", what, a, p.Block)
		}
		if other, ok := seen[a]; ok {
			t.Errorf("%s and %s are both %s", other, what, a)
		}
		seen[a] = what
	}
	for i := range fabric.MaxSites {
		s := strconv.Itoa(i)
		take(p.Mesh(i), "mesh "+s)
		take(p.Public(i), "public "+s)
		take(p.Management(i), "management "+s)
		take(p.Router(i), "router "+s)
		take(p.MeshBackend(i), "mesh backend "+s)
		take(p.PublicBackend(i), "public backend "+s)
		take(p.RouterBackend(i), "router backend "+s)
		for h := range fabric.MaxHosts {
			take(p.Host(i, h), "host "+s+"/"+strconv.Itoa(h))
			take(p.HostBackend(i, h), "host backend "+s+"/"+strconv.Itoa(h))
		}
		for _, v := range p.VLANs {
			for n := range fabric.MaxGuests {
				take(p.Guest(i, v, n), "guest "+s+"/"+strconv.Itoa(v)+"/"+strconv.Itoa(n))
			}
		}
	}
}

func TestPlanIsStable(t *testing.T) {
	p := fabric.Plan{Block: 78, VLANs: []int{110, 120, 130}}
	for _, tt := range []struct {
		name string
		got  netip.Addr
		want string
	}{
		{"mesh", p.Mesh(0), "127.78.0.1"},
		{"public", p.Public(3), "127.78.12.2"},
		{"host", p.Host(2, 1), "127.78.8.101"},
		{"host backend", p.HostBackend(2, 1), "127.78.9.101"},
		{"guest", p.Guest(1, 120, 5), "127.78.6.36"},
	} {
		if tt.got.String() != tt.want {
			t.Errorf("%s: got %s, want %s", tt.name, tt.got, tt.want)
		}
	}
	for name, a := range map[string]netip.Addr{
		"site": p.Mesh(fabric.MaxSites), "negative site": p.Public(-1), "host": p.Host(0, fabric.MaxHosts),
		"VLAN": p.Guest(0, 140, 0), "guest": p.Guest(0, 110, fabric.MaxGuests),
	} {
		if a.IsValid() {
			t.Errorf("%s outside the plan: got %s, want no address", name, a)
		}
	}
}

func TestSourcesNameTheSender(t *testing.T) {
	p := fabric.Plan{Block: 77, VLANs: []int{110}}
	all := p.Sources([]string{"moulin", "quai"})
	for a, want := range map[netip.Addr]fabric.Endpoint{
		p.Mesh(0):           {Site: "moulin", Path: fabric.Mesh},
		p.Public(1):         {Site: "quai", Path: fabric.Public},
		p.HostBackend(1, 2): {Site: "quai", Path: fabric.Mesh},
		p.Guest(1, 110, 0):  {Site: "quai", Path: fabric.Mesh},
		p.Mesh(2):           {},
	} {
		if got := all[a]; got != want {
			t.Errorf("source %s: got %+v, want %+v", a, got, want)
		}
	}
}

func TestFreeBlockGivesEachLabItsOwn(t *testing.T) {
	const port = 20977
	first, guard, err := fabric.FreeBlock(port)
	if err != nil {
		t.Fatal(err)
	}
	defer guard.Close()
	second, other, err := fabric.FreeBlock(port)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if first.Block == second.Block {
		t.Errorf("both labs got block %d", first.Block)
	}
	guard.Close()
	third, again, err := fabric.FreeBlock(port)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if third.Block != first.Block {
		t.Errorf("after the first lab ended: got block %d, want %d", third.Block, first.Block)
	}
	if _, _, err := fabric.FreeBlock(80); err == nil {
		t.Error("FreeBlock(80): got nil, want an error")
	}
}

func TestCheckPortsNamesTheOccupied(t *testing.T) {
	const tcp, udp, free = 21977, 21978, 21979
	ln, err := net.Listen("tcp4", "0.0.0.0:"+strconv.Itoa(tcp))
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	pc, err := net.ListenPacket("udp4", "0.0.0.0:"+strconv.Itoa(udp))
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	p := fabric.Plan{Block: 99}
	if err := p.CheckPorts(t.Context(), free); err != nil {
		t.Errorf("free port: %v", err)
	}
	err = p.CheckPorts(t.Context(), tcp, free, udp, 443, 40000)
	if err == nil {
		t.Fatal("occupied ports: got nil, want an error")
	}
	lines := strings.Split(err.Error(), "\n")
	for i, want := range []string{"TCP port 21977 is taken", "UDP port 21978 is taken", "port 443 is not in", "port 40000 is not in"} {
		if i >= len(lines) || !strings.HasPrefix(lines[i], want) {
			t.Errorf("problem %d: got %q, want it to begin with %q", i, lines, want)
		}
	}
	if _, _, err := fabric.FreeBlock(tcp); err == nil || !strings.Contains(err.Error(), "0.0.0.0") {
		t.Errorf("FreeBlock on a port taken everywhere: got %v, want the wildcard listener named", err)
	}
}
