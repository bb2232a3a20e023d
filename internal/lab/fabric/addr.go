package fabric

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"syscall"
)

// The bounds of a Plan.
const (
	MaxSites  = 60 // sites 0..59
	MaxHosts  = 100
	MaxVLANs  = 16
	MaxGuests = 30 // per site and VLAN

	MaxRoutedHosts = 20 // per site of a routed plan

	firstBlock, lastBlock = 77, 126
	guestsBase            = 2 // third octet of the first guest, relative to the site's

	// Last octets within a site.
	lastMesh, lastPublic, lastManagement, lastRouter, firstHost = 1, 2, 3, 4, 100

	minPort, maxPort = 10000, 32767 // above lie the ports that the kernel gives to callers
)

// Plan gives the loopback addresses of a lab. It depends on nothing but its fields,
// so a lab that is built again has the same addresses. B is Block, i the site's
// index, v the index of the VLAN in VLANs:
//
//	address            is                                        used as
//	127.B.4i.1         Mesh(i): declared mesh address            front (mesh), source
//	127.B.4i.2         Public(i): public address                 front (public), source
//	127.B.4i.3         Management(i): metrics                    bound by the agent itself
//	127.B.4i.4         Router(i): router on the mesh             front (mesh)
//	127.B.4i.100+h     Host(i, h): PVE, PBS, Dropbear            front (mesh), source
//	127.B.4i+1.1       MeshBackend(i)                            backend of Mesh(i)
//	127.B.4i+1.2       PublicBackend(i)                          backend of Public(i)
//	127.B.4i+1.4       RouterBackend(i)                          backend of Router(i)
//	127.B.4i+1.100+h   HostBackend(i, h)                         backend of Host(i, h), source
//	127.B.4i+2+v/8.…   Guest(i, vlan, n): …= 1 + 30·(v mod 8)+n  bound by the guest itself
//	127.B.255.253      none: free ports are looked for here
//	127.B.255.254      none: guard of the block
//
// A method returns the zero netip.Addr for what lies outside the plan (an index too
// high, a VLAN that is not listed).
//
// A routed plan is that of sites with networks of their own; see routed.go.
type Plan struct {
	Block  byte  // second octet
	VLANs  []int // VLAN ids that guests may be in; at most MaxVLANs
	Routed bool  // real addresses instead of loopback ones; Block means nothing
}

// Mesh is the declared mesh address of site i: agent, and source of its calls.
func (p Plan) Mesh(i int) netip.Addr { return p.at(i, 0, lastMesh) }

// Public is the public address of site i: entry, DNS, and source of calls to public addresses.
func (p Plan) Public(i int) netip.Addr { return p.at(i, 0, lastPublic) }

// Management is where the agent of site i serves its metrics; there is no front.
func (p Plan) Management(i int) netip.Addr { return p.at(i, 0, lastManagement) }

// Router is the address of the router of site i.
func (p Plan) Router(i int) netip.Addr { return p.at(i, 0, lastRouter) }

// Host is the address of the h-th host of site i as other sites reach it.
func (p Plan) Host(i, h int) netip.Addr { return p.host(i, 0, h) }

// MeshBackend is where the agent of site i listens.
func (p Plan) MeshBackend(i int) netip.Addr { return p.at(i, 1, lastMesh) }

// PublicBackend is where the public entry and the DNS server of site i listen.
func (p Plan) PublicBackend(i int) netip.Addr { return p.at(i, 1, lastPublic) }

// RouterBackend is where what plays the router of site i listens.
func (p Plan) RouterBackend(i int) netip.Addr { return p.at(i, 1, lastRouter) }

// HostBackend is where the h-th host of site i listens.
func (p Plan) HostBackend(i, h int) netip.Addr { return p.host(i, 1, h) }

// Guest is the address of the n-th guest in a VLAN of site i. A guest has another
// address on each site, since all sites share one loopback.
func (p Plan) Guest(i, vlan, n int) netip.Addr {
	v := slices.Index(p.VLANs, vlan)
	if v < 0 || v >= MaxVLANs || n < 0 || n >= MaxGuests {
		return netip.Addr{}
	}
	return p.at(i, guestsBase+v/8, 1+MaxGuests*(v%8)+n)
}

func (p Plan) host(i, row, h int) netip.Addr {
	if h < 0 || h >= MaxHosts {
		return netip.Addr{}
	}
	return p.at(i, row, firstHost+h)
}

