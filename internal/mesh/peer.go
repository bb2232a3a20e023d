package mesh

import (
	"cmp"
	"net/netip"
	"time"
)

// Peer is one reading of a WireGuard peer, whoever was asked.
type Peer struct {
	Interface string // name of the WireGuard interface
	PublicKey string // base64
	Name      string // as the router's owner calls it; empty for a local interface
	// Endpoint is the source of the newest authenticated packet; zero when there was none.
	Endpoint   netip.AddrPort
	AllowedIPs []netip.Prefix
	Keepalive  time.Duration // persistent keepalive; zero: off
	// Handshake is how long ago the last one was; negative: there was none yet.
	Handshake time.Duration
	Rx, Tx    uint64 // bytes since the peer was made
	Disabled  bool
}

// NoHandshake is the Handshake of a peer that has had none.
const NoHandshake = time.Duration(-1)

// Key names a peer among all that are read: the key pair is unique per interface.
type Key struct{ Interface, PublicKey string }

// Key returns the peer's own.
func (p Peer) Key() Key { return Key{p.Interface, p.PublicKey} }

// For returns the peer that packets to an address go to: the enabled one with
// the longest prefix that contains it, as WireGuard routes.
func For(peers []Peer, to netip.Addr) (Peer, bool) {
	var best Peer
	bits := -1
	for _, p := range peers {
		for _, prefix := range p.AllowedIPs {
			if !p.Disabled && prefix.Bits() > bits && prefix.Contains(to.Unmap()) {
				best, bits = p, prefix.Bits()
			}
		}
	}
	return best, bits >= 0
}

func compareKeys(x, y Peer) int {
	return cmp.Or(cmp.Compare(x.Interface, y.Interface), cmp.Compare(x.PublicKey, y.PublicKey))
}
