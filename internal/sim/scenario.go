package sim

import (
	"fmt"
	"strings"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/lab"
	"github.com/raoull/worldwidewelsh/internal/network"
)

// lost is the site that the named scenarios lose.
const lost failover.SiteID = "moulin"

// facts are what a scenario's check wants to know of the log afterwards.
type facts struct {
	w         *World
	committed []time.Time // automatic commits
	admitted  []time.Time // by a person
	begun     int
	changed   map[string]uint64 // the zones before the incident
}

// observe collects facts from Warm on.
func (w *World) observe() *facts {
	f := &facts{w: w, changed: map[string]uint64{}}
	w.loop.In(Warm, "", func() {
		for z, st := range w.log.Last().Zones {
			f.changed[z] = st.Changed
		}
	})
	w.watch = func(e Committed) {
		switch e.Command.(type) {
		case failover.BeginOp:
			f.begun++
		case failover.CommitOp:
			f.committed = append(f.committed, w.loop.Now())
		case failover.Approve:
			f.admitted = append(f.admitted, w.loop.Now())
		}
	}
	return f
}

// at schedules a fault of a scenario after Warm.
func (w *World) at(after time.Duration, do func()) { w.loop.In(Warm+after, "scenario", do) }

// SiteKilled is the main job: a site loses power and stays away.
func SiteKilled(id failover.SiteID) Scenario {
	var f *facts
	return Scenario{
		Name: "site killed",
		Plan: func(w *World) {
			f = w.observe()
			w.at(0, func() { w.kill(id) })
		},
		Until: Warm + 2*time.Minute,
		Check: func(w *World) error {
			if err := f.inTime(0); err != nil {
				return err
			}
			return w.failedOver(id)
		},
	}
}

// LeaderKilled is the main job when the site that is lost leads.
func LeaderKilled() Scenario {
	s := SiteKilled(lost)
	s.Name, s.Prepare = "leader killed", func(o *Options) { o.Leader = lost }
	return s
}

// inTime is L1: a true loss is committed within the commit delay and 3 s.
func (f *facts) inTime(killed time.Duration) error {
	begin := Epoch.Add(Warm + killed)
	delay := f.w.opts.Timing.Commit
	if len(f.committed) == 0 {
		return fmt.Errorf("invariant L1 violated: nothing was committed")
	}
	switch took := f.committed[0].Sub(begin); {
	case took > delay+3*time.Second:
		return fmt.Errorf("invariant L1 violated: committed after %s, delay %s", took, delay)
	case took < delay:
		return fmt.Errorf("invariant S4 violated: committed after %s, delay %s", took, delay)
	}
	return nil
}

// failedOver demands that every guest of a site that moves is served elsewhere
// and that no other has moved.
func (w *World) failedOver(id failover.SiteID) error {
	s := w.log.Last()
	for _, g := range s.Network.GuestIDs() {
		p, moves := s.Guests[g], s.Network.Home(g) == id && s.Network.Guests[g].Priority != 4
		away := p.Phase == failover.PhaseAway || p.Phase == failover.PhaseDiverged
		switch {
		case !moves && p.Owner != s.Network.Home(g):
			return fmt.Errorf("%s moved to %s", g, p.Owner)
		case moves && (!away || p.Serving == id || p.Serving != p.Owner):
			return fmt.Errorf("%s is %s, owned by %s and served at %q", g, p.Phase, p.Owner, p.Serving)
		}
	}
	return nil
}

// untouched is L3: everything is as it was.
func (f *facts) untouched() error {
	s := f.w.log.Last()
	for _, g := range s.Network.GuestIDs() {
		p, home := s.Guests[g], s.Network.Home(g)
		if p.Owner != home || p.Serving != home || p.Epoch != (failover.Epoch{}) || p.Op != "" ||
			p.Phase != failover.PhaseHome && p.Phase != failover.PhaseExcluded {
			return fmt.Errorf("invariant L3 violated: %s is %s, owned by %s in epoch %s", g, p.Phase, p.Owner, p.Epoch)
		}
	}
	for z, st := range s.Zones {
		if st.Changed != f.changed[z] {
			return fmt.Errorf("invariant L3 violated: zone %s has changed", z)
		}
	}
	return nil
}

