package lab

import (
	"slices"
	"strconv"
	"time"
)

// haDelay is how long the HA stack takes from a request to its own start or stop of a guest.
const haDelay = 10 * time.Second

func haID(g *guest) string {
	return map[string]string{qemu: "vm:", lxc: "ct:"}[g.Kind] + strconv.Itoa(g.ID)
}

// haManaged tells whether the HA stack starts, stops and moves a guest behind everybody's back.
func (p *PVE) haManaged(g *guest) bool {
	return slices.Contains(p.cfg.HA, haID(g)) && !p.st.HAGone[haID(g)]
}

// requestHA starts the task that a start or stop of an HA resource is: it only writes a request, and is
// OK whatever becomes of it. The HA stack acts later, as root, and needs quorum for it.
func (p *PVE) requestHA(c *call, g *guest, verb string, act func(*task) error) *task {
	id := strconv.Itoa(g.ID)
	return p.beginFor("ha"+verb, id, c.token, powerTask, func(t *task) error {
		t.logf("Requesting HA %s for %s", verb, haID(g))
		p.beginFor(taskType(g.Kind, verb), id, "root@pam", haDelay, func(t *task) error {
			if !p.quorate() {
				return vendorText("cluster not ready - no quorum?")
			}
			return act(t)
		})
		return nil
	})
}
