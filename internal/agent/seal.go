package agent

import (
	"context"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/network"
	"github.com/raoull/worldwidewelsh/internal/proxmox"
)

// Where the sealing of a branch stands, once its last backup is at the site.
const (
	sealFetch   = "fetch"
	sealVerify  = "verify"
	sealProtect = "protect"
)

// loser is the copy that a failback does not keep.
func (j *job) loser() failover.Source { return j.run.Leaves(failover.StepSeal) }

// lineageEntry is the storage entry of a host to which a failback's step backs a guest up:
// that of sealed branches, or that of the guests of its home that live elsewhere.
func (j *job) lineageEntry() string {
	var l network.LineageStorages
	if host, ok := j.s.Network.Sites[j.w.e.Site].Hosts[j.from().Host]; ok {
		l = host.Lineages[j.s.Network.Home(j.run.Assignment.Guest)]
	}
	switch {
	case j.step.ID == failover.StepSeal:
		return l.Sealed
	case l.Away != "":
		return l.Away
	}
	return l.Sealed
}

// seal makes the last backup of a branch one that stays: the PBS of this site has read it
// whole, and no prune takes it away. At the second site it is fetched first.
func (j *job) seal(ctx context.Context) (time.Time, *outcome) {
	m := &j.w.mem
	if j.w.e.PBS == nil || len(j.run.Sealed) == 0 {
		return j.now, &outcome{failure: failover.FailFatal, note: "no PBS is configured for this site"}
	}
	if m.sealing == "" {
		m.sealing = sealVerify
		if j.step.ID == failover.StepSealCopy {
			m.sealing = sealFetch
		}
	}
	switch m.sealing {
	case sealVerify:
		next, done := j.verify(ctx, j.sealed())
		if done != nil && done.failure == "" {
			m.sealing = sealProtect
			return j.now, nil
		}
		return next, done
	case sealProtect:
		j.call("protect sealed backup")
		if err := j.w.e.PBS.Protect(ctx, j.sealed()); err != nil {
			return j.trouble(err)
		}
		return j.now, &outcome{}
	}
	next, done := j.pull(ctx)
	if done != nil && done.failure == "" {
		m.sealing, m.phase = sealVerify, ""
		return j.now, nil
	}
	return next, done
}

// sealed names the last backup of the branch at this site's PBS.
func (j *job) sealed() proxmox.Snapshot {
	return proxmox.Snapshot{
		NS: failover.SealedNamespace(j.s.Network.Home(j.run.Assignment.Guest)), Kind: j.kind(), ID: j.loser().VMID, Time: j.run.Sealed[0].Point.Time,
	}
}
