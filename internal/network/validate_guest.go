package network

import (
	"fmt"
	"maps"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Ids that Proxmox accepts for a guest (pve-common, format pve-vmid).
const (
	minGuestID = 100
	maxGuestID = 999999999
)

func (c *checker) structure(id StructureID, s Structure) {
	path := "structures." + string(id)
	c.label(path, "structure", string(id))
	if home, ok := c.s.Sites[s.Home]; !ok {
		dangling(c, path+".home", "site", s.Home, c.s.Sites)
	} else if home.Kind == Witness {
		c.fail(path+".home", CodeKind, "name a brique or a parpaing", "a witness is nobody's home")
	}
	if s.VLAN == 0 {
		c.fail(path+".vlan", CodeMissing, "write the structure's VLAN tag, such as vlan: 120", "vlan is missing")
	} else {
		c.vlan(path+".vlan", s.VLAN, string(id))
	}
	c.oneOf(path+".mode", string(s.Mode), string(ModeAuto), string(ModeAsk), string(ModeManual), string(ModeNever))
	c.oneOf(path+".on_isolation", s.OnIsolation, "keep-local", "stop")
	if s.IsolationAfter != 0 && (s.OnIsolation != "stop" || s.IsolationAfter.D() < time.Minute) {
		c.fail(path+".isolation_after", CodeRange, "write on_isolation: stop with isolation_after: 15m, or take isolation_after: away",
			"isolation_after %s is shorter than a minute, or without on_isolation: stop", s.IsolationAfter)
	}
	c.oneOf(path+".on_return", s.OnReturn, "leave", "stop")
	c.oneOf(path+".split", s.Split, "allowed", "never")
	if s.Prepare != "" {
		c.oneOf(path+".prepare", s.Prepare, "allowed", "never")
	}
	if s.Standby != "" {
		c.oneOf(path+".standby", s.Standby, Cold, WarmStandby)
	}
	c.oneOf(path+".off_site.policy", string(s.OffSite.Policy), string(ConsentAllowed), string(ConsentEncryptedBackupOnly), string(ConsentForbidden))
	if d := s.OffSite.Consent; d != "" {
		if _, err := time.Parse(time.DateOnly, d); err != nil {
			c.fail(path+".off_site.consent", CodeRange, "write the day of the consent, such as 2026-03-02", "consent %s is not a date", Quote(d))
		}
	}
	c.hooks(path+".hooks", s.Hooks)
	if s.Return != nil && s.Return.Window == (Window{}) {
		c.fail(path+".return.window", CodeMissing, "write window: 02:00-05:00 (UTC), or take return: away", "return: has no window")
	}
	if s.Return != nil && s.Return.After.D() < 0 {
		c.fail(path+".return.after", CodeRange, "write after: 30m", "after cannot be negative")
	}
	c.policy(path+".policy", c.s.Policy.override(s.Policy), s.Policy)
}

// vlan checks a tag (IEEE 802.1Q: 1 to 4094) and that it stands for one
// structure or common set on every site.
func (c *checker) vlan(path string, tag int, who string) {
	if tag < 1 || tag > 4094 {
		c.fail(path, CodeRange, "write a tag between 1 and 4094", "vlan %d is not between 1 and 4094", tag)
		return
	}
	c.take(path, "vlan", "", strconv.Itoa(tag), who, "choose a tag that no other structure or common set has")
}

func (c *checker) guest(id GuestID, g Guest) {
	path := "guests." + string(id)
	c.label(path, "guest", string(id))
	c.guestPlace(path, id, g)
	c.oneOf(path+".type", string(g.Type), string(VM), string(CT))
	c.standby(path+".standby", g)
	c.oneOf(path+".exposure", g.Exposure, "web", "mail", "none", "other")
	if g.Priority < 1 || g.Priority > 4 {
		c.fail(path+".priority", CodeRange, "write 1 (first), 2, 3, or 4 (not rescued)", "priority %d is not between 1 and 4", g.Priority)
	}
	if g.Exposure == "none" && len(g.Names) > 0 {
		c.fail(path+".exposure", CodeConflict, "write exposure: web, or remove the names", "guest %s is not exposed but has public names", Quote(id))
	}
	if g.Memory < 0 || g.Disk < 0 {
		c.fail(path, CodeRange, "write sizes such as 4GiB", "memory and disk cannot be negative")
	}
	c.guestOrder(path, id, g)
	c.names(path, string(id), g.Names)
	if g.Certificate != "" {
		c.oneOf(path+".certificate", g.Certificate, ValidCertificate, AnyCertificate)
	}
	if g.Check != nil {
		c.check(path+".check", *g.Check)
	}
	c.hooks(path+".hooks", g.Hooks)
	if g.LiveRestore && g.Type != VM {
		c.fail(path+".live_restore", CodeKind, "remove live_restore:", "only a VM can be restored live, and guest %s is none", Quote(id))
	}
	c.guestCommit(path+".commit", id, g)
}

// guestPlace checks where a guest belongs.
func (c *checker) guestPlace(path string, id GuestID, g Guest) {
	if _, ok := c.s.Structures[g.Structure]; !ok {
		dangling(c, path+".structure", "structure", g.Structure, c.s.Structures)
	}
	home, ok := c.hostSite[g.Host]
	if !ok {
		dangling(c, path+".host", "host", g.Host, c.hostSite)
	} else if c.s.Sites[home].Hosts[g.Host].PVE == nil {
		c.fail(path+".host", CodeKind, "name a host that has pve:", "host %s has no PVE to run a guest", Quote(g.Host))
	}
	switch {
	case g.ID == 0:
		c.fail(path+".id", CodeMissing, "write the guest's id on its PVE, such as id: 1101", "id is missing")
	case g.ID < minGuestID || g.ID > maxGuestID:
		c.fail(path+".id", CodeRange, "write the id as Proxmox shows it, such as 1101", "id %d is not between %d and %d", g.ID, minGuestID, maxGuestID)
	case ok:
		c.take(path+".id", "id", string(home), strconv.Itoa(g.ID), string(id), "write the guest's id as Proxmox shows it; ids are unique per site")
	}
}

// guestOrder checks what a guest waits for and where it prefers to go.
func (c *checker) guestOrder(path string, id GuestID, g Guest) {
	seen := map[string]bool{}
	for i, other := range g.After {
		at := fmt.Sprintf("%s.after[%d]", path, i)
		o, ok := c.s.Guests[other]
		switch {
		case !ok:
			dangling(c, at, "guest", other, c.s.Guests)
		case seen[string(other)]:
			c.fail(at, CodeTaken, "list each guest once", "guest %s is listed twice", Quote(other))
		case o.Priority == 4 && g.Priority < 4:
			c.warn(at, CodeNotRescued, "raise the other guest's priority, or remove it from after:", "guest %s waits for %s, which has priority 4 and is not rescued", Quote(id), Quote(other))
		}
		seen[string(other)] = true
	}
	clear(seen)
	for i, site := range g.Prefer {
		at := fmt.Sprintf("%s.prefer[%d]", path, i)
		s, ok := c.s.Sites[site]
		switch {
		case !ok:
			dangling(c, at, "site", site, c.s.Sites)
		case seen[string(site)]:
			c.fail(at, CodeTaken, "list each site once", "site %s is listed twice", Quote(site))
		case s.Kind != Brique:
			c.fail(at, CodeKind, "name a brique", "site %s is a %s and never receives guests", Quote(site), s.Kind)
		case site == c.hostSite[g.Host]:
			c.fail(at, CodeConflict, "name another brique", "site %s is the guest's home", Quote(site))
		}
		seen[string(site)] = true
	}
	c.apart(path, id, g)
}

// apart checks whom a guest is to be kept apart from.
func (c *checker) apart(path string, id GuestID, g Guest) {
	seen := map[GuestID]bool{}
	for i, other := range g.ApartFrom {
		at := fmt.Sprintf("%s.apart_from[%d]", path, i)
		o, ok := c.s.Guests[other]
		switch {
		case !ok:
			dangling(c, at, "guest", other, c.s.Guests)
		case other == id:
			c.fail(at, CodeConflict, "name another guest", "guest %s cannot be apart from itself", Quote(id))
		case seen[other]:
			c.fail(at, CodeTaken, "list each guest once", "guest %s is listed twice", Quote(other))
		case o.Structure == g.Structure && c.s.Structures[g.Structure].Split == "never":
			c.fail(at, CodeConflict, "write split: allowed at the structure, or remove it from apart_from:", "guests %s and %s are to be apart, and their structure is never split", Quote(id), Quote(other))
		}
		seen[other] = true
	}
}

// check checks how a guest proves that it serves.
func (c *checker) check(path string, k Check) {
	if k.URL == "" && k.TCP == "" && k.Exec == "" {
		c.fail(path, CodeMissing, "write url: \"http://{address}:80/\", tcp: \"{address}:25\" or exec: PROGRAM", "the check asks nothing")
	}
	if k.Exec != "" {
		c.program(path+".exec", k.Exec)
	}
	if k.URL != "" && !isCheckURL(k.URL) {
		c.fail(path+".url", CodeBadURL, "write \"http://{address}:80/PATH\"", "check url %s is not a web address with {address} as its host", Quote(k.URL))
	}
	if k.TCP != "" {
		if _, err := netip.ParseAddrPort(strings.ReplaceAll(k.TCP, "{address}", "192.0.2.1")); err != nil {
			c.fail(path+".tcp", CodeBadAddress, "write \"{address}:PORT\"", "check address %s is not {address} and a port", Quote(k.TCP))
		}
	}
	if k.Status != 0 && (k.Status < 100 || k.Status > 599) {
		c.fail(path+".status", CodeRange, "write an HTTP status, such as 200", "status %d is not between 100 and 599", k.Status)
	}
	if k.Status != 0 && k.URL == "" {
		c.fail(path+".status", CodeConflict, "add url:, or remove status", "only a check with url has a status")
	}
	if k.Within < Duration(time.Second) || k.Within > Duration(24*time.Hour) {
		c.fail(path+".within", CodeRange, "write within: 3m", "within %s is not between 1s and 1d", k.Within)
	}
}

// isCheckURL accepts a web address whose host is {address} or an address:
// a check must not depend on the names that it is there to move.
func isCheckURL(raw string) bool {
	u, err := url.Parse(strings.ReplaceAll(raw, "{address}", "192.0.2.1"))
	if err != nil || u.Scheme != "http" && u.Scheme != "https" {
		return false
	}
	_, err = netip.ParseAddr(u.Hostname())
	return err == nil
}

func (c *checker) common(id string, m CommonSet) {
	path := "common." + id
	c.label(path, "common set", id)
	if m.VLAN != 0 {
		c.vlan(path+".vlan", m.VLAN, id)
	}
	c.names(path, id, m.Names)
	if len(m.Members) == 0 {
		c.fail(path+".members", CodeMissing, "write members: {SITE: ADDRESS}", "common set %s has no members", Quote(id))
	}
	for _, site := range slices.Sorted(maps.Keys(m.Members)) {
		at := path + ".members." + string(site)
		if _, ok := c.s.Sites[site]; !ok {
			dangling(c, at, "site", site, c.s.Sites)
		}
		c.addr(at, m.Members[site])
	}
}

// cycles reports circles of "after", each from its first guest by name.
func (c *checker) cycles() {
	const (
		onPath = 1
		done   = 2
		most   = 20 // circles told: a person mends one and looks again
	)
	told := 0
	mark := map[GuestID]int{}
	var stack []GuestID
	var visit func(GuestID)
	visit = func(g GuestID) {
		mark[g] = onPath
		stack = append(stack, g)
		for _, next := range c.s.Guests[g].After {
			if _, ok := c.s.Guests[next]; !ok {
				continue
			}
			switch mark[next] {
			case onPath:
				if told++; told > most {
					continue
				}
				c.cycle(stack[slices.Index(stack, next):])
			case done:
			default:
				visit(next)
			}
		}
		stack = stack[:len(stack)-1]
		mark[g] = done
	}
	for _, g := range c.s.GuestIDs() {
		if mark[g] == 0 {
			visit(g)
		}
	}
}

func (c *checker) cycle(loop []GuestID) {
	i := slices.Index(loop, slices.Min(loop))
	names := make([]string, 0, len(loop)+1)
	for n := range loop {
		names = append(names, string(loop[(i+n)%len(loop)]))
	}
	names = append(names, names[0])
	const most = 12
	if len(names) > most {
		names = append(append(names[:most-1:most-1], "…"), names[0])
	}
	c.fail("guests."+names[0]+".after", CodeCycle, "remove one of these from \"after\"", "guests wait for each other in a circle: %s", strings.Join(names, " → "))
}
