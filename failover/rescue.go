package failover

import (
	"slices"

	"github.com/raoull/worldwidewelsh/internal/network"
)

// A rescue restores the guests of a structure's dead host on Raoull's PVE of the same
// site, from the site's own backups: same VLAN, same address, no name changes.

// mayReceive says whether a site's target host comes into question for a loss.
func (l Loss) mayReceive(site SiteID, host HostID) bool {
	if l.Local {
		return site == l.Site && host != l.Host
	}
	return site != l.Site
}

// Kind is that of the operation that answers to a loss.
func (l Loss) Kind() OpKind {
	if l.Keep != "" {
		return KindFailback
	}
	if l.Planned {
		return KindSwitchover
	}
	if l.Local {
		return KindRescue
	}
	return KindFailover
}

// lossOf is what automation would answer to: a lost site; a structure's dead host beside
// which its guests can be rescued; Raoull's dead host, whose guests go elsewhere.
func (d *decider) lossOf(v Verdict) Loss {
	kind, name := splitDomain(v.Domain)
	if kind != "host" {
		return Loss{Site: v.Site}
	}
	return d.s.LossOfHost(HostID(name))
}

// LossOfHost is what automation would answer to, were a declared host lost: the guests of a
// structure's are rescued beside it, Raoull's go to another site.
func (s *State) LossOfHost(host HostID) Loss {
	site := s.Network.SiteOf(host)
	return Loss{Site: site, Host: host, Local: s.Network.Sites[site].Hosts[host].Owner == network.OwnerStructure}
}

// gone says whether a verdict is one that an operation may answer to.
func (v Verdict) gone() bool {
	kind, _ := splitDomain(v.Domain)
	return v.Cause == CauseLost || v.Cause == CauseHostDown && kind == "host"
}

// domains lists the sites, then the hosts, in order.
func (d *decider) domains() []DomainID {
	var sites, hosts []DomainID
	for _, id := range sortedKeys(d.verdicts) {
		if kind, _ := splitDomain(id); kind == "site" {
			sites = append(sites, id)
		} else {
			hosts = append(hosts, id)
		}
	}
	return append(sites, hosts...)
}

// RescuedAt returns the host of a structure at a site of which a rescue would restore
// the guests, or why there is no rescue: without a PVE of Raoull's beside it, only its
// repair or a failover to another site helps. host "" stands for the only one.
func (s *State) RescuedAt(site SiteID, host HostID) (HostID, error) {
	target, _, ok := s.Network.Target(site)
	if !ok {
		return "", reject(CodeNoRescue, "site", string(site))
	}
	var found []HostID
	for _, h := range s.Network.Sites[site].HostIDs() {
		if s.Network.Sites[site].Hosts[h].PVE != nil && h != target && (host == "" || h == host) {
			found = append(found, h)
		}
	}
	switch {
	case len(found) == 0:
		return "", reject(CodeNothing, "what", "host to rescue", "domain", string(SiteDomain(site)))
	case len(found) > 1:
		return "", reject(CodeInvalid, "what", "more than one host at "+string(site)+": name it with --host")
	}
	return found[0], nil
}

// checkKind refuses a plan that is not what its operation is called.
func (c BeginOp) checkKind(s *State) error {
	l := c.Plan.Loss
	switch {
	case l.Planned != c.Kind.planned(), c.Kind.planned() && c.Domain != "", (l.Keep != "") != (c.Kind == KindFailback):
		return reject(CodeInvalid, "what", "a "+string(c.Kind)+" with the plan of another kind")
	case l.Local != (c.Kind == KindRescue):
		return reject(CodeInvalid, "what", "a "+string(c.Kind)+" with the plan of another kind")
	case c.Kind != KindRescue:
		return nil
	}
	host, err := s.RescuedAt(l.Site, l.Host)
	if err == nil && (host != l.Host || c.Domain != HostDomain(host)) {
		err = reject(CodeInvalid, "what", "a rescue of "+string(c.Domain)+" that is planned for host "+string(l.Host))
	}
	return err
}

// proveAnew forgets that the dead host was proven to be off, or was being put off: the operation was given up
// since then, and whoever has put the host on again would have two copies.
func (r *GuestRun) proveAnew() {
	r.Steps = slices.Clone(r.Steps)
	for i, step := range r.Steps {
		if step.ID == StepFence {
			r.Steps[i] = pendingSteps(StepFence)[0]
		}
	}
}

// leads says whether an assignment leads where its kind of operation may lead.
func (s *State) leads(kind OpKind, a Assignment) bool {
	p := s.Guests[a.Guest]
	if kind == KindRescue {
		return a.Target == p.Owner && a.Host != p.Host
	}
	return a.Target != p.Owner && a.Target != s.Network.Home(a.Guest)
}

// AtHome says whether the copy of a guest that counts is the one on its own host.
func (s *State) AtHome(g GuestID) bool {
	p := s.Guests[g]
	return p.Owner == s.Network.Home(g) && p.Host == s.Network.Guests[g].Host
}

// homeDomain is what must be back for an away guest to have two copies: its home site,
// and for one that was rescued there its own host.
func (s *State) homeDomain(g GuestID) DomainID {
	home := s.Network.Home(g)
	if s.Guests[g].Owner == home {
		return HostDomain(s.Network.Guests[g].Host)
	}
	return SiteDomain(home)
}

// checkRescue: S3 where both copies would have one address. Nothing is owned, and so
// nothing started, before the old host was proven to be off; and it stays at its site.
func checkRescue(s *State, op Operation, run GuestRun) error {
	fence, has := run.Step(StepFence)
	_, back := run.Step(StepCleanup) // what is taken back has no fence; it may be stuck over it
	rescue := op.Kind == KindRescue && !back && run.State != RunCancelled
	switch {
	case rescue && !has || has && op.Kind != KindRescue:
		return violated("S3", "%s of %s: a fence and a rescue belong together", run.Assignment.Guest, op.ID)
	case rescue && run.Owned() && fence.Status != StatusDone:
		return violated("S3", "%s is owned while its old host %s may run", run.Assignment.Guest, op.Plan.Loss.Host)
	case !op.Forced && op.Plan.Loss.Host != "" && run.State == RunActive && !run.Owned() && s.Guests[run.Assignment.Guest].Host != op.Plan.Loss.Host && s.NetworkVersion < op.Begun.Index:
		return violated("S4", "%s moves for the loss of host %s and runs on %s", run.Assignment.Guest, op.Plan.Loss.Host, s.Guests[run.Assignment.Guest].Host)
	case has && fence.Attempt > 0 && run.Admitted == 0:
		return violated("S4", "%s: host %s was fenced without having been admitted", run.Assignment.Guest, op.Plan.Loss.Host)
	case rescue && s.NetworkVersion < op.Begun.Index && run.Assignment.Target != op.Plan.Loss.Site:
		return violated("S10", "the rescue of %s leads to %s", run.Assignment.Guest, run.Assignment.Target)
	}
	return nil
}
