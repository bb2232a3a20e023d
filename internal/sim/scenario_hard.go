package sim

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/lab"
)

// BlindObservers are two of five that have no way to a site over which the
// others see it.
func BlindObservers() Scenario {
	s := Untouched("blind observers", failover.CauseAsymmetric, func(w *World) {
		for _, id := range []failover.SiteID{"quai", "halle"} {
			w.tell("fault: %s has no way to %s", id, lost)
			w.net.Cut(id, lost, failover.PathMesh)
			w.net.Cut(id, lost, failover.PathPublic)
		}
		w.log.Evaluate()
	})
	s.Prepare = func(o *Options) { o.Leader = "temoin" }
	return s
}

// Refuses is a site whose machines answer every question with a refusal: its
// addresses live, so it is not lost.
func Refuses() Scenario {
	return Untouched("refuses", "", func(w *World) {
		w.tell("fault: %s refuses every connection", lost)
		w.sites[lost].refuses = true
		w.crashAgent(w.sites[lost], time.Hour)
	})
}

// FewVotes is a true loss with two votes of five: of the three agents that are
// left, one is not well. It is committed when that one is well again, not before.
func FewVotes() Scenario {
	const well = 60 * time.Second // the penalty of a clock that has jumped
	var f *facts
	return Scenario{
		Name: "few votes",
		Plan: func(w *World) {
			f = w.observe()
			w.at(0, func() { w.kill(lost) })
			w.at(2*time.Second, func() { w.crashAgent(w.sites["quai"], time.Hour) })
			w.at(5*time.Second, func() {
				w.tell("fault: the clock of temoin jumps")
				w.sites["temoin"].skew = 10 * time.Second
			})
			// A new term has heard of those only who are left.
			w.at(8*time.Second, func() { w.log.Depose() })
		},
		Until: Warm + 4*time.Minute,
		Check: func(w *World) error {
			if len(f.committed) == 0 || f.committed[0].Before(Epoch.Add(Warm+well)) {
				return fmt.Errorf("invariant S4 violated: commits at %v, a majority could vote from %s", f.committed, Epoch.Add(Warm+well))
			}
			return w.failedOver(lost)
		},
	}
}

// ForeignGuest is a person who makes a guest under the very id that a copy was
// given a moment before. back: when the lost site is there again; 0: never.
func ForeignGuest(back time.Duration) Scenario {
	var site *Site
	var id int
	var before lab.GuestView
	return Scenario{
		Name: fmt.Sprintf("foreign guest, back %s", back),
		Plan: func(w *World) {
			w.watch = func(e Committed) {
				if _, begun := e.Command.(failover.BeginOp); !begun || site != nil {
					return
				}
				op, _ := w.mainOp()
				a := op.Plan.Assignments[0]
				site, id = w.sites[a.Target], op.Guests[a.Guest].VMID
				w.loop.In(0, "a person", func() { before = w.makeForeign(site, id, a.VLAN) })
			}
			w.at(0, func() { w.kill(lost) })
			if back > 0 {
				w.at(back, func() { w.revive(lost) })
			}
		},
		Until: Warm + back + 4*time.Minute,
		Check: func(w *World) error {
			if site == nil {
				return fmt.Errorf("no operation was begun")
			}
			after, ok := site.raoull.Guest(id)
			if !ok || !maps.Equal(after.Config, before.Config) || after.Running != before.Running {
				return fmt.Errorf("invariant S7 violated: the foreign guest %s is there=%t running=%t as %v, was %v", at(site.name, id), ok, after.Running, after.Config, before.Config)
			}
			op, _ := w.mainOp()
			for g, run := range op.Guests {
				if run.VMID == id && run.Assignment.Target == site.name && (run.Owned() || run.State == failover.RunDone) {
					return fmt.Errorf("%s took the foreign guest %s for its own", g, at(site.name, id))
				}
			}
			if back == 0 { // under the next id
				return w.failedOver(lost)
			}
			return nil
		},
	}
}

// makeForeign puts a running guest that is none of ours on a target.
func (w *World) makeForeign(s *Site, id, vlan int) lab.GuestView {
	w.tell("a person makes the guest %s", at(s.name, id))
	w.check.foreign[at(s.name, id)] = true
	spec := lab.GuestSpec{
		ID: id, Kind: "vm", Name: "essai", DiskSize: 1 << 16, Storage: localDisks,
		Nets: map[string]string{"net0": fmt.Sprintf("virtio=BC:24:11:FF:00:01,bridge=%s,tag=%d", bridge, vlan)},
	}
	if err := s.raoull.AddGuest(spec, nil); err != nil {
		w.check.violated(err)
		return lab.GuestView{}
	}
	if err := s.raoull.StartGuest(id, w.loop.Now()); err != nil {
		w.check.violated(err)
	}
	g, _ := s.raoull.Guest(id)
	return g
}

