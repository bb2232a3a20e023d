package apitest

import (
	"cmp"
	"fmt"
	"maps"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/network"
)

// Away is New with nuage, whose home is a structure's host, failed over to quai, and all declared that brings it home.
func Away() (*Backend, error) {
	b, err := leaving()
	if err != nil {
		return nil, err
	}
	return b, b.Finish("nuage")
}

// Stuck is a network in which nuage is stuck at quai: its copy there was never started.
func Stuck() (*Backend, error) {
	b, err := leaving()
	if err != nil {
		return nil, err
	}
	op, err := b.upTo("nuage", failover.StepStart)
	if err != nil {
		return nil, err
	}
	why := failover.Reason{Code: failover.CodeStepFailed, Args: map[string]string{"guest": "nuage", "step": "start", "note": "start failed"}}
	return b, b.Apply(failover.Stick{Op: op, Guest: "nuage", Reason: why}, failover.EndOp{Op: op})
}

// leaving is a network in which the failover of nuage to quai has just begun.
func leaving() (*Backend, error) {
	b, err := New()
	if err != nil {
		return nil, err
	}
	lineages := map[network.SiteID]network.LineageStorages{"moulin": {Away: "pbs-away-moulin", Sealed: "pbs-sealed-moulin"}}
	spec := *b.State().Network
	spec.Sites = maps.Clone(spec.Sites)
	for id, site := range spec.Sites {
		site.Hosts = maps.Clone(site.Hosts)
		for h, host := range site.Hosts {
			if host.PVE == nil {
				continue
			}
			host.Lineages = lineages
			site.Hosts[h] = host
		}
		spec.Sites[id] = site
	}
	spec.Sites["moulin"].Hosts["asso-moulin"] = network.Host{
		Owner: network.OwnerStructure, PVE: &network.PVE{URL: "https://10.10.1.30:8006", Node: "asso-moulin"}, Lineages: lineages,
		Restore: &network.Restore{Storage: "local-zfs", Bridge: "vmbr0", IDs: network.IDRange{First: 5000, Last: 5009}, Parallel: 1},
	}
	spec.Guests = maps.Clone(spec.Guests)
	nuage := spec.Guests["nuage"]
	nuage.Host = "asso-moulin"
	spec.Guests["nuage"] = nuage
	if err := b.Apply(failover.ApplyNetwork{Spec: &spec, IfVersion: b.State().NetworkVersion}); err != nil {
		return nil, err
	}
	plan := failover.PlanFor(b.State(), failover.Loss{Site: "moulin", Guests: []failover.GuestID{"nuage"}, Target: "quai", ByHand: true}, b.Now())
	if err := b.Apply(failover.BeginOp{Kind: failover.KindFailover, Domain: "site:moulin", Plan: plan, Forced: true}); err != nil {
		return nil, err
	}
	return b, nil
}

// BackHome is Away with nuage brought home, keeping one of its copies.
func BackHome(keep failover.Keep) (*Backend, error) {
	b, err := Away()
	if err != nil {
		return nil, err
	}
	loss := failover.Loss{Site: "moulin", Guests: []failover.GuestID{"nuage"}, Planned: true, ByHand: true, Keep: keep}
	if err := b.Apply(failover.BeginOp{Kind: failover.KindFailback, Plan: failover.PlanFor(b.State(), loss, b.Now()), Forced: true}); err != nil {
		return nil, err
	}
	return b, b.Finish("nuage")
}

// Finish carries out the newest operation of a guest, as agents and leader would.
func (b *Backend) Finish(g failover.GuestID) error {
	op, err := b.upTo(g, "")
	if err != nil {
		return err
	}
	return b.Apply(failover.EndOp{Op: op})
}

// upTo carries a guest's newest operation out until a step is the next ("": all are done).
func (b *Backend) upTo(g failover.GuestID, next failover.StepID) (failover.OpID, error) {
	var op failover.Operation
	for _, o := range b.State().Ops {
		if _, has := o.Guests[g]; has && o.Begun.Index >= op.Begun.Index {
			op = o
		}
	}
	for range 100 {
		op = b.State().Ops[op.ID]
		run := op.Guests[g]
		step, _, left := run.Current()
		if step.ID == next || !left {
			return op.ID, nil
		}
		if err := b.Apply(words(op, run, step)...); err != nil {
			return op.ID, err
		}
	}
	return op.ID, fmt.Errorf("%s does not end", op.ID)
}

// words are what is said of a step that is carried out.
func words(op failover.Operation, run failover.GuestRun, step failover.Step) []failover.Command {
	token := op.TokenOf(run.Assignment.Guest)
	switch step.ID {
	case failover.StepOwn:
		return []failover.Command{failover.Own{Token: token}}
	case failover.StepServe:
		return []failover.Command{failover.Serve{Token: token}}
	}
	at := Start().Add(time.Duration(op.Begun.Index) * time.Second)
	running := failover.StepMoved{Token: token, Attempt: step.Attempt + 1, To: failover.StatusRunning}
	found, done := running, running
	found.Found, done.To = &failover.Found{OnBoot: true, Running: true}, failover.StatusDone
	switch step.ID {
	case failover.StepShutdown, failover.StepLeave:
		return []failover.Command{running, found, done}
	case failover.StepSeal:
		done.Point = failover.RestorePoint{Volid: "pbs-sealed-moulin:backup/x", Time: at, Size: 1 << 30}
	case failover.StepSealCopy:
		done.Point = run.Sealed[0].Point
	case failover.StepBackup:
		done.Point = failover.RestorePoint{Volid: "pbs-away-moulin:backup/x", Time: at, Size: 1 << 30}
	case failover.StepPull:
		done.Point = run.Assignment.Point
		done.Point.Time, done.Point.Volid = run.Source.Final, cmp.Or(done.Point.Volid, "pbs-away-moulin:backup/x")
	}
	return []failover.Command{running, done}
}
