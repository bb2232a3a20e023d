package fabric

import "net/netip"

// routed gives the address of a routed plan that stands for a loopback one: k is the
// site's index + 1, and v the index of the VLAN. There are no forwarders, so an
// address and its backend are the same.
//
//	10.77.k.1                    Mesh(i): WireGuard
//	10.77.k.254                  Router(i), as the mesh reaches it
//	10.10.k.9                    Management(i)
//	10.10.k.(10+10h)             Host(i, h), h < MaxRoutedHosts
//	10.(100+v).0.(10+n)          Guest(i, vlan, n): the same at every site, in its VLAN
//	203.0.113.k, 198.51.100.k    Public(i), by turns (RFC 5737)
func routed(i, row, last int) netip.Addr {
	k := byte(i + 1)
	switch {
	case row >= guestsBase:
		v, n := (row-guestsBase)*8+(last-1)/MaxGuests, (last-1)%MaxGuests
		return netip.AddrFrom4([4]byte{10, byte(100 + v), 0, byte(10 + n)})
	case last >= firstHost+MaxRoutedHosts:
		return netip.Addr{}
	case last >= firstHost:
		return netip.AddrFrom4([4]byte{10, 10, k, byte(10 + 10*(last-firstHost))})
	}
	switch last {
	case lastMesh:
		return netip.AddrFrom4([4]byte{10, 77, k, 1})
	case lastPublic:
		if i%2 == 0 {
			return netip.AddrFrom4([4]byte{203, 0, 113, k})
		}
		return netip.AddrFrom4([4]byte{198, 51, 100, k})
	case lastManagement:
		return netip.AddrFrom4([4]byte{10, 10, k, 9})
	}
	return netip.AddrFrom4([4]byte{10, 77, k, 254})
}
