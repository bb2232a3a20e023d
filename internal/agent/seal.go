package agent

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/network"
	"github.com/raoull/worldwidewelsh/internal/proxmox"
)

// Where the sealing of a branch stands, once its last backup is at the site.
const (
	sealFetch   = "fetch"
	sealVerify  = "verify"
	sealEntry   = "entry"
	sealKey     = "key"
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
			m.sealing = sealEntry
			return j.now, nil
		}
		return next, done
	case sealEntry:
		return j.sealEntry(ctx)
	case sealKey:
		return j.sealKey(ctx)
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

// sealEntry reads with which key this site would read the sealed backup. A PBS verifies what
// it cannot decrypt: a branch that was backed up with a key that nobody else has is verified
// at two sites, and lost. Where a failback has just written it, that key is the one in use.
func (j *job) sealEntry(ctx context.Context) (time.Time, *outcome) {
	m := &j.w.mem
	if j.step.ID != failover.StepSealCopy && j.op.Kind != failover.KindRemoval {
		m.sealing = sealProtect
		return j.now, nil
	}
	j.call("read key of entry for sealed backups")
	list, err := j.w.e.PVE.Storages(ctx)
	if err != nil {
		return j.trouble(err)
	}
	name := j.sealedEntry()
	i := slices.IndexFunc(list, func(e proxmox.StorageEntry) bool { return e.ID == name })
	if i < 0 {
		return j.now, &outcome{failure: failover.FailTarget, note: fmt.Sprintf("storage entry %q is not seen at %s: nobody can say whether the sealed backup can be read there", name, j.w.e.Site)}
	}
	m.key, m.sealing = list[i].Key, sealKey
	return j.now, nil
}

// sealKey makes sure that this site's key opens the sealed backup.
func (j *job) sealKey(ctx context.Context) (time.Time, *outcome) {
	want := j.sealed()
	snap, here, err := j.sealedHere(ctx, "read key of sealed backup")
	switch {
	case err != nil:
		return j.trouble(err)
	case !here:
		return j.now, &outcome{failure: failover.FailPoint, note: fmt.Sprintf("the sealed backup %s is not here", want)}
	}
	if ok, why := proxmox.Usable(snap, j.w.mem.key); !ok {
		return j.now, &outcome{failure: failover.FailPoint, note: clip(fmt.Sprintf(
			"the sealed backup %s cannot be read at %s (%s): it has key %s, storage entry %s has %s; wwwctl doctor compares the entries",
			want, j.w.e.Site, why, keyName(snap.Fingerprint), j.sealedEntry(), keyName(j.w.mem.key)))}
	}
	j.w.mem.sealing = sealProtect
	return j.now, nil
}

// sealedHere looks for the sealed backup at this site's PBS. why is told as the call's name.
func (j *job) sealedHere(ctx context.Context, why string) (snap proxmox.Snapshot, here bool, err error) {
	want := j.sealed()
	j.call(why)
	snaps, err := j.w.e.PBS.Snapshots(ctx, want.NS, want.Kind, want.ID)
	i := slices.IndexFunc(snaps, func(s proxmox.Snapshot) bool { return s.Time.Equal(want.Time) })
	if err != nil || i < 0 {
		return proxmox.Snapshot{}, false, err
	}
	return snaps[i], true, nil
}

// keyName is the beginning of a key's fingerprint, enough to tell two apart.
func keyName(fingerprint string) string {
	switch {
	case fingerprint == "":
		return "none"
	case len(fingerprint) > 23:
		return fingerprint[:23]
	}
	return fingerprint
}

// sealedEntry is this site's storage entry for sealed branches of the guest's home.
func (j *job) sealedEntry() string {
	_, host, _ := j.s.Network.Target(j.w.e.Site)
	return host.Lineages[j.s.Network.Home(j.run.Assignment.Guest)].Sealed
}

// sealed names the last backup of the branch at this site's PBS.
func (j *job) sealed() proxmox.Snapshot {
	return proxmox.Snapshot{
		NS: failover.SealedNamespace(j.s.Network.Home(j.run.Assignment.Guest)), Kind: j.kind(), ID: j.loser().VMID, Time: j.run.Sealed[0].Point.Time,
	}
}
