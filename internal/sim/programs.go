package sim

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/agent"
	"github.com/raoull/worldwidewelsh/internal/network"
)

// Programs that the simulated network declares: one that may forbid the move of a guest
// and may be run twice, one that is told of it and may not.
const (
	askProgram  = "ask"
	tellProgram = "tell"
	hookWithin  = 20 * time.Second
)

func declaredHooks() *network.Hooks {
	within := network.Duration(hookWithin)
	return &network.Hooks{
		Before: &network.Hook{Run: askProgram, Within: within, Veto: true, Repeat: true},
		After:  &network.Hook{Run: tellProgram, Within: within},
	}
}

// What a site's programs do when they do not end well.
const (
	programsRefuse = "say no"
	programsWait   = "say not yet"
	programsHang   = "hang"
	programsGone   = "are not there"
)

// simProgram is a program at a site.
type simProgram struct {
	a    *Agent
	name string
}

// programs are what operations call at an agent's site.
func (a *Agent) programs() map[string]agent.Program {
	out := map[string]agent.Program{}
	for _, name := range []string{askProgram, tellProgram} {
		out[name] = simProgram{a, name}
	}
	return out
}

// Run implements agent.Program.
func (p simProgram) Run(_ context.Context, env []string) (string, error) {
	w, s := p.a.w, p.a.site
	vars := map[string]string{}
	for _, v := range env {
		k, value, _ := strings.Cut(v, "=")
		vars[k] = value
	}
	if s.programs == programsGone {
		return "", errors.New("no such file or directory")
	}
	w.tell("program %s of %s is called for %s: it does %q", p.name, s.name, vars["WWW_TOKEN"], s.programs)
	w.check.called(s, p.name, vars)
	switch s.programs {
	case programsHang:
		w.charge(hookWithin)
		return "", context.DeadlineExceeded
	case programsWait:
		w.charge(time.Second)
		return "the disk is being looked at", agent.ErrNotYet
	case programsRefuse:
		w.charge(time.Second)
		return "the contract forbids it", errors.New("exit status 1")
	}
	w.charge(2 * time.Second)
	return "well", nil
}

// called checks a call of a program: S4, none before the guest is admitted; L2, one that
// may not be called twice is called once for each attempt that the log knows.
func (c *checker) called(s *Site, name string, vars map[string]string) {
	run := c.w.log.Last().Ops[failover.OpID(vars["WWW_OPERATION"])].Guests[failover.GuestID(vars["WWW_GUEST"])]
	token := vars["WWW_TOKEN"]
	switch {
	case vars["WWW_SITE"] != string(s.name):
		c.fail("S3", "%s is called at %s for a move to %s", name, s.name, vars["WWW_SITE"])
	case name == tellProgram && c.calls[token] > 0:
		c.fail("L2", "%s is called again at %s for %s", name, s.name, token)
	case name == askProgram && run.State == failover.RunActive && run.Admitted == 0:
		c.fail("S4", "%s is called at %s for %s, which nobody admitted", name, s.name, vars["WWW_GUEST"])
	case name == askProgram && run.State == failover.RunActive && run.Owned():
		c.fail("S3", "%s is called at %s for %s, which is owned already", name, s.name, vars["WWW_GUEST"])
	case name == tellProgram && run.Served.Index == 0:
		c.fail("S3", "%s is called at %s for %s, which does not serve yet", name, s.name, vars["WWW_GUEST"])
	}
	c.calls[token]++
}

// programmers have a site's programs fail for a while.
func (i *incident) programmers() {
	w := i.w
	i.r = w.rand(fmt.Sprintf("programs %d", len(w.plan))) // of their own: other draws stay as they are
	i.some(0.3, 2, func() {
		id, lasts := i.brique(), i.span(5*time.Second, 120*time.Second)
		what := []string{programsRefuse, programsWait, programsHang, programsGone}[i.r.IntN(4)]
		w.fault(i.when(), fmt.Sprintf("the programs of %s %s for %s", id, what, lasts), func() {
			w.sites[id].programs = what
			w.then(lasts, "programs well", func() { w.sites[id].programs = "" })
		})
	})
}
