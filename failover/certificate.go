package failover

import (
	"fmt"
	"slices"
	"time"

	"github.com/raoull/worldwidewelsh/internal/network"
)

// Certificate is what a member's browser would make of the certificate that is shown for a public
// name, as the agent of another site found it.
type Certificate struct {
	Wrong string    `json:"wrong,omitempty"` // why it is refused; "": it is valid for the name
	Until time.Time `json:"until,omitzero"`  // its last moment
}

// certificateNotice is how long before its end a certificate is told of. One that renews itself does
// so a month before.
const certificateNotice = 14 * 24 * time.Hour

// end is when members are refused: at once, or with the certificate's last moment.
func (c Certificate) end() time.Time {
	if c.Wrong != "" {
		return time.Time{}
	}
	return c.Until
}

// refuses says whether a certificate keeps the guest's members away.
func refuses(g network.Guest, c Certificate) bool {
	return c.Wrong != "" && g.Certificate != network.AnyCertificate
}

// certificates tells of certificates that members refuse, or soon will. Many names share one, so
// there is one notice per site and kind. That a moved guest is refused, unreached tells.
func (e explainer) certificates() []Reason {
	refused, ending := map[SiteID][]Reason{}, map[SiteID][]Reason{}
	for _, n := range e.s.Certificates(e.now) {
		name, site, c := n.Name, n.Site, n.Certificate
		left := c.Until.Sub(e.now)
		switch {
		case c.Wrong != "" && e.s.AtHome(n.Guest):
			refused[site] = append(refused[site], because(CodeCertRefused, "name", name, "site", string(site), "why", c.Wrong))
		case c.Wrong == "" && !c.Until.IsZero() && left < certificateNotice:
			days := fmt.Sprint(int64(max(0, left) / (24 * time.Hour)))
			ending[site] = append(ending[site], because(CodeCertEnds, "name", name, "site", string(site), "days", days))
		}
	}
	return append(firstOfEach(refused), firstOfEach(ending)...)
}

// NameCertificate is what other sites see of the certificate for a public name.
type NameCertificate struct {
	Name        string
	Guest       GuestID
	Site        SiteID // that serves the name
	Certificate Certificate
}

// Certificates returns what is shown for each public name whose certificate counts and was judged.
func (s *State) Certificates(now time.Time) []NameCertificate {
	var out []NameCertificate
	j := newJudge(s, s.notBefore(now))
	for _, g := range sortedKeys(s.Guests) {
		guest, site := s.Network.Guests[g], s.Guests[g].Serving
		if guest.Certificate == network.AnyCertificate {
			continue
		}
		for _, name := range guest.Names {
			if c := j.certificate(site, name); c != (Certificate{}) {
				out = append(out, NameCertificate{name, g, site, c})
			}
		}
	}
	return out
}

// firstOfEach keeps the first reason of each site and lets it say how many more there are.
func firstOfEach(all map[SiteID][]Reason) []Reason {
	var out []Reason
	for _, site := range sortedKeys(all) {
		first := all[site][0]
		if more := len(all[site]) - 1; more > 0 {
			first.Args["more"] = fmt.Sprint(more)
		}
		out = append(out, first)
	}
	return out
}

// certificate returns the worst that two other sites see for a name (or one, if only one looks): the
// word of a single one with a wrong clock or a stranger in its line calls nobody.
func (j judge) certificate(site SiteID, name string) Certificate {
	var seen []Certificate
	for _, observer := range j.observers {
		if observer == site || !j.counts(j.s.Reports[observer]) {
			continue
		}
		for _, o := range j.said(site, observer) {
			if o.Target == "name:"+name && o.Path == PathPublic && o.Certificate != (Certificate{}) {
				seen = append(seen, o.Certificate)
			}
		}
	}
	if len(seen) == 0 {
		return Certificate{}
	}
	slices.SortStableFunc(seen, func(a, b Certificate) int { return a.end().Compare(b.end()) })
	return seen[min(len(seen), ReachNeeded)-1]
}