// Returns is a site that comes back some time after its loss: before ownership
// moved nothing may have changed, after it everything has.
func Returns(after time.Duration) Scenario {
	var f *facts
	return Scenario{
		Name: fmt.Sprintf("returns after %s", after),
		Plan: func(w *World) {
			f = w.observe()
			w.at(0, func() { w.kill(lost) })
			w.at(after, func() { w.revive(lost) })
		},
		Until: Warm + after + 3*time.Minute,
		Check: func(w *World) error {
			if len(f.committed) == 0 {
				return f.untouched()
			}
			for _, g := range w.log.Last().Guests {
				if g.Epoch != (failover.Epoch{}) {
					return w.failedOver(lost)
				}
			}
			return f.untouched()
		},
	}
}

// AgentsCrash is the main job while agents crash at the boundaries of their calls.
func AgentsCrash() Scenario {
	return Scenario{
		Name: "agents crash",
		Plan: func(w *World) {
			w.at(0, func() { w.kill(lost) })
			w.at(5*time.Second, func() { w.crashAtRandom(w.rand("crashes"), 0.06, 10) })
		},
		Until: Warm + 7*time.Minute,
		Check: func(w *World) error { return w.failedOver(lost) },
	}
}

// Replies is the main job while what changes something at Proxmox suffers an
// effect each time for a while: its answer is lost, or it is done twice.
func Replies(effect lab.Effect) Scenario {
	return Scenario{
		Name: "replies: " + string(effect),
		Plan: func(w *World) {
			w.at(0, func() { w.kill(lost) })
			for _, m := range []lab.Match{
				{Method: "POST", Path: "*/qemu"}, {Method: "POST", Path: "*/lxc"}, {Method: "POST", Path: "*/start"}, {Method: "PUT"},
			} {
				if err := w.faults.Add(lab.Fault{Match: m, Effect: effect, Times: 3, Delay: 3 * time.Second}); err != nil {
					w.check.violated(err)
				}
			}
		},
		Until: Warm + 4*time.Minute,
		Check: func(w *World) error { return w.failedOver(lost) },
	}
}

// WakesInThePast has a target's agent restart from a snapshot of the middle of
// its restore, cut off from everybody, when all of that was cancelled and
// cleaned away long ago.
func WakesInThePast() Scenario {
	const target failover.SiteID = "quai"
	var f *facts
	return Scenario{
		Name: "wakes in the past",
		Plan: func(w *World) {
			f = w.observe()
			at := 0
			count := w.watch
			w.watch = func(e Committed) {
				count(e)
				m, ok := e.Command.(failover.StepMoved)
				if ok && at == 0 && m.Token.Step == failover.StepRestore && w.log.Last().Ops[m.Token.Op].Guests[m.Token.Guest].Assignment.Target == target {
					at = len(w.log.entries)
				}
			}
			w.log.snapshot = func(_ failover.SiteID, applied int) int { return min(at, applied) }
			w.at(0, func() { w.kill(lost) })
			w.at(20*time.Second, func() { w.revive(lost) })
			w.at(90*time.Second, func() {
				for _, o := range w.ids {
					if o != target {
						w.net.Cut(o, target, failover.PathMesh)
					}
				}
				w.crashAgent(w.sites[target], time.Second)
			})
			w.at(120*time.Second, func() {
				w.net.HealAll()
				w.log.Evaluate()
			})
		},
		Until: Warm + 4*time.Minute,
		Check: func(*World) error { return f.untouched() },
	}
}

// LeadersChange is the main job while the leadership moves every few seconds.
func LeadersChange() Scenario {
	return Scenario{
		Name: "leaders change",
		Plan: func(w *World) {
			w.at(0, func() { w.kill(lost) })
			for i := range 12 {
				w.at(time.Duration(i+1)*9*time.Second, func() { w.log.Depose() })
			}
		},
		Until: Warm + 5*time.Minute,
		Check: func(w *World) error { return w.failedOver(lost) },
	}
}

// TwoSites loses two at once: automation stops and people are called.
func TwoSites() Scenario {
	var f *facts
	return Scenario{
		Name: "two sites",
		Plan: func(w *World) {
			f = w.observe()
			w.at(0, func() { w.kill("moulin") })
			w.at(time.Second, func() { w.kill("fabrique") })
		},
		Until: Warm + 3*time.Minute,
		Check: func(w *World) error {
			if len(f.committed) > 0 {
				return fmt.Errorf("invariant S6 violated: %d commits with two sites lost", len(f.committed))
			}
			for _, id := range []failover.SiteID{"moulin", "fabrique"} {
				if d := w.log.Last().Domains[failover.SiteDomain(id)]; d.Cause != failover.CauseLost || d.Held.Code != failover.CodeMassEvent {
					return fmt.Errorf("%s is %s and held by %q, want lost and held by %s", id, d.Cause, d.Held.Code, failover.CodeMassEvent)
				}
			}
			return nil
		},
	}
}

