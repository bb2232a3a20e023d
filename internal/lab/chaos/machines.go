package chaos

import (
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/lab/site"
)

const (
	// bootGrace is what a host and its guests may take to run after power came back,
	// and the process that plays them to say so.
	bootGrace = 15 * time.Second
	// knownAfter is how long the owner of a copy may be unknown to every agent that is
	// asked: the time from one look to the next, on a slow machine.
	knownAfter = 10 * time.Second
)

var (
	configPath  = regexp.MustCompile(`^/nodes/[^/]+/(?:qemu|lxc)/\d+/config$`)
	backupPath  = regexp.MustCompile(`^/nodes/[^/]+/vzdump$`)
	startPath   = regexp.MustCompile(`^/nodes/[^/]+/(?:qemu|lxc)/\d+/status/start$`)
	stopPath    = regexp.MustCompile(`^/nodes/[^/]+/(?:qemu|lxc)/\d+/status/(?:stop|shutdown|suspend|reboot|reset)$`)
	deletePath  = regexp.MustCompile(`^/nodes/[^/]+/(?:qemu|lxc)/\d+$`)
	restorePath = regexp.MustCompile(`^/nodes/[^/]+/(?:qemu|lxc)$`)
)

// effects checks what reached a site's machines: S3, S7, S9.
func (c *checker) effects(l *Look) {
	for _, e := range l.Effects {
		if refused(e) {
			continue
		}
		switch {
		case e.Method == http.MethodPost && startPath.MatchString(e.Path):
			c.wasStarted(l, e)
		case e.Method == http.MethodPost && stopPath.MatchString(e.Path):
			c.wasStopped(l, e)
		case e.Method == http.MethodDelete && deletePath.MatchString(e.Path):
			c.wasDeleted(l, e)
		case e.Method == http.MethodPost && restorePath.MatchString(e.Path):
			c.wasRestored(l, e)
		case configPath.MatchString(e.Path) && isHomeHost(e.Host):
			c.claim(l, e, claimChange)
		case backupPath.MatchString(e.Path) && isHomeHost(e.Host):
			c.claim(l, e, claimBackup)
		}
	}
}

// wasStarted: S3, nothing starts but the copy of the newest owner. Which one that is may
// be told by agents that are asked later.
func (c *checker) wasStarted(l *Look, e site.Effect) {
	key := at(l.Site, e.ID)
	c.starts[key]++
	if c.foreign[key] {
		c.fail(e.At, "S3", "start of %s, which a person made", key)
	}
	for guest, o := range c.owner {
		// Known for longer than the leader's word counts (design section 5).
		if epoch, was := c.owned[key]; was && c.belongs(key, guest) && o.at != key && epoch.Less(o.epoch) && e.At.Sub(o.since) > knownAfter {
			c.claim(l, e, claimStart)
		}
	}
	c.pending = append(c.pending, effectSeen{l.Site, e})
}

// belongs says whether a copy has ever been the owner's of a guest.
func (c *checker) belongs(key, guest string) bool {
	for _, s := range c.epochs[guest] {
		if slices.Contains(s.owners, key) {
			return true
		}
	}
	return false
}

// justify looks for the ownership that allowed a start; S3 if an agent that is in contact
// and is asked well after it knows of none.
func (c *checker) justify(l *Look) {
	var left []effectSeen
	for _, p := range c.pending {
		key := at(p.site, p.ID)
		switch _, ok := c.owned[key]; {
		case ok:
			c.once(key, p)
		case c.upToDate(l) && l.Asked.Sub(p.At) > knownAfter:
			c.fail(p.At, "S3", "start of %s, which has never owned a guest", key)
		default:
			left = append(left, p)
		}
	}
	c.pending = left
	c.justifyClaims(l)
}

// once: S3, in one epoch one copy of a guest is started.
func (c *checker) once(key string, p effectSeen) {
	for guest, seen := range c.epochs {
		for e, s := range seen {
			if !slices.Contains(s.owners, key) {
				continue
			}
			id := guest + " " + e.String()
			if other, ok := c.started[id]; ok && other != key {
				c.fail(p.At, "S3", "in epoch %s of %s both %s and %s were started", e, guest, other, key)
			}
			c.started[id] = key
		}
	}
}

// wasDeleted: S7, nothing is deleted but copies of ours that never ran.
func (c *checker) wasDeleted(l *Look, e site.Effect) {
	key := at(l.Site, e.ID)
	did := c.touched[key]
	switch _, owned := c.owned[key]; {
	case c.foreign[key]:
		c.fail(e.At, "S7", "deletion of %s, which a person made", key)
	case c.starts[key] > 0:
		c.fail(e.At, "S7", "deletion of %s, which has run", key)
	case did == "start":
		c.fail(e.At, "S7", "deletion of %s, which a person has started", key)
	case owned:
		c.fail(e.At, "S7", "deletion of %s, which has owned a guest", key)
	case isHomeHost(e.Host):
		c.claim(l, e, claimDelete)
	case !strings.HasPrefix(e.Host, "raoull-"):
		c.fail(e.At, "S7", "deletion of %d at %s, where nothing is ours", e.ID, e.Host)
	}
	delete(c.touched, key)
}

