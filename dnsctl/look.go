package dnsctl

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/raoull/worldwidewelsh/failover"
)

// What one server says of one name, in a Sight.
const (
	SightOK     = "ok"
	SightOld    = "old"    // other records than decided
	SightAbsent = "absent" // no such name
	SightNone   = ""       // not asked, or no answer
)

// Sight is what one server says of one name.
type Sight struct {
	State string
	TTL   time.Duration // as served; at a resolver what remains of it
}

// Look is what one server says of a zone.
type Look struct {
	Result
	Names map[string]Sight // by absolute name
}

// Patient asks again where a datagram may have been lost. A silent server costs Tries times Within, not all the time that
// the context has. It is for questions: an update must not be repeated blindly.
type Patient struct {
	Exchanger
	Within time.Duration // for one try
	Tries  int           // at least 1
}

// Exchange implements Exchanger.
func (p Patient) Exchange(ctx context.Context, server string, m *dns.Msg) (*dns.Msg, error) {
	for try := 1; ; try++ {
		one, cancel := context.WithTimeout(ctx, p.Within)
		reply, err := p.Exchanger.Exchange(one, server, m)
		cancel()
		if err == nil || try >= p.Tries || ctx.Err() != nil || statusOf(err) != Silent {
			return reply, err
		}
	}
}

// LookAt asks an authoritative server for some names of a goal. All questions share the context's deadline.
func LookAt(ctx context.Context, ex Exchanger, server string, g Goal, names []string) Look {
	v := newGoalVerifier(ex, server, g, names)
	for !v.Step(ctx) {
	}
	l := Look{Result: v.Result(), Names: map[string]Sight{}}
	if l.Status != InSync && l.Status != Differs {
		return l
	}
	about := func(records []Record, name string) (time.Duration, bool) {
		i := slices.IndexFunc(records, func(r Record) bool { return r.Name == name })
		if i < 0 {
			return 0, false
		}
		return records[i].TTL, true
	}
	for _, name := range names {
		s := Sight{State: SightOK}
		if at := g.at(name); len(at) > 0 {
			s.TTL = at[0].TTL
		}
		if ttl, wrong := about(l.WrongTTL, name); wrong {
			s.TTL = ttl
		}
		_, missing := about(l.Missing, name)
		ttl, extra := about(l.Extra, name)
		switch {
		case slices.Contains(l.Absent, name):
			s = Sight{State: SightAbsent}
		case extra:
			s = Sight{State: SightOld, TTL: ttl}
		case missing:
			s = Sight{State: SightOld}
		}
		l.Names[name] = s
	}
	return l
}

// AskResolver asks a public resolver for the addresses of some names, as a member's computer does. What it says is not the
// servers' fault: it may remember the old answer for as long as the returned TTL.
func AskResolver(ctx context.Context, ex Exchanger, server string, g Goal, names []string) Look {
	l := Look{Result: Result{Server: server, Status: InSync, InSync: true}, Names: map[string]Sight{}}
	for _, name := range names {
		q := new(dns.Msg)
		q.SetQuestion(name, dns.TypeA)
		q.Id = 0
		q.SetEdns0(udpSize, false)
		reply, err := ex.Exchange(ctx, server, q)
		if err != nil {
			l.Status, l.InSync, l.Err = statusOf(err), false, err.Error()
			return l
		}
		s := g.resolved(name, reply)
		l.Names[name] = s
		if s.State != SightOK {
			l.Status, l.InSync = Differs, false
		}
	}
	return l
}

// resolved judges a resolver's answer: by the CNAME at the name, else by the addresses.
func (g Goal) resolved(name string, reply *dns.Msg) Sight {
	if reply.Rcode == dns.RcodeNameError {
		return Sight{State: SightAbsent, TTL: negativeTTL(reply)}
	}
	if reply.Rcode != dns.RcodeSuccess {
		return Sight{}
	}
	var got []string
	s := Sight{State: SightOld}
	for _, rr := range reply.Answer {
		r, err := FromRR(rr)
		if err != nil {
			continue
		}
		if s.TTL == 0 || r.TTL < s.TTL {
			s.TTL = r.TTL
		}
		if r.Name == name {
			got = append(got, r.Type+" "+r.Data)
		}
	}
	var want, flat []string
	for _, r := range g.at(name) {
		if r.Type == "A" || r.Type == "CNAME" {
			want = append(want, r.Type+" "+r.Data)
		}
	}
	for _, r := range g.flat(name) {
		if r.Type == "A" {
			flat = append(flat, r.Type+" "+r.Data)
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	slices.Sort(flat)
	switch {
	case slices.Equal(got, want) || slices.Equal(got, flat):
		s.State = SightOK
	case len(reply.Answer) == 0:
		s.TTL = negativeTTL(reply)
	}
	return s
}

// negativeTTL is for how long a resolver will still say that there is nothing: what remains of the SOA record that it
// puts beside (RFC 2308 section 5), 0 without one.
func negativeTTL(reply *dns.Msg) time.Duration {
	for _, rr := range reply.Ns {
		if soa, ok := rr.(*dns.SOA); ok {
			return time.Duration(min(soa.Hdr.Ttl, soa.Minttl)) * time.Second
		}
	}
	return 0
}

// Decided is what a goal says of a name: its type, data and TTL in one line each; empty where nothing is desired.
func (g Goal) Decided(name string) (rtype, data string, ttl time.Duration) {
	var all []string
	for _, r := range g.at(name) {
		if !slices.Contains(addressTypes(), r.Type) {
			continue
		}
		rtype, ttl = r.Type, r.TTL
		all = append(all, r.Data)
	}
	return rtype, strings.Join(all, " "), ttl
}

// PublicNames are the names that people use and that this goal decides about, absolute: those of guests that are away
// first, then the others, then those of common sets and the sites' own.
func (g Goal) PublicNames() []string {
	out := slices.Concat(g.Moved, g.Still)
	for _, r := range g.Records {
		site := strings.HasSuffix(r.Name, ".site."+g.Apex())
		if site && !slices.Contains(out, r.Name) {
			out = append(out, r.Name)
		}
	}
	return out
}

// Foresee returns what would change in the zones if the guests of a plan were served from their targets: the same
// records that the servers would be brought to.
func Foresee(s *failover.State, plan failover.Plan) []Change {
	if s.Network == nil {
		return nil
	}
	then := s.Clone()
	for _, a := range plan.Assignments {
		p, ok := then.Guests[a.Guest]
		if !ok {
			continue
		}
		p.Serving = a.Target
		then.Guests[a.Guest] = p
	}
	var out []Change
	for _, zone := range sortedZones(s.Network) {
		before, ok1 := GoalOf(s, zone)
		after, ok2 := GoalOf(then, zone)
		if !ok1 || !ok2 {
			continue
		}
		names := slices.Concat(after.Moved, after.Still)
		out = append(out, Diff(before.Records, after.Records, Guard{Names: names, MayEmpty: names}).All()...)
	}
	return out
}
