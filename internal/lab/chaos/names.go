package chaos

import (
	"slices"
	"strings"
	"time"
)

// maxBehind is how long a server in contact with the quorum may show an older state: a
// slow follower, and a turn of its loop.
const maxBehind = 25 * time.Second

// names checks what a site's name server says: S2, L5.
func (c *checker) names(l *Look) {
	for _, m := range c.lab.Guests {
		for _, name := range m.Names {
			sites, asked := l.DNS[name]
			if !asked {
				delete(c.odd, l.Site+"/"+name)
				continue
			}
			c.name(l, m.Name, name, sites)
		}
	}
}

func (c *checker) name(l *Look, guest, name string, sites []string) {
	s := c.serving[guest]
	switch {
	case len(sites) > 1:
		c.fail(l.At, "S2", "%s's server points %s at %s", l.Site, name, strings.Join(sites, " and "))
		return
	case s == nil: // no agent has told anything yet
		return
	case len(sites) == 0:
		if s.site != "" && !c.contact[l.Site].IsZero() && l.Asked.Sub(c.contact[l.Site]) > maxBehind {
			c.fail(l.At, "S2", "%s's server points %s at nothing", l.Site, name)
		}
		return
	}
	c.shown(l, guest, name, sites[0])
	c.follows(l, guest, name, sites[0])
}

// shown: S2, a guest is shown at its home or where a copy of it was checked.
func (c *checker) shown(l *Look, guest, name, where string) {
	m, _ := c.lab.Guest(guest)
	if where == c.lab.Home(m) {
		return
	}
	if !slices.Contains(c.lab.Names(), where) {
		c.fail(l.At, "S2", "%s's server points %s at %q, which is no site", l.Site, name, where)
		return
	}
	for _, seen := range c.epochs[guest] {
		for _, owner := range seen.owners {
			if site, _, _ := strings.Cut(owner, "/"); site == where && c.proved[owner] {
				delete(c.odd, "shown "+l.Site+"/"+name)
				return
			}
		}
	}
	// Its machine may be looked at a little later than its name.
	key := "shown " + l.Site + "/" + name
	since, known := c.odd[key]
	switch {
	case !known:
		c.odd[key] = l.At
	case l.At.Sub(since) > knownAfter:
		c.fail(l.At, "S2", "%s's server points %s at %s, where no copy of it was ever up as its owner's", l.Site, name, where)
	}
}

// follows: S2 and L5, a server in contact comes to serve what the newest state says.
func (c *checker) follows(l *Look, guest, name, where string) {
	key := l.Site + "/" + name
	s, contact := c.serving[guest], c.contact[l.Site]
	if where == s.site || contact.IsZero() {
		delete(c.odd, key)
		return
	}
	since, known := c.odd[key]
	switch {
	case !known:
		c.odd[key] = l.At
	case l.At.Sub(since) > maxBehind && l.At.Sub(s.since) > maxBehind && l.At.Sub(contact) > maxBehind:
		c.fail(l.At, "L5", "the server of %s points %s at %s, State at %q for %s", l.Site, name, where, s.site, l.At.Sub(s.since).Round(time.Second))
	}
}
