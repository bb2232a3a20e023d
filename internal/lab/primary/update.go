package primary

import (
	"slices"

	"github.com/miekg/dns"
)

// update does what an UPDATE asks for, all of it or nothing, and returns the response code (RFC 2136 section 3).
func (s *Server) update(m *dns.Msg, signed bool) int {
	q := m.Question[0]
	switch {
	case q.Qtype != dns.TypeSOA:
		return dns.RcodeFormatError
	case dns.CanonicalName(q.Name) != s.apex || q.Qclass != dns.ClassINET:
		return dns.RcodeNotAuth
	case len(s.cfg.Keys) > 0 && !signed:
		return dns.RcodeRefused
	}
	if rcode := s.prerequisites(m.Answer); rcode != dns.RcodeSuccess {
		return rcode
	}
	for _, rr := range m.Ns {
		if rcode := s.prescan(rr); rcode != dns.RcodeSuccess {
			return rcode
		}
	}
	changed := false
	for _, rr := range m.Ns {
		changed = s.apply(rr) || changed
	}
	if changed {
		s.serial++
		s.updates++
		if s.cfg.Applied != nil {
			s.cfg.Applied(m)
		}
	}
	return dns.RcodeSuccess
}

// prerequisites are checked before anything is changed (section 3.2).
func (s *Server) prerequisites(list []dns.RR) int {
	wanted := map[setKey][]dns.RR{}
	for _, rr := range list {
		h := rr.Header()
		name := dns.CanonicalName(h.Name)
		if h.Ttl != 0 {
			return dns.RcodeFormatError
		}
		if !s.inZone(name) {
			return dns.RcodeNotZone
		}
		used, has := s.named(name), len(s.sets[setKey{name, h.Rrtype}]) > 0
		switch {
		case h.Class == dns.ClassINET:
			k := setKey{name, h.Rrtype}
			wanted[k] = append(wanted[k], rr)
		case h.Class != dns.ClassANY && h.Class != dns.ClassNONE || h.Rdlength != 0:
			return dns.RcodeFormatError
		case h.Class == dns.ClassANY && h.Rrtype == dns.TypeANY && !used:
			return dns.RcodeNameError
		case h.Class == dns.ClassANY && h.Rrtype != dns.TypeANY && !has:
			return dns.RcodeNXRrset
		case h.Class == dns.ClassNONE && h.Rrtype == dns.TypeANY && used:
			return dns.RcodeYXDomain
		case h.Class == dns.ClassNONE && h.Rrtype != dns.TypeANY && has:
			return dns.RcodeYXRrset
		}
	}
	for k, want := range wanted { // each alone decides, so that the order does not matter
		have := s.sets[k]
		if len(have) != len(want) || slices.ContainsFunc(want, func(rr dns.RR) bool { return indexOf(have, rr) < 0 }) {
			return dns.RcodeNXRrset
		}
	}
	return dns.RcodeSuccess
}

// named says whether a name has records of its own.
func (s *Server) named(name string) bool {
	for k := range s.sets {
		if k.name == name {
			return true
		}
	}
	return name == s.apex
}

// prescan refuses what is not well formed (section 3.4.1).
func (s *Server) prescan(rr dns.RR) int {
	h := rr.Header()
	meta := h.Rrtype >= dns.TypeTKEY && h.Rrtype <= dns.TypeANY // TKEY, TSIG, IXFR, AXFR, MAILB, MAILA, ANY
	switch {
	case !s.inZone(dns.CanonicalName(h.Name)):
		return dns.RcodeNotZone
	case h.Class == dns.ClassINET && meta,
		h.Class == dns.ClassANY && (h.Ttl != 0 || h.Rdlength != 0 || meta && h.Rrtype != dns.TypeANY),
		h.Class == dns.ClassNONE && (h.Ttl != 0 || meta),
		h.Class != dns.ClassINET && h.Class != dns.ClassANY && h.Class != dns.ClassNONE:
		return dns.RcodeFormatError
	}
	return dns.RcodeSuccess
}

// apply changes the zone by one record and says whether it did (section 3.4.2).
func (s *Server) apply(rr dns.RR) bool {
	h := rr.Header()
	name := dns.CanonicalName(h.Name)
	k := setKey{name, h.Rrtype}
	apex := name == s.apex && (h.Rrtype == dns.TypeSOA || h.Rrtype == dns.TypeNS)
	switch h.Class {
	case dns.ClassINET:
		return s.add(rr)
	case dns.ClassANY:
		if h.Rrtype != dns.TypeANY {
			had := len(s.sets[k]) > 0 && !apex
			if had {
				delete(s.sets, k)
			}
			return had
		}
		before := len(s.sets)
		for k := range s.sets {
			if k.name == name && (name != s.apex || k.rtype != dns.TypeNS) {
				delete(s.sets, k)
			}
		}
		return len(s.sets) != before
	}
	i := indexOf(s.sets[k], rr)
	if i < 0 || apex && (h.Rrtype == dns.TypeSOA || len(s.sets[k]) == 1) {
		return false
	}
	if s.sets[k] = slices.Delete(slices.Clone(s.sets[k]), i, i+1); len(s.sets[k]) == 0 {
		delete(s.sets, k)
	}
	return true
}

// add adds a record: none beside a CNAME, no CNAME beside anything, one CNAME in the place of another (section 3.4.2.2).
func (s *Server) add(rr dns.RR) bool {
	rr = dns.Copy(rr)
	rr.Header().Name = dns.CanonicalName(rr.Header().Name)
	k := setKey{rr.Header().Name, rr.Header().Rrtype}
	if k.rtype == dns.TypeSOA {
		soa, ok := rr.(*dns.SOA)
		if newer := ok && k.name == s.apex && int32(soa.Serial-s.serial) > 0; !newer {
			return false
		}
		s.serial = soa.Serial
		return true
	}
	for other, rrs := range s.sets {
		if other.name == k.name && len(rrs) > 0 && (other.rtype == dns.TypeCNAME) != (k.rtype == dns.TypeCNAME) {
			return false
		}
	}
	have := s.sets[k]
	i := indexOf(have, rr)
	switch {
	case i >= 0 && have[i].Header().Ttl == rr.Header().Ttl:
		return false
	case i >= 0:
		have = slices.Clone(have)
		have[i] = rr
	case k.rtype == dns.TypeCNAME:
		have = []dns.RR{rr}
	default:
		have = append(slices.Clone(have), rr)
	}
	s.sets[k] = have
	return true
}

// indexOf finds a record by its data, whatever its class and TTL.
func indexOf(list []dns.RR, rr dns.RR) int {
	want := dns.Copy(rr)
	want.Header().Class = dns.ClassINET
	return slices.IndexFunc(list, func(have dns.RR) bool { return dns.IsDuplicate(have, want) })
}
