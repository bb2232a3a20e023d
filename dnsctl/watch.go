package dnsctl

import (
	"net/netip"

	"github.com/miekg/dns"

	"github.com/raoull/worldwidewelsh/failover"
)

// Watched are the primaries of the zones that stand on other servers, by
// absolute name: whom to believe that such a zone has changed (RFC 1996
// section 3.10).
func Watched(s *failover.State) map[string][]netip.Prefix {
	out := map[string][]netip.Prefix{}
	if s.Network == nil {
		return out
	}
	for name, z := range s.Network.Zones {
		if z.Backend != BackendRFC2136 {
			continue
		}
		for _, a := range z.Primaries {
			out[name+"."] = append(out[name+"."], netip.PrefixFrom(a.Addr(), a.Addr().BitLen()))
		}
	}
	return out
}

// Watch says of which zones of other servers a NOTIFY is heard, and from whom;
// it replaces what was said before. Config.OnNotify is called for each.
func (s *Server) Watch(zones map[string][]netip.Prefix) { s.watched.Store(&zones) }

// isTold handles a NOTIFY of a watched zone; false: it is none, or not from a
// primary of it.
func (s *Server) isTold(req *dns.Msg, source netip.Addr) bool {
	watched := s.watched.Load()
	if watched == nil || s.onNotify == nil || req.Opcode != dns.OpcodeNotify || len(req.Question) != 1 {
		return false
	}
	zone := dns.CanonicalName(req.Question[0].Name)
	if !containsAddr((*watched)[zone], source) {
		return false
	}
	s.onNotify(zone)
	return true
}
