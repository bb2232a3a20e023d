package network

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
)

// Validate returns everything that is wrong with the network, errors and
// warnings, sorted by path; nil means that nothing is. The spec must have its
// defaults expanded (WithDefaults). It is pure: no DNS, no file, no clock.
func (s *Spec) Validate() []Problem {
	c := newChecker(s)
	c.network()
	c.zones()
	for _, id := range s.SiteIDs() {
		c.site(id, s.Sites[id])
	}
	c.policy("policy", s.Policy, Policy{})
	for _, id := range slices.Sorted(maps.Keys(s.Structures)) {
		c.structure(id, s.Structures[id])
	}
	for _, id := range s.GuestIDs() {
		c.guest(id, s.Guests[id])
	}
	for _, id := range slices.Sorted(maps.Keys(s.Common)) {
		c.common(id, s.Common[id])
	}
	c.cycles()
	c.readiness()
	SortProblems(c.out)
	return c.out
}

// checker gathers problems. Its indexes are made once, so that checking stays
// linear in the size of the network.
type checker struct {
	s        *Spec
	out      []Problem
	hostSite map[HostID]SiteID
	homes    map[SiteID][]GuestID // guests by home site, sorted
	taken    map[string]string    // what and value → who has it
	fixed    map[string]bool      // zone and relative name of fixed records
	beside   map[string]bool      // names with declared records of their own
	seen     map[netip.Addr]SiteID
}

func newChecker(s *Spec) *checker {
	c := &checker{
		s: s, hostSite: map[HostID]SiteID{}, homes: map[SiteID][]GuestID{},
		taken: map[string]string{}, fixed: fixedNames(s.Zones), beside: besideNames(s.Zones), seen: map[netip.Addr]SiteID{},
	}
	for _, id := range s.SiteIDs() {
		for _, h := range s.Sites[id].HostIDs() {
			if _, twice := c.hostSite[h]; !twice {
				c.hostSite[h] = id
			}
		}
	}
	for _, g := range s.GuestIDs() {
		if home, ok := c.hostSite[s.Guests[g].Host]; ok {
			c.homes[home] = append(c.homes[home], g)
		}
	}
	return c
}

// fail records an error at a path; hint says what to write.
func (c *checker) fail(path, code, hint, format string, args ...any) {
	c.out = append(c.out, Problem{Path: path, Code: code, Message: fmt.Sprintf(format, args...), Hint: hint, Severity: Error})
}

// warn records what is allowed and probably not meant.
func (c *checker) warn(path, code, hint, format string, args ...any) {
	c.out = append(c.out, Problem{Path: path, Code: code, Message: fmt.Sprintf(format, args...), Hint: hint, Severity: Warning})
}

// take claims a value that must be unique; what is its kind in words ("vlan"),
// shown the value as printed, who the claimant's name. The value is compared
// within its kind and scope.
func (c *checker) take(path, what, scope, shown, who, hint string) {
	k := what + "\x00" + scope + "\x00" + shown
	if first, ok := c.taken[k]; ok {
		c.fail(path, CodeTaken, hint, "%s %s is already given to %s", what, shown, Quote(first))
		return
	}
	c.taken[k] = who
}

// label checks a declared name; all of them may end up in DNS, in a
// certificate or in a file name.
func (c *checker) label(path, what, name string) {
	if !IsLabel(name) {
		c.fail(path, CodeBadName, "write 1 to 63 lower-case letters, digits and dashes, such as \"le-moulin\"",
			"%s name %s is not usable as a DNS label", what, Quote(name))
	}
}

// IsLabel accepts a lower-case host label (RFC 1123 section 2.1).
func IsLabel(s string) bool {
	if s == "" || len(s) > 63 || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	return strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}

// isHostname accepts labels joined by dots, 253 characters at most (RFC 1035
// section 2.3.4 less the root and its length byte).
func isHostname(s string) bool {
	if len(s) > 253 {
		return false
	}
	for l := range strings.SplitSeq(s, ".") {
		if !IsLabel(l) {
			return false
		}
	}
	return true
}

// required records an empty value and returns whether there is one.
func (c *checker) required(path, value, hint string) bool {
	if value == "" {
		c.fail(path, CodeMissing, hint, "%s is missing", path[strings.LastIndexByte(path, '.')+1:])
	}
	return value != ""
}

// oneOf checks a word of a closed set.
func (c *checker) oneOf(path, value string, allowed ...string) {
	if slices.Contains(allowed, value) {
		return
	}
	hint := "write one of: " + strings.Join(allowed, ", ")
	if c.required(path, value, hint) {
		c.fail(path, CodeNotOneOf, hint, "%s %s is not known", path[strings.LastIndexByte(path, '.')+1:], Quote(value))
	}
}

// dangling records a name that nothing declares. Suggestions are only made
// for the first problems: a hostile file could ask for millions of them.
func dangling[K ~string, V any](c *checker, path, what string, name K, declared map[K]V) {
	hint := "declare it, or correct the name"
	if len(c.out) < 100 && len(declared) <= 1000 {
		var names []string
		for _, k := range slices.Sorted(maps.Keys(declared)) {
			names = append(names, string(k))
		}
		if near := Nearest(string(name), names); near != "" {
			hint = "did you mean " + Quote(near) + "?"
		} else if len(names) > 0 && len(names) <= 8 {
			hint = "declared: " + strings.Join(names, ", ")
		}
	}
	if name == "" {
		c.fail(path, CodeMissing, hint, "%s is missing", path[strings.LastIndexByte(path, '.')+1:])
		return
	}
	c.fail(path, CodeDangling, hint, "%s %s is not declared", what, Quote(name))
}

func (c *checker) network() {
	if c.required("network", c.s.Network, "write a short name, such as: network: assos") {
		c.label("network", "network", c.s.Network)
	}
	if len(c.s.Sites) == 0 {
		c.fail("sites", CodeMissing, "declare at least one site under \"sites:\"", "no site is declared")
	}
}