// wasRestored: S7, a restore overwrites nothing.
func (c *checker) wasRestored(l *Look, e site.Effect) {
	key := at(l.Site, e.ID)
	_, owned := c.owned[key]
	switch {
	case e.Force:
		c.fail(e.At, "S7", "a restore of %s with force", key)
	case owned:
		c.fail(e.At, "S3", "%s is restored over", key)
	case isHomeHost(e.Host):
		c.claim(l, e, claimRestore)
	}
	delete(c.proved, key)
}

// hosts looks at a site's machines: S3, S7, S9, S11.
func (c *checker) hosts(l *Look) {
	for _, h := range l.Hosts.Hosts {
		c.truth.host(h.Name, h.Power, l.At)
		c.sealed(l.Site, h.Sealed)
		if !h.Power {
			c.failed[l.Site] = true
			delete(c.booted, h.Name)
			continue
		}
		if c.booted[h.Name].IsZero() {
			c.booted[h.Name] = l.At
		}
		switch {
		case strings.HasPrefix(h.Name, "raoull-"):
			for _, g := range h.Guests {
				c.copy(l, g)
			}
			c.homes(l, h)
		case isHomeHost(h.Name):
			c.homes(l, h)
			c.beside(l, h)
		}
	}
}

// copy: S3, nothing runs that does not own; S11, on a foreign VLAN; S9, by itself.
func (c *checker) copy(l *Look, g site.GuestStatus) {
	key := at(l.Site, g.ID)
	if g.Serving {
		c.proved[key] = true
	}
	if c.foreign[key] {
		return
	}
	if m, ok := c.lab.Guest(g.Name); ok && g.Lock == "" {
		for _, vlan := range g.VLANs {
			if vlan != c.lab.VLAN(m.Structure) {
				c.fail(l.At, "S11", "%s, a copy of %s, is on VLAN %d, not %d", key, g.Name, vlan, c.lab.VLAN(m.Structure))
			}
		}
	}
	if g.Onboot && !c.isHome(g.Name, key) {
		c.fail(l.At, "S9", "%s has onboot set", key)
	}
	_, owned := c.owned[key]
	if !g.Running || owned || c.touched[key] == "start" {
		delete(c.stray, key)
		return
	}
	since, known := c.stray[key]
	switch {
	case !known:
		c.stray[key] = l.At
	case l.At.Sub(since) > knownAfter && c.anyUpToDate(since.Add(knownAfter)):
		c.fail(l.At, "S3", "%s, a copy of %s, runs and has never owned it", key, g.Name)
	}
}

// anyUpToDate says whether any agent was asked after a time and told all there is.
func (c *checker) anyUpToDate(after time.Time) bool {
	for _, l := range c.latest {
		if c.upToDate(l) && l.Asked.After(after) {
			return true
		}
	}
	return false
}

// homes: S9, home guests of a site with power run; S7, they are there.
func (c *checker) homes(l *Look, h site.HostStatus) {
	on, known := c.since[l.Site]
	if !known || l.Asked.Sub(on) < bootGrace || l.Asked.Sub(c.booted[h.Name]) < bootGrace {
		return
	}
	for _, m := range c.lab.GuestsOf(l.Site) {
		if m.Raoull == isHomeHost(h.Name) {
			continue
		}
		found, running := false, false
		id := c.homeID(m)
		for _, g := range h.Guests {
			if g.ID == id {
				found, running = true, g.Running
			}
		}
		if running {
			c.ranAtHome(m)
		}
		switch {
		case c.excused[m.Name]:
		case found && c.held[at(l.Site, id)] && c.owner[m.Name].at != at(l.Site, id):
		case found && !running && c.stoodDown(m, l.Asked):
		case !found:
			c.fail(l.At, "S7", "the home copy of %s is gone", m.Name)
		case !running:
			c.fail(l.At, "S9", "the home copy of %s was stopped", m.Name)
		}
	}
}

// residue: L3, nothing that was prepared and is not owned stays behind, but for a person
// to look at.
func (c *checker) residue(l *Look) []string {
	if l.Hosts == nil {
		return nil
	}
	var out []string
	for _, h := range l.Hosts.Hosts {
		for _, g := range h.Guests {
			key := at(l.Site, g.ID)
			if _, owned := c.owned[key]; !owned && !c.foreign[key] && c.touched[key] == "" && !c.awaited(l.Site, g.ID) {
				out = append(out, "the copy "+key+" of "+g.Name+" stays behind")
			}
		}
		for _, pin := range h.Pinned {
			// PBS takes a protection back by removing a file and does not wait for the
			// disk: a power cut in the next seconds undoes it (docs/reliability.md).
			if !c.failed[l.Site] && !c.awaited(l.Site, 0) {
				out = append(out, "the restore point "+pin+" stays protected at "+l.Site)
			}
		}
	}
	return out
}

// awaited says whether an operation that has not ended well is about a copy at a site;
// 0: about any.
func (c *checker) awaited(site string, vmid int) bool {
	a := c.informed()
	if a == nil {
		return true
	}
	for _, o := range a.Ops.Items {
		for _, g := range o.Guests {
			open := !o.Phase.Ended() || g.State == failover.RunStuck
			if open && (string(g.Target) == site && (vmid == 0 || g.VMID == vmid) || g.State == failover.RunStuck) {
				return true
			}
		}
	}
	return false
}

// informed returns what the agent says that knows the most, nil: nobody is in contact.
func (c *checker) informed() *Agent {
	var best *Agent
	for _, l := range c.latest {
		if l.Agent.inContact() && (best == nil || l.Agent.Ops.Index > best.Ops.Index) {
			best = l.Agent
		}
	}
	return best
}
