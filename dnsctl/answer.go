package dnsctl

import (
	"fmt"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// maxChain is how many CNAMEs one answer follows inside the server's own zones; a resolver continues from there.
const maxChain = 8

// rrset is the records of one type at one name, in message form. Messages share them: nobody may change one.
type rrset struct {
	rtype uint16
	rrs   []dns.RR
}

// node is a name that exists: it owns records or something below it does (an empty non-terminal, without sets).
type node struct {
	name     string
	sets     []rrset // in order of the type's name, so that an ANY query gets the same one everywhere
	wildcard *node   // the child "*", nil without
	cut      bool    // an NS set below the apex: the rest is delegated
}

func (n *node) find(rtype uint16) []dns.RR {
	for _, s := range n.sets {
		if s.rtype == rtype {
			return s.rrs
		}
	}
	return nil
}

// compiled is one zone, ready to answer from. It never changes.
type compiled struct {
	source   Zone // canonical
	labels   int
	soa      *dns.SOA
	negative *dns.SOA // as it goes into negative answers
	nodes    map[string]*node
	all      []dns.RR // without the SOA, in canonical order: a zone transfer
}

// zoneSet is all zones of a server. It never changes: a new content is a new set.
type zoneSet struct {
	byName map[string]*compiled
}

// compile checks a zone and builds its answering form.
func compile(z Zone) (*compiled, error) {
	z, err := z.Canonical()
	if err != nil {
		return nil, err
	}
	soa, err := z.SOARecord().RR()
	if err != nil {
		return nil, fmt.Errorf("check zone %q: %w", z.Name, err)
	}
	c := &compiled{source: z, labels: dns.CountLabel(z.Name), soa: soa.(*dns.SOA), nodes: make(map[string]*node)}
	c.negative = dns.Copy(soa).(*dns.SOA)
	// RFC 2308 section 5: the negative TTL is the lesser of the SOA's own and its MINIMUM.
	c.negative.Hdr.Ttl = min(c.soa.Hdr.Ttl, c.soa.Minttl)
	apex := c.node(z.Name)
	for set := range sets(z.Records) {
		n := c.node(set[0].Name)
		s := rrset{rtype: codecs[set[0].Type].code, rrs: make([]dns.RR, len(set))}
		for i, r := range set {
			if s.rrs[i], err = r.RR(); err != nil {
				return nil, fmt.Errorf("check zone %q: %w", z.Name, err)
			}
		}
		n.sets = append(n.sets, s)
		n.cut = n.cut || (s.rtype == dns.TypeNS && n != apex)
		c.all = append(c.all, s.rrs...)
	}
	apex.sets = append(apex.sets, rrset{rtype: dns.TypeSOA, rrs: []dns.RR{soa}})
	return c, nil
}

// node returns the node of a name within the zone, creating it and the empty non-terminals above it.
func (c *compiled) node(name string) *node {
	if n := c.nodes[name]; n != nil {
		return n
	}
	n := &node{name: name}
	c.nodes[name] = n
	if name != c.source.Name {
		label, above, _ := strings.Cut(name, ".")
		parent := c.node(above)
		if label == "*" {
			parent.wildcard = n
		}
	}
	return n
}

// kind is the class of an answer for response rate limiting.
type kind uint8

const (
	positive kind = iota
	negative
	referral
	refused
)

// result is what the zones say to a question.
type result struct {
	rcode                    int
	authoritative            bool
	answer, authority, extra []dns.RR
	// about is the existing name that the answer stems from: random names below it do not make new entries anywhere.
	about string
	kind  kind
	zone  *compiled
}

// lookup answers one question of class IN: RFC 1034 section 4.3.2 with RFC 2308, 4592, 8482. The answer's owner is
// spelled as asked.
func (s *zoneSet) lookup(qname string, qtype uint16) result {
	r := result{authoritative: true}
	var seen [maxChain + 1]string
	name := qname
	for hop := range maxChain + 1 {
		lower := dns.CanonicalName(name)
		if slices.Contains(seen[:hop], lower) {
			return r // a loop of CNAMEs: what was found so far
		}
		seen[hop] = lower
		c := s.zoneOf(lower, qtype)
		if c == nil {
			if hop == 0 {
				return result{rcode: dns.RcodeRefused, kind: refused}
			}
			return r // the chain leaves our zones
		}
		if hop == 0 {
			r.zone = c
		}
		if name = c.step(&r, name, lower, qtype); name == "" {
			return r
		}
	}
	return r
}

// zoneOf returns the zone with the longest apex that contains the name. A DS record belongs to the parent side of a
// cut (RFC 4035 section 3.1.4.1), so for DS the zone above is preferred when it is served here too.
func (s *zoneSet) zoneOf(lower string, qtype uint16) *compiled {
	var found *compiled
	for off, end := 0, false; !end; off, end = dns.NextLabel(lower, off) {
		c := s.byName[lower[off:]]
		if c == nil {
			continue
		}
		if qtype != dns.TypeDS || off != 0 {
			return c
		}
		found = c
	}
	return found
}

// step adds what this zone knows of one name of the chain and returns the next name, or "" at the end of it.
func (c *compiled) step(r *result, name, lower string, qtype uint16) string {
	n, encloser := c.walk(lower, qtype)
	if n == nil && encloser.cut {
		c.refer(r, encloser)
		return ""
	}
	if n == nil {
		n = encloser.wildcard
	}
	if n == nil {
		r.rcode = dns.RcodeNameError
		c.deny(r)
		return ""
	}
	r.about, r.kind = n.name, positive
	if qtype == dns.TypeANY && len(n.sets) > 0 {
		r.answer = appendOwned(r.answer, n.sets[0].rrs, name)
		return ""
	}
	if alias := n.find(dns.TypeCNAME); alias != nil && qtype != dns.TypeCNAME {
		r.answer = appendOwned(r.answer, alias, name)
		return alias[0].(*dns.CNAME).Target
	}
	rrs := n.find(qtype)
	if rrs == nil {
		c.deny(r)
		return ""
	}
	r.answer = appendOwned(r.answer, rrs, name)
	return ""
}

// walk goes from the apex towards the name. It returns the name's node, or nil and the closest encloser, which is a
// delegation if cut is set: what lies at or below a cut is not ours, but for its DS.
func (c *compiled) walk(lower string, qtype uint16) (n, encloser *node) {
	encloser = c.nodes[c.source.Name]
	offsets := dns.Split(lower)
	for i := len(offsets) - c.labels - 1; i >= 0; i-- {
		next := c.nodes[lower[offsets[i]:]]
		if next == nil {
			return nil, encloser
		}
		encloser = next
		if next.cut && (i > 0 || qtype != dns.TypeDS) {
			return nil, next
		}
	}
	return encloser, encloser
}

// deny adds the SOA to a negative answer.
func (c *compiled) deny(r *result) {
	r.authority = append(r.authority, c.negative)
	r.about, r.kind = c.source.Name, negative
}

// refer adds the servers of a delegated zone and the addresses that this zone has for them.
func (c *compiled) refer(r *result, cut *node) {
	r.about, r.kind = cut.name, referral
	r.authoritative = len(r.answer) > 0 // AA speaks of the first owner in the answer (RFC 1035 section 4.1.1)
	for _, rr := range cut.find(dns.TypeNS) {
		r.authority = append(r.authority, rr)
		if glue := c.nodes[rr.(*dns.NS).Ns]; glue != nil {
			r.extra = append(r.extra, glue.find(dns.TypeA)...)
			r.extra = append(r.extra, glue.find(dns.TypeAAAA)...)
		}
	}
}

// appendOwned appends records with the owner spelled as given; shared records are copied where it differs.
func appendOwned(to, rrs []dns.RR, owner string) []dns.RR {
	if len(rrs) > 0 && rrs[0].Header().Name == owner {
		return append(to, rrs...)
	}
	for _, rr := range rrs {
		rr = dns.Copy(rr)
		rr.Header().Name = owner
		to = append(to, rr)
	}
	return to
}