// CopyStarted is a person who starts a prepared copy by hand, and users who
// write into it, before the lost site is back: the cleanup is refused while it
// runs. Then its host reboots, so that it is off, and somebody has what is
// stuck try again. (The campaign of seed 23981 once lost it so.)
func CopyStarted() Scenario {
	var site *Site
	var id int
	return Scenario{
		Name:    "copy started by hand",
		Prepare: func(o *Options) { o.Timing.Commit = 90 * time.Second },
		Plan: func(w *World) {
			w.at(0, func() { w.kill(lost) })
			w.at(60*time.Second, func() {
				w.withCopy(func(s *Site, run failover.GuestRun) {
					site, id = s, run.VMID
					w.startCopy(s, run)
				})
			})
			w.at(70*time.Second, func() { w.revive(lost) })
			w.at(150*time.Second, func() { w.crashHost(site, 10*time.Second) })
			w.at(200*time.Second, func() {
				for _, op := range sortedKeys(w.log.Last().Ops) {
					w.propose(failover.RetryOp{Op: op})
				}
			})
		},
		Until: Warm + 6*time.Minute,
		Check: func(w *World) error {
			if site == nil {
				return errors.New("no copy was prepared")
			}
			if _, ok := site.raoull.Guest(id); !ok {
				return fmt.Errorf("invariant S7 violated: %s, which has run, is gone", at(site.name, id))
			}
			for _, op := range w.log.Last().Ops {
				for _, run := range op.Guests {
					if step, _, left := run.Current(); run.Assignment.Target == site.name && run.VMID == id && (!left || run.State != failover.RunStuck || !strings.Contains(step.Note, "started")) {
						return fmt.Errorf("%s is %s with note %q, want stuck over a copy that has run", run.Assignment.Guest, run.State, step.Note)
					}
				}
			}
			return nil
		},
	}
}

// StaleTarget cuts a target off in the middle of a restore, which goes on; the
// guest is given to another. Back in contact, with a log that lags, the first
// one tells that its restore is done: its token is not the newest.
func StaleTarget() Scenario {
	var stale *Site
	var guest failover.GuestID
	return Scenario{
		Name:    "stale target",
		Prepare: func(o *Options) { o.Timing.Commit = 90 * time.Second },
		Plan: func(w *World) {
			w.at(0, func() { w.kill(lost) })
			joined := false
			w.watch = func(e Committed) {
				m, ok := e.Command.(failover.StepMoved)
				if !ok || m.Token.Step != failover.StepRestore || m.To != failover.StatusRunning || m.Attempt != 1 {
					return
				}
				target := w.log.Last().Ops[m.Token.Op].Guests[m.Token.Guest].Assignment.Target
				switch {
				case stale == nil && m.UPID != "":
					stale, guest = w.sites[target], m.Token.Guest
					w.loop.In(2*time.Second, "cut off", func() { w.setUplink(target, false) })
				case stale != nil && m.Token.Guest == guest && target != stale.name && !joined:
					joined = true
					w.log.lag[stale.name] = 8 * time.Second
					w.loop.In(time.Second, "join", func() { w.setUplink(stale.name, true) })
					w.loop.In(20*time.Second, "", func() { delete(w.log.lag, stale.name) })
				}
			}
		},
		Until: Warm + 6*time.Minute,
		Check: func(w *World) error {
			if stale == nil || w.log.Last().Guests[guest].Owner == stale.name {
				return fmt.Errorf("%s was not given to another target", guest)
			}
			return w.failedOver(lost)
		},
	}
}

// FrozenTarget stops the agent of a target between the claim of a start and the
// start, and cuts it off, until a person is called: the run is stuck. Then the
// agent goes on, still alone, with a token that is not the newest: it must start
// nothing before the person says so.
func FrozenTarget() Scenario {
	var p frozenRun
	return Scenario{
		Name:  "frozen target",
		Plan:  func(w *World) { p = frozenRun{w: w}; p.plan() },
		Until: Warm + 7*time.Minute,
		Check: func(w *World) error { return p.check() },
	}
}

// frozenRun is a run of FrozenTarget.
type frozenRun struct {
	w      *World
	site   *Site
	guest  failover.GuestID
	vmid   int
	called bool
	helped bool
}

func (p *frozenRun) plan() {
	w := p.w
	w.at(0, func() { w.kill(lost) })
	w.crash = func(site failover.SiteID, boundary string) bool {
		guest, what, _ := strings.Cut(strings.TrimPrefix(boundary, "before "), ": ")
		if what == "start: confirm" && p.site == nil {
			op, _ := w.mainOp()
			p.site, p.guest = w.sites[site], failover.GuestID(guest)
			p.vmid = op.Guests[p.guest].VMID
			w.loop.In(0, "freeze", func() { w.freeze(p.site, true) })
			w.loop.In(5*time.Second, "cut off", func() { w.setUplink(p.site.name, false) })
		}
		return false
	}
	w.watch = func(e Committed) {
		switch c := e.Command.(type) {
		case failover.Stick:
			if p.site != nil && c.Guest == p.guest && !p.called {
				p.called = true
				w.loop.In(5*time.Second, "thaw", func() { w.freeze(p.site, false) })
				w.loop.In(15*time.Second, "join", func() { w.setUplink(p.site.name, true) })
				w.loop.In(40*time.Second, "person", p.person)
			}
		}
	}
}

// person has the operation go on when everything else of it has ended.
func (p *frozenRun) person() {
	w := p.w
	if op, _ := w.mainOp(); op.Phase == failover.OpStuck {
		p.helped = true
		w.tell("a person retries %s", op.ID)
		w.propose(failover.RetryOp{Op: op.ID})
		return
	}
	w.loop.In(3*time.Second, "person", p.person)
}

func (p *frozenRun) check() error {
	if !p.called || !p.helped {
		return fmt.Errorf("called %t and helped %t, want both", p.called, p.helped)
	}
	if n := p.w.check.starts[at(p.site.name, p.vmid)]; n != 1 {
		return fmt.Errorf("the copy %s was started %d times, want once", at(p.site.name, p.vmid), n)
	}
	return p.w.failedOver(lost)
}
