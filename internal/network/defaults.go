package network

import (
	"cmp"
	"net/netip"
	"slices"
	"time"
)

// Ports that an agent listens on when network.yaml says nothing (design section 11).
const (
	DefaultMeshPort   = 9977
	DefaultAnchorPort = 53
	DefaultDNSPort    = 53
	DefaultHTTPSPort  = 443
)

// DefaultPolicy returns the levels of design section 6. They stand for one
// uplink; the reasoning is in docs/architecture.md.
func DefaultPolicy() Policy {
	return Policy{
		SuspectMisses: 5,
		PrepareA:      Duration(13 * time.Second),
		Alert:         Duration(30 * time.Second),
		PrepareB:      Duration(45 * time.Second),
		Commit:        Duration(5 * time.Minute),
		CommitDual:    Duration(2 * time.Minute),
		Block:         Duration(time.Hour),
		MaxDomains:    1,
		UnlockGrace:   Duration(15 * time.Minute),
		ReturnAfter:   Duration(30 * time.Second),
		KeepPrepared:  Duration(10 * time.Minute),
		WarmMaxAge:    Duration(15 * time.Minute),
	}
}

// WithDefaults returns a copy of the spec in which every unset field that has
// a default carries it. It is the only place where a default is written.
func (s Spec) WithDefaults() *Spec {
	out := s
	out.Policy = DefaultPolicy().override(s.Policy)
	out.Zones = mapped(s.Zones, Zone.withDefaults)
	out.Sites = mapped(s.Sites, Site.withDefaults)
	out.Structures = mapped(s.Structures, Structure.withDefaults)
	out.Guests = mapped(s.Guests, func(g Guest) Guest {
		if g.Standby == "" && s.Structures[g.Structure].Standby == WarmStandby {
			g.Standby = WarmStandby
		}
		if g.Hooks == nil {
			g.Hooks = s.Structures[g.Structure].Hooks
		}
		return g.withDefaults()
	})
	return &out
}

func mapped[K comparable, V any](in map[K]V, f func(V) V) map[K]V {
	out := make(map[K]V, len(in))
	for k, v := range in {
		out[k] = f(v)
	}
	return out
}

func (z Zone) withDefaults() Zone {
	z.Backend = cmp.Or(z.Backend, "embedded")
	z.TTL = cmp.Or(z.TTL, Duration(time.Minute))
	z.Secondaries = withPorts(z.Secondaries, DefaultDNSPort)
	z.Primaries = withPorts(z.Primaries, DefaultDNSPort)
	z.Resolvers = withPorts(z.Resolvers, DefaultDNSPort)
	return z
}

func (s Site) withDefaults() Site {
	s.Mesh = withPort(s.Mesh, DefaultMeshPort)
	s.DNS = withPort(s.DNS, DefaultDNSPort)
	s.Anchors = withPorts(s.Anchors, DefaultAnchorPort)
	if s.Public.IPv4.IsValid() || s.Public.IPv6.IsValid() {
		s.Public.Entry = cmp.Or(s.Public.Entry, "box")
		s.Public.HTTPS = cmp.Or(s.Public.HTTPS, DefaultHTTPSPort)
	}
	if s.Router.Address.IsValid() {
		s.Router.Type = cmp.Or(s.Router.Type, "routeros")
	}
	s.Hosts = mapped(s.Hosts, Host.withDefaults)
	return s
}

func (h Host) withDefaults() Host {
	if h.Restore != nil {
		r := *h.Restore
		r.Parallel = cmp.Or(r.Parallel, 2)
		r.Reserve = cmp.Or(r.Reserve, Bytes(2<<30))
		h.Restore = &r
	}
	return h
}

func (s Structure) withDefaults() Structure {
	s.Mode = cmp.Or(s.Mode, ModeAsk)
	s.OnIsolation = cmp.Or(s.OnIsolation, "keep-local")
	if s.OnIsolation == "stop" {
		s.IsolationAfter = cmp.Or(s.IsolationAfter, Duration(15*time.Minute))
	}
	s.OnReturn = cmp.Or(s.OnReturn, "leave")
	s.OffSite.Policy = cmp.Or(s.OffSite.Policy, ConsentEncryptedBackupOnly)
	s.Split = cmp.Or(s.Split, "allowed")
	s.Hooks = s.Hooks.withDefaults()
	if s.Return != nil {
		s.Return = &Return{Window: s.Return.Window, After: cmp.Or(s.Return.After, Duration(30*time.Minute))}
	}
	return s
}

func (g Guest) withDefaults() Guest {
	g.Priority = cmp.Or(g.Priority, 3)
	g.Standby = cmp.Or(g.Standby, "cold")
	g.Exposure = cmp.Or(g.Exposure, "web")
	if g.Check != nil {
		c := *g.Check
		c.Within = cmp.Or(c.Within, Duration(3*time.Minute))
		if c.URL != "" {
			c.Status = cmp.Or(c.Status, 200)
		}
		g.Check = &c
	}
	g.Hooks = g.Hooks.withDefaults()
	return g
}

func (h *Hooks) withDefaults() *Hooks {
	if h == nil {
		return nil
	}
	return &Hooks{Before: h.Before.withDefaults(), After: h.After.withDefaults()}
}

func (h *Hook) withDefaults() *Hook {
	if h == nil {
		return nil
	}
	out := *h
	out.Within = cmp.Or(out.Within, Duration(time.Minute))
	return &out
}

// withPort keeps a port that was given: an address without one reads as port 0.
func withPort(a netip.AddrPort, port uint16) netip.AddrPort {
	if a.Addr().IsValid() && a.Port() == 0 {
		return netip.AddrPortFrom(a.Addr(), port)
	}
	return a
}

func withPorts(in []netip.AddrPort, port uint16) []netip.AddrPort {
	out := slices.Clone(in)
	for i, a := range out {
		out[i] = withPort(a, port)
	}
	return out
}