func (p Plan) at(i, row, last int) netip.Addr {
	if i < 0 || i >= MaxSites {
		return netip.Addr{}
	}
	if p.Routed {
		return routed(i, row, last)
	}
	return netip.AddrFrom4([4]byte{127, p.Block, byte(4*i + row), byte(last)})
}

// Sources returns the Config.Sources of a lab whose i-th site is sites[i]: the
// public addresses call on Public, all others (agents, hosts, routers, guests) on Mesh.
func (p Plan) Sources(sites []string) map[netip.Addr]Endpoint {
	all := map[netip.Addr]Endpoint{}
	add := func(a netip.Addr, site string, path Path) {
		if a.IsValid() {
			all[a] = Endpoint{Site: site, Path: path}
		}
	}
	for i, site := range sites {
		for _, a := range []netip.Addr{p.Public(i), p.PublicBackend(i)} {
			add(a, site, Public)
		}
		for _, a := range []netip.Addr{p.Mesh(i), p.MeshBackend(i), p.Management(i), p.Router(i), p.RouterBackend(i)} {
			add(a, site, Mesh)
		}
		for h := range MaxHosts {
			add(p.Host(i, h), site, Mesh)
			add(p.HostBackend(i, h), site, Mesh)
		}
		for _, vlan := range p.VLANs {
			for n := range MaxGuests {
				add(p.Guest(i, vlan, n), site, Mesh)
			}
		}
	}
	return all
}

// FreeBlock finds a block that no other lab uses. The lab that uses it is the one
// that holds the guard, a listener on the block's guard address and guardPort: the
// caller keeps it open as long as the lab stands.
func FreeBlock(guardPort int) (Plan, net.Listener, error) {
	if err := checkRange(guardPort); err != nil {
		return Plan{}, nil, fmt.Errorf("find a free block of addresses: %w", err)
	}
	var lc net.ListenConfig
	for b := firstBlock; b <= lastBlock; b++ {
		guard := netip.AddrFrom4([4]byte{127, byte(b), 255, 254})
		ln, err := lc.Listen(context.Background(), "tcp4", join(guard, guardPort))
		if err == nil {
			return Plan{Block: byte(b)}, ln, nil
		}
		if !errors.Is(err, syscall.EADDRINUSE) {
			return Plan{}, nil, fmt.Errorf("find a free block of addresses: %w", err)
		}
	}
	return Plan{}, nil, fmt.Errorf("find a free block of addresses: port %d is taken on each of 127.%d to 127.%d, most likely by one listener on all addresses (0.0.0.0 or [::]); %s",
		guardPort, firstBlock, lastBlock, howToFind(guardPort))
}

// CheckPorts says which of the ports cannot be used on the addresses of the block,
// because some program listens on all addresses, or because they are out of range:
// a lab uses 10000–32767, and 9977 and 9978 for the agents. All problems are joined.
func (p Plan) CheckPorts(ctx context.Context, ports ...int) error {
	a := netip.AddrFrom4([4]byte{127, p.Block, 255, 253})
	var lc net.ListenConfig
	var errs []error
	for _, port := range ports {
		if err := checkRange(port); err != nil {
			errs = append(errs, err)
			continue
		}
		ln, err := lc.Listen(ctx, "tcp4", join(a, port))
		if err == nil {
			err = ln.Close()
		}
		errs = append(errs, taken("TCP", a, port, err))
		pc, err := lc.ListenPacket(ctx, "udp4", join(a, port))
		if err == nil {
			err = pc.Close()
		}
		errs = append(errs, taken("UDP", a, port, err))
	}
	return errors.Join(errs...)
}

func checkRange(port int) error {
	if (port < minPort || port > maxPort) && port != 9977 && port != 9978 {
		return fmt.Errorf("port %d is not in %d–%d: lower ones belong to the machine's own services, higher ones to outgoing connections", port, minPort, maxPort)
	}
	return nil
}

func taken(proto string, a netip.Addr, port int, err error) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("%s port %d is taken on %s, where the lab has nothing: some program listens on all addresses (0.0.0.0 or [::]); %s", proto, port, a, howToFind(port))
	}
	if err != nil {
		return fmt.Errorf("check %s port %d: %w", proto, port, err)
	}
	return nil
}

func howToFind(port int) string {
	return fmt.Sprintf("`ss -lntup 'sport = :%d'` names it: stop it or choose another port", port)
}

func join(a netip.Addr, port int) string { return net.JoinHostPort(a.String(), strconv.Itoa(port)) }
