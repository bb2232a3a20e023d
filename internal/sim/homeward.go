package sim

import (
	"fmt"
	"strings"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/lab"
	"github.com/raoull/worldwidewelsh/internal/network"
	"github.com/raoull/worldwidewelsh/internal/privileges"
)

// What a network has in which guests come home (Options.Homeward): structures' hosts that
// take them back, places for sealed branches at home, too, and jobs that bring them.

// homeIDs are the ids that a structure's host gives to guests that come home.
var homeIDs = network.IDRange{First: 5000, Last: 5099}

// declareHomeward declares it.
func declareHomeward(s *network.Spec, ps []place) {
	for _, p := range ps {
		if !p.saved() {
			continue
		}
		later := network.LineageStorages{Away: awayEntry(p.name), Sealed: sealedEntry(p.name)}
		own, target := s.Sites[p.name].Hosts[structureHost(p.name)], s.Sites[p.name].Hosts[raoullHost(p.name)]
		own.Restore = &network.Restore{Storage: localDisks, Bridge: bridge, IDs: homeIDs, Parallel: 2}
		own.Lineages = map[network.SiteID]network.LineageStorages{p.name: later}
		target.Lineages[p.name] = later
		s.Sites[p.name].Hosts[structureHost(p.name)], s.Sites[p.name].Hosts[raoullHost(p.name)] = own, target
	}
}

// homeRights are those of an agent's token on its structure's host.
func homeRights(node string, site network.SiteID) (map[string][]string, error) {
	release, err := privileges.ParseRelease(pveVersion)
	return privileges.ACL(privileges.NeededToComeHome(release, privileges.Paths{
		Node: node, Storages: []string{localDisks}, Networks: []privileges.NIC{{Bridge: bridge}},
		Backups: []string{ownBackups, awayEntry(site), sealedEntry(site)},
	})), err
}

// laterJobs are a store's jobs for the later lines of a home's guests, from each other site.
func (w *World) laterJobs(at network.SiteID, home place) []lab.SyncJob {
	var out []lab.SyncJob
	for _, ns := range w.laterSpaces(home) {
		for _, from := range w.places {
			if from.kind == network.Brique && from.name != at {
				job := lab.SyncJob{
					ID: strings.ReplaceAll(ns, "/", "-") + "-" + string(from.name), Remote: string(from.name), RemoteStore: datastore,
					FromNS: ns, NS: ns, Owner: pbsToken,
				}
				if job, has := w.opts.Jobs.job(at, job); has {
					out = append(out, job)
				}
			}
		}
	}
	return out
}

// WayHome cuts a site off while its guests run on, has its users and those elsewhere write,
// and brings its guests home, keeping one of the copies. When a step of the first guest is
// claimed, the agent that works on it dies for a while ("": none does).
func WayHome(keep failover.Keep, at failover.StepID) Scenario {
	h := &homeward{keep: keep, at: at}
	return Scenario{
		Name:    fmt.Sprintf("way home, keep %s, crash at %s", keep, at),
		Prepare: func(o *Options) { o.Homeward = true },
		Plan: func(w *World) {
			w.watch = h.watch
			h.plan(w)
		},
		Until: Warm + 12*time.Minute,
		Check: func(*World) error { return h.check() },
	}
}