// Paused is a pause that comes in the middle of the countdown, and ends.
func Paused() Scenario {
	const begin, end = 20 * time.Second, 80 * time.Second
	var f *facts
	return Scenario{
		Name: "paused",
		Plan: func(w *World) {
			f = w.observe()
			w.at(0, func() { w.kill(lost) })
			w.at(begin, func() { w.propose(failover.SetPause{Reason: "let me look"}) })
			w.at(end, func() { w.propose(failover.EndPause{}) })
		},
		Until: Warm + 3*time.Minute,
		Check: func(w *World) error {
			if len(f.committed) == 0 || f.committed[0].Before(Epoch.Add(Warm+end)) {
				return fmt.Errorf("invariant S10 violated: commits at %v, paused until %s", f.committed, Epoch.Add(Warm+end))
			}
			return w.failedOver(lost)
		},
	}
}

// Asked is a loss in mode ask: prepared, and then for a person to say.
func Asked() Scenario {
	const said = 75 * time.Second
	var f *facts
	return Scenario{
		Name:    "asked",
		Prepare: func(o *Options) { o.Mode = network.ModeAsk },
		Plan: func(w *World) {
			f = w.observe()
			w.at(0, func() { w.kill(lost) })
			w.at(said, func() { w.approve() })
		},
		Until: Warm + 3*time.Minute,
		Check: func(w *World) error {
			if len(f.committed) > 0 || len(f.admitted) != 1 {
				return fmt.Errorf("invariant S10 violated: %d automatic commits and %d approvals, want none and one", len(f.committed), len(f.admitted))
			}
			return w.failedOver(lost)
		},
	}
}

// approve has a person admit whatever waits.
func (w *World) approve() {
	for _, id := range sortedKeys(w.log.Last().Ops) {
		if op := w.log.Last().Ops[id]; len(op.Waiting()) > 0 {
			w.proposeAs("p-approver", failover.Approve{Op: id, Hash: w.offer(op)}, nil)
		}
	}
}

// TargetDies loses the machine of a target before ownership moved: its guests
// go to another, and what it held is removed when it is back.
func TargetDies() Scenario {
	return Scenario{
		Name:    "target dies",
		Prepare: func(o *Options) { o.Timing.Commit = 50 * time.Second },
		Plan: func(w *World) {
			w.at(0, func() { w.kill(lost) })
			w.at(25*time.Second, func() { w.crashHost(w.sites["quai"], 4*time.Minute) })
		},
		Until: Warm + 7*time.Minute,
		Check: func(w *World) error {
			for _, g := range w.log.Last().Network.GuestIDs() {
				if p := w.log.Last().Guests[g]; p.Owner == "quai" && w.log.Last().Network.Home(g) == lost {
					return fmt.Errorf("%s is owned by the target that died", g)
				}
			}
			return w.failedOver(lost)
		},
	}
}

// Untouched is a fault that must move nothing at all, and that is judged to be
// cause; "": whatever is said of it.
func Untouched(name string, cause failover.Cause, fault func(*World)) Scenario {
	var f *facts
	return Scenario{
		Name: name,
		Plan: func(w *World) {
			f = w.observe()
			w.at(0, func() { fault(w) })
		},
		Until: Warm + 2*time.Minute,
		Check: func(w *World) error {
			if got := w.log.Last().Domains[failover.SiteDomain(lost)].Cause; got != cause && cause != "" {
				return fmt.Errorf("%s is judged %s, want %s", lost, got, cause)
			}
			if f.begun > 0 {
				return fmt.Errorf("%d operations were begun", f.begun)
			}
			return f.untouched()
		},
	}
}

// MeshCut kills the mesh of a site whose public side lives: a veto.
func MeshCut() Scenario {
	return Untouched("mesh cut", failover.CauseMeshDown, func(w *World) { w.cutMesh(lost) })
}

// SickObservers are two of five that see nothing and do not know why.
func SickObservers() Scenario {
	return Untouched("sick observers", failover.CauseUp, func(w *World) {
		for _, id := range []failover.SiteID{"quai", "halle"} {
			w.tell("fault: %s sees nothing", id)
			w.sites[id].sick = true
		}
	})
}

