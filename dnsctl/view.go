package dnsctl

import (
	"errors"
	"maps"
	"net/netip"
	"slices"

	"github.com/miekg/dns"

	"github.com/raoull/worldwidewelsh/failover"
)

// Secondaries are who may transfer one zone. With neither address nor key nobody may; with both, both must hold.
type Secondaries struct {
	From []netip.Prefix
	Key  string // name of a key of Config.TransferKeys
}

// permits says whether a client is one of the secondaries.
func (a Secondaries) permits(c transferClient) bool {
	switch {
	case len(a.From) == 0 && a.Key == "":
		return false
	case a.Key != "" && (!c.signed || c.key != dns.CanonicalName(a.Key)):
		return false
	}
	return len(a.From) == 0 || containsAddr(a.From, c.source)
}

// Access is who may transfer each embedded zone: its declared secondaries, with the declared key.
func Access(s *failover.State) map[string]Secondaries {
	out := map[string]Secondaries{}
	if s.Network == nil {
		return out
	}
	for name, z := range s.Network.Zones {
		if z.Backend == BackendRFC2136 {
			continue
		}
		a := Secondaries{Key: z.TransferKey}
		for _, server := range z.Secondaries {
			addr := server.Addr()
			a.From = append(a.From, netip.PrefixFrom(addr, addr.BitLen()))
		}
		if a.Key != "" && len(a.From) == 0 {
			a.Key = "" // no secondary is declared: the key alone opens nothing
		}
		out[name+"."] = a
	}
	return out
}

// SetSecondaries says who may transfer which zone, by absolute name, from now on; it replaces the general rule of Config.
// A zone that is not named may not be transferred.
func (s *Server) SetSecondaries(access map[string]Secondaries) { s.access.Store(&access) }

// localView is what the clients of a site's own LAN are told.
type localView struct {
	prefixes []netip.Prefix
	zones    *zoneSet
}

// PublishLocal replaces what clients in the given networks are told. Zones that are not given are answered for them as for
// everybody; transfers are always of the general content. A faulty zone keeps its former or general content and is named
// in the error.
func (s *Server) PublishLocal(prefixes []netip.Prefix, zones []Zone) error {
	if len(prefixes) == 0 || len(zones) == 0 {
		s.local.Store(nil)
		return nil
	}
	next := &localView{prefixes: slices.Clone(prefixes), zones: &zoneSet{byName: maps.Clone(s.zones.Load().byName)}}
	if next.zones.byName == nil {
		next.zones.byName = make(map[string]*compiled, len(zones))
	}
	before := s.local.Load()
	var errs []error
	for _, z := range zones {
		c, err := compile(z)
		switch {
		case err == nil:
			next.zones.byName[c.source.Name] = c
		case before != nil && before.zones.byName[z.Name] != nil:
			errs, next.zones.byName[z.Name] = append(errs, err), before.zones.byName[z.Name]
		default:
			errs = append(errs, err)
		}
	}
	s.local.Store(next)
	return errors.Join(errs...)
}

// view returns the zones that a client is answered from.
func (s *Server) view(source netip.Addr) *zoneSet {
	if l := s.local.Load(); l != nil && containsAddr(l.prefixes, source) {
		return l.zones
	}
	return s.zones.Load()
}

// hidesSOA says whether a question is a secondary's for the serial while this agent has no quorum: it must look for another
// primary rather than take an old zone for the newest.
func (s *Server) hidesSOA(req *dns.Msg, source netip.Addr, signed bool) bool {
	if Transfers(s.transfers.Load()) == TransfersAllowed || len(req.Question) != 1 ||
		req.Opcode != dns.OpcodeQuery || req.Question[0].Qtype != dns.TypeSOA {
		return false
	}
	zone := dns.CanonicalName(req.Question[0].Name)
	if s.zones.Load().byName[zone] == nil {
		return false
	}
	if access := s.access.Load(); access != nil {
		a := (*access)[zone]
		return signed || len(a.From) > 0 && containsAddr(a.From, source)
	}
	return signed || len(s.prefixes) > 0 && containsAddr(s.prefixes, source)
}

func clientWith(source netip.Addr, via transport, req *dns.Msg, signed bool) transferClient {
	c := transferClient{source: source, via: via, signed: signed}
	if t := req.IsTsig(); t != nil && signed {
		c.key = dns.CanonicalName(t.Hdr.Name)
	}
	return c
}
