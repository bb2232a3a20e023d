// Package netns gives every site of a lab a network of its own: network namespaces
// of the kernel, routers between them, and a mesh of wireguard-go. What runs in them
// is what runs at a site: the real wwwd, and the lab's hosts on real addresses and
// ports. It needs root, /dev/net/tun and the programs that Missing names.
//
//	need.go    what a machine must have      world.go   namespaces and lines
//	mesh.go    WireGuard between the sites   cut.go     lines and services that fail
//	enter.go   calls from within             clock.go   the clock of one process
//	room.go    the processes of the sites   way.go     cuts by what they stop, in any mixture
//
// The way between two sites, each box a namespace:
//
//	[site: hosts, agent, wg] ─ eth0/lan ─ [router] ─ wan/sK ─ [internet] ─ … ─ [site]
//
// The router forwards its site's public address as it is, without translation. It has
// an address on the mesh, behind its site's WireGuard, that answers ping (RFC 792) as
// a RouterOS does: so the real ICMP probe is at work, unlike on loopback, where the
// kernel answers for the dead.
package netns
