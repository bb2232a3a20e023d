package site

import (
	"encoding/base64"
	"net/netip"

	"github.com/raoull/worldwidewelsh/internal/network"
)

// Embedded is the DNSServer of a lab whose agents serve the zone themselves.
const Embedded = "embedded"

// TSIGKey is the name of the key with which the agents update real DNS servers.
const TSIGKey = "lab-key"

// tsigName is the file in which a site's agent finds the secret of TSIGKey.
const tsigName = "tsig.key"

// RealDNS says whether the zone stands on real DNS servers that the agents update.
func (l *Lab) RealDNS() bool { return l.DNSServer != "" && l.DNSServer != Embedded }

// firstNamePort is the first port of the real DNS servers, two for each block.
const firstNamePort = 12100

// NameServers are the real DNS servers: two primaries that know nothing of each
// other, somewhere on the internet and at no site. They stand on 127.0.0.1,
// with ports that follow from the block: BIND listens on the addresses that the
// kernel lists for its interfaces only, and lists no other of 127.0.0.0/8.
func (l *Lab) NameServers() []netip.AddrPort {
	if !l.RealDNS() {
		return nil
	}
	at := func(n uint16) netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), firstNamePort+2*uint16(l.Block)+n)
	}
	return []netip.AddrPort{at(0), at(1)}
}

// TSIGSecret is the secret of TSIGKey in base64.
func (l *Lab) TSIGSecret() string { return base64.StdEncoding.EncodeToString(l.derive("tsig")) }

// zone declares the lab's zone.
func (l *Lab) zone() network.Zone {
	if !l.RealDNS() {
		return network.Zone{Backend: "embedded"}
	}
	return network.Zone{Backend: "rfc2136", Primaries: l.NameServers(), Key: TSIGKey}
}