// WayHomeGivenUp is a failback that a person cancels as a step of its first guest is claimed:
// both copies are as they were then.
func WayHomeGivenUp(at failover.StepID) Scenario {
	h := &homeward{keep: failover.KeepAway}
	return Scenario{
		Name:    fmt.Sprintf("way home, given up at %s", at),
		Prepare: func(o *Options) { o.Homeward = true },
		Plan: func(w *World) {
			w.watch = func(e Committed) {
				c, ok := e.Command.(failover.StepMoved)
				if !ok || h.struck || c.Token.Step != at || c.To != failover.StatusRunning || w.log.Last().Ops[c.Token.Op].Kind != failover.KindFailback {
					return
				}
				h.struck = true
				w.loop.In(400*time.Millisecond, "operator: cancel", func() {
					w.propose(failover.CancelOp{Op: c.Token.Op, Reason: failover.Reason{Code: "WWW-1409", Args: map[string]string{"reason": "simulation"}}})
				})
			}
			h.plan(w)
		},
		Until: Warm + 12*time.Minute,
		Check: func(w *World) error {
			for _, g := range h.moved {
				p := w.log.Last().Guests[g]
				here, ok := w.guestAt(h.left[g])
				there, also := w.guestAt(h.away[g])
				if !h.struck || p.Owner == lost || p.Op != "" || !ok || !here.Running || !also || !there.Running {
					return fmt.Errorf("%s is %s's, in %q; its copy at home there %t, running %t; the one that serves there %t, running %t",
						g, p.Owner, p.Op, ok, here.Running, also, there.Running)
				}
			}
			return nil
		},
	}
}

// WayHomeCrashAt is a failback in which the agent that works on the first guest dies at the
// n-th boundary of that work; n < 0: never. seen collects them.
func WayHomeCrashAt(keep failover.Keep, n int, seen *Boundaries) Scenario {
	return crashesAt(WayHome(keep, ""), fmt.Sprintf("way home, keep %s", keep), 4*time.Minute+30*time.Second, n, seen)
}

// WayHomeSteps are the steps of a failback that an agent carries out.
func WayHomeSteps(keep failover.Keep) []failover.StepID {
	seal := []failover.StepID{failover.StepSeal, failover.StepSealVerify, failover.StepSealCopy}
	if keep != failover.KeepAway {
		return append(append([]failover.StepID{failover.StepShutdown}, seal...),
			failover.StepUnpark, failover.StepStill, failover.StepStart, failover.StepCheck, failover.StepSettle)
	}
	return append(append([]failover.StepID{failover.StepLeave}, seal...), failover.StepPark, failover.StepReady, failover.StepShutdown,
		failover.StepBackup, failover.StepPull, failover.StepProtect, failover.StepVerify, failover.StepRestore, failover.StepStill,
		failover.StepStart, failover.StepCheck, failover.StepSettle, failover.StepRelease)
}

// homeward is a run of WayHome.
type homeward struct {
	w      *World
	keep   failover.Keep
	at     failover.StepID
	struck bool
	moved  []failover.GuestID
	left   map[failover.GuestID]failover.Place // the copies at home, when it began
	away   map[failover.GuestID]failover.Place
}

// plan cuts the site off, lets it come back, and has the person choose.
func (h *homeward) plan(w *World) {
	h.w = w
	w.at(0, func() { w.setUplink(lost, false) })
	w.at(3*time.Minute, func() { w.setUplink(lost, true) })
	w.at(4*time.Minute+30*time.Second, h.begin)
}

// begin is a person who has chosen.
func (h *homeward) begin() {
	s := h.w.log.Last()
	plan := failover.PlanFor(s, failover.Loss{Site: lost, Planned: true, ByHand: true, Keep: h.keep}, h.w.loop.Now())
	h.left, h.away = map[failover.GuestID]failover.Place{}, map[failover.GuestID]failover.Place{}
	for _, a := range plan.Assignments {
		h.moved = append(h.moved, a.Guest)
		h.left[a.Guest], _ = s.HomeBranch(a.Guest)
		h.away[a.Guest] = s.Guests[a.Guest].Now()
	}
	h.w.tell("operator: failback of %d guests, keep %s; left out %v", len(h.moved), h.keep, plan.LeftOut)
	if len(h.moved) > 0 {
		h.w.propose(failover.BeginOp{Kind: failover.KindFailback, Plan: plan, Forced: true})
	}
}

