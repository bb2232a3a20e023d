package chaos

import (
	"fmt"
	"slices"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/probes"
)

// lookAge is how old the looks may be that a convergence is read from.
const lookAge = 8 * time.Second

// unsettled says what keeps a set of sites from having converged, by invariant: every
// agent in contact (L2), every operation ended or waiting for a person, who has a next
// command (L2, L4), every name server in agreement (L5). When it is the whole network,
// nothing may stay behind (L3), and every site is up (L1).
func (c *checker) unsettled(sites []string, now time.Time) []Violation {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := len(sites) == len(c.lab.Sites)
	var out []Violation
	add := func(id, format string, args ...any) {
		out = append(out, Violation{At: now, Invariant: id, Text: fmt.Sprintf(format, args...)})
	}
	for _, name := range sites {
		l := c.latest[name]
		if l == nil || now.Sub(l.Asked) > lookAge || l.Agent == nil {
			add("L2", "the agent of %s does not answer", name)
			continue
		}
		st := l.Agent.Status
		unwell := slices.DeleteFunc(slices.Clone(st.Local.Unwell), func(u string) bool {
			return !all && u == probes.UnwellUplink // what the lab's agents ask of the internet stands at other sites
		})
		if !st.Local.HasLeader || len(unwell) > 0 {
			add("L2", "the agent of %s hears a leader: %t; unwell: %v", name, st.Local.HasLeader, unwell)
		}
		c.ended(l, sites, add)
		c.agrees(l, add)
		if !all {
			continue
		}
		for _, text := range c.residue(l) {
			add("L3", "%s", text)
		}
		for _, s := range st.Sites {
			if s.Cause != failover.CauseUp {
				add("L1", "%s says that %s is %s (%s)", name, s.Site, s.State, s.Cause)
			}
		}
		for _, z := range st.Zones {
			if !z.InSync {
				add("L5", "%s says that zone %s is not served everywhere: %v %v", name, z.Zone, z.Servers, z.Notes)
			}
		}
	}
	return out
}

// ended: L2, L4. Automation that holds back says why; what is under way at a site that
// is dead goes on when that is back.
func (c *checker) ended(l *Look, sites []string, add func(id, format string, args ...any)) {
	for _, o := range l.Agent.Ops.Items {
		held := slices.ContainsFunc(l.Agent.Status.Held, func(h failover.HeldView) bool { return h.Domain == o.Domain })
		away := slices.ContainsFunc(o.Guests, func(g failover.OpGuestView) bool {
			return g.State != failover.RunDone && !slices.Contains(sites, string(g.Target))
		})
		if !o.Phase.Ended() && len(o.Waiting) == 0 && !held && !away {
			add("L2", "%s says that %s has not ended: %s", l.Site, o.ID, o.Phase)
		}
	}
	for _, g := range l.Agent.Guests.Items {
		called := slices.Contains([]failover.Phase{failover.PhaseStuck, failover.PhaseDiverged}, g.Phase)
		if called && len(l.Agent.Status.Todo) == 0 {
			add("L4", "%s says that %s is %s and names nothing to do", l.Site, g.Guest, g.Phase)
		}
	}
}

// agrees: L5, its name server says what its own agent says.
func (c *checker) agrees(l *Look, add func(id, format string, args ...any)) {
	for _, g := range l.Agent.Guests.Items {
		for _, name := range g.Names {
			sites, asked := l.DNS[name]
			switch {
			case !asked:
				add("L5", "the server of %s does not answer for %s", l.Site, name)
			case g.Serving != "" && !slices.Equal(sites, []string{string(g.Serving)}):
				add("L5", "the server of %s points %s at %v, State at %q", l.Site, name, sites, g.Serving)
			}
		}
	}
}

// broken makes violations of what did not converge.
func (c *checker) broken(list []Violation, phase string, bound time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, v := range list {
		c.fail(v.At, v.Invariant, "%s, %s after %s", v.Text, bound, phase)
	}
}

// unready says which guests could not be failed over yet: chaos on a network without
// copies would teach nothing.
func (c *checker) unready() []Violation {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []Violation
	for _, l := range c.latest {
		if l.Agent == nil {
			continue
		}
		for _, s := range l.Agent.Status.Sites {
			if s.Ready < s.Guests {
				out = append(out, Violation{Invariant: "L1", Text: fmt.Sprintf("%s says that %d of %d guests of %s are ready", l.Site, s.Ready, s.Guests, s.Site)})
			}
		}
	}
	return out
}
