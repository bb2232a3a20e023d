package doctor

import (
	"time"

	"github.com/raoull/worldwidewelsh/internal/network"
)

// longTTL is the longest TTL that keeps a change of address within minutes (R48).
const longTTL = 5 * time.Minute

// quorum checks whether the survivors of a loss could agree.
func (in Input) quorum() result {
	n := in.State.Voters()
	r := result{checked: n}
	switch {
	case n <= 2:
		r.add(found(Quorum, CodeFewVoters, "", "", "voters", itoa(n)))
	case n%2 == 0:
		r.add(found(Quorum, CodeEvenVoters, "", "", "voters", itoa(n), "losses", itoa((n-1)/2), "less", itoa(n-1)))
	}
	return r
}

// dns checks TTLs, the servers, and what this site's router answers by itself.
func (in Input) dns() result {
	var r result
	if in.State.Network == nil {
		return r
	}
	for _, name := range sorted(in.State.Network.Zones) {
		r.checked++
		subject := "zone " + name
		if ttl := in.State.Network.Zones[name].TTL.D(); ttl > longTTL {
			r.add(found(DNS, CodeLongTTL, "", subject, "zone", name, "ttl", round(ttl)))
		}
		z := in.State.Zones[name]
		if z.Verified == 0 && len(z.Servers) == 0 {
			r.add(found(DNS, CodeZoneNever, "", subject, "zone", name))
			continue
		}
		for _, server := range sorted(z.Servers) {
			r.checked++
			if !z.Servers[server] {
				r.add(found(DNS, CodeServerOut, "", subject, "zone", name, "server", server))
			}
		}
	}
	in.routerNames(&r)
	return r
}

// network passes on the warnings of the declaration, with its own codes and
// words; that of TTLs is told with DNS.
func (in Input) network() result {
	var r result
	if in.State.Network == nil {
		r.add(found(Network, CodeNotDeclared, "", ""))
		return r
	}
	r.checked = len(in.State.Network.Sites) + len(in.State.Network.Guests)
	for _, p := range in.State.Network.Validate() {
		if p.Code == network.CodeTTL {
			continue
		}
		f := Finding{
			Category: Network, Severity: Warning, Code: p.Code, Subject: p.Path,
			Args: map[string]string{"path": p.Path, "message": p.Message}, Text: p.Message, Remedy: p.Hint,
		}
		if p.Severity == network.Error {
			f.Severity = Error
		}
		r.add(f)
	}
	return r
}