func (h *homeward) watch(e Committed) {
	c, ok := e.Command.(failover.StepMoved)
	if !ok || h.struck || h.at == "" || c.Token.Step != h.at || c.To != failover.StatusRunning {
		return
	}
	op := h.w.log.Last().Ops[c.Token.Op]
	if op.Kind != failover.KindFailback || op.Plan.Loss.Keep != h.keep {
		return
	}
	h.struck = true
	run := op.Guests[c.Token.Guest]
	at := run.Assignment.Target
	switch {
	case c.Token.Step == failover.StepShutdown || c.Token.Step == failover.StepBackup || c.Token.Step == failover.StepStill:
		at = run.Source.Site
	case c.Token.Step == failover.StepSealCopy:
		at = run.Assignment.Vault
	case (c.Token.Step == failover.StepSeal || c.Token.Step == failover.StepSealVerify) && h.keep != failover.KeepAway:
		at = run.Source.Site
	}
	h.w.loop.In(400*time.Millisecond, "trouble", func() { h.w.crashAgent(h.w.sites[at], 10*time.Second) })
}

// check: all that could come home is there, from the copy that was kept; the other one is
// off and sealed at two sites. That no line is nowhere, the ledger says.
func (h *homeward) check() error {
	s := h.w.log.Last()
	if len(h.moved) == 0 {
		return fmt.Errorf("nothing came home")
	}
	if h.at != "" && !h.struck {
		return fmt.Errorf("step %s was never claimed", h.at)
	}
	for _, g := range h.moved {
		p := s.Guests[g]
		loser, kept := h.left[g], h.away[g]
		if h.keep == failover.KeepHome {
			loser, kept = kept, loser
		}
		copied, ok := h.w.guestAt(p.Now())
		other, there := h.w.guestAt(loser)
		seal := s.SealOf(g, loser)
		switch {
		case p.Owner != lost || p.Serving != lost || p.Phase != failover.PhaseHome || p.Op != "":
			return fmt.Errorf("%s is %s, owned by %s and served at %q, in %q", g, p.Phase, p.Owner, p.Serving, p.Op)
		case !ok || !copied.Running || copied.Config["onboot"] != "1":
			return fmt.Errorf("%s at home: there %t, running %t, onboot %q", g, ok, copied.Running, copied.Config["onboot"])
		case s.Network.Guests[g].ID != p.VMID:
			return fmt.Errorf("%s is declared %d and runs as %d", g, s.Network.Guests[g].ID, p.VMID)
		case !there || other.Running:
			return fmt.Errorf("invariant S7 violated: the copy of %s that does not go on: there %t, running %t", g, there, other.Running)
		case seal == nil || len(seal.Sites()) < 2:
			return fmt.Errorf("invariant S7 violated: the copy of %s that does not go on is sealed as %+v", g, seal)
		case h.keep == failover.KeepHome && (p.Host != kept.Host || p.VMID != kept.VMID):
			return fmt.Errorf("%s is %+v, want its copy at home %+v", g, p.Now(), kept)
		}
		for _, at := range seal.Copies {
			if !h.protected(at, loser.VMID) {
				return fmt.Errorf("invariant S7 violated: no protected backup of %s (%d) at %s", g, loser.VMID, at.Site)
			}
		}
		if h.keep == failover.KeepAway {
			old, _ := h.w.guestAt(kept)
			if line := lastLine(old); !strings.Contains(strings.Join(copied.Data(), "\n"), line) {
				return fmt.Errorf("invariant S7 violated: %s came home without its last line %q", g, line)
			}
		}
	}
	return nil
}

// guestAt is the copy of a guest at a place.
func (w *World) guestAt(at failover.Place) (lab.GuestView, bool) {
	pve := w.sites[at.Site].raoull
	if at.Host == structureHost(at.Site) {
		pve = w.sites[at.Site].structure
	}
	return pve.Guest(at.VMID)
}

// copyOf is the copy that a run gives its guest to.
func (w *World) copyOf(run failover.GuestRun) (lab.GuestView, bool) {
	return w.guestAt(targetOf(run))
}

func (h *homeward) protected(at failover.SealCopy, id int) bool {
	for _, snap := range h.w.sites[at.Site].pbs.Snapshots(failover.SealedNamespace(lost)) {
		if snap.ID == fmt.Sprint(id) && snap.Protected && time.Unix(snap.Time, 0).Equal(at.Point.Time) {
			return true
		}
	}
	return false
}