// AgentOnly is an agent that is gone from a site that lives.
func AgentOnly() Scenario {
	return Untouched("agent gone", failover.CauseAgentOnly, func(w *World) { w.crashAgent(w.sites[lost], time.Hour) })
}

// Isolated is a site that is cut off and lives: outside it is lost; inside
// nothing is stopped and nothing proposed, and it comes back diverged.
func Isolated() Scenario {
	const joined = 100 * time.Second
	var f *facts
	return Scenario{
		Name: "isolated",
		Plan: func(w *World) {
			f = w.observe()
			w.at(0, func() { w.setUplink(lost, false) })
			w.at(joined, func() { w.setUplink(lost, true) })
		},
		Until: Warm + joined + 2*time.Minute,
		Check: func(w *World) error {
			if err := f.inTime(0); err != nil {
				return err
			}
			for _, g := range w.log.Last().Network.GuestIDs() {
				if p := w.log.Last().Guests[g]; p.Owner != w.log.Last().Network.Home(g) && p.Phase != failover.PhaseDiverged {
					return fmt.Errorf("%s is %s although its home is back", g, p.Phase)
				}
			}
			return w.failedOver(lost)
		},
	}
}

// WrongClock is a leader whose wall clock is off: it hastens and delays nothing.
func WrongClock(skew time.Duration) Scenario {
	s := SiteKilled(lost)
	plan := s.Plan
	s.Name = "wrong clock " + skew.String()
	s.Prepare = func(o *Options) { o.Leader = "halle" }
	s.Plan = func(w *World) {
		w.sites["halle"].skew = skew
		plan(w)
		// A new term takes the wrong clock up.
		w.loop.In(Warm/2, "depose", func() { w.log.Depose() })
	}
	return s
}

// Boundaries collects the places where agents stand in a run.
type Boundaries struct{ List []string }

// CrashAt is the main job of the small network, with the target's agent dying
// at the n-th boundary of its work; n < 0: never. seen collects them.
func CrashAt(n int, seen *Boundaries) Scenario {
	return Scenario{
		Name: fmt.Sprintf("crash at boundary %d", n),
		Prepare: func(o *Options) {
			o.Places, o.Leader = Small, "temoin"
			o.Timing.Commit = 20 * time.Second
		},
		Plan: func(w *World) {
			w.at(0, func() { w.kill(lost) })
			w.crash = func(site failover.SiteID, boundary string) bool {
				if site == lost || !strings.HasPrefix(boundary, "before nuage") && !strings.HasPrefix(boundary, "after nuage") {
					return false
				}
				seen.List = append(seen.List, boundary)
				return len(seen.List)-1 == n
			}
		},
		Until: Warm + 2*time.Minute,
		Check: func(w *World) error { return w.once() },
	}
}

// CrashLeaderAfter is the main job of the small network, with the leader's
// agent dying when the n-th entry after the loss is committed; n < 0: never.
// entries counts them.
func CrashLeaderAfter(n int, entries *int) Scenario {
	s := CrashAt(-1, &Boundaries{})
	s.Name = fmt.Sprintf("leader crashes after entry %d", n)
	plan := s.Plan
	s.Plan = func(w *World) {
		plan(w)
		w.crash = nil
		w.watch = func(e Committed) {
			if _, report := e.Command.(failover.Report); report || w.loop.Now().Before(Epoch.Add(Warm)) {
				return
			}
			*entries++
			if *entries-1 == n {
				leader := w.sites[w.log.Leader()]
				w.loop.In(0, "crash leader", func() { w.crashAgent(leader, 4*time.Second) })
			}
		}
	}
	return s
}

// once demands that the job is done and that each effect was had once.
func (w *World) once() error {
	if err := w.failedOver(lost); err != nil {
		return err
	}
	for _, op := range w.log.Last().Ops {
		if op.Phase != failover.OpDone {
			return fmt.Errorf("%s is %s, want done", op.ID, op.Phase)
		}
	}
	for _, what := range []map[string]int{w.check.starts, w.check.restores} {
		for where, n := range what {
			if n != 1 {
				return fmt.Errorf("an effect at %s was had %d times", where, n)
			}
		}
	}
	if n := len(w.sites["fabrique"].raoull.Guests()); n != 1 {
		return fmt.Errorf("the target has %d copies, want 1", n)
	}
	return nil
}
