package doctor

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
)

// seals checks that the sealed branches of a home's guests that the log knows at this site lie there
// whole and protected: they are kept for a month and longer, and a disk may go bad meanwhile.
func (h here) seals(r *result, home failover.SiteID) {
	ns := failover.SealedNamespace(home)
	kept, read := h.Facts.Kept[ns]
	if !read {
		return
	}
	for _, id := range sorted(h.State.Lineages) {
		l := h.State.Lineages[id]
		if l.Sealed == nil || l.Home != home || l.Sealed.At.At.After(h.Facts.Began) || h.beingGivenUp(l.Guest) {
			continue
		}
		for _, c := range l.Sealed.Copies {
			if c.Site != h.Local.Site {
				continue
			}
			r.checked++
			if why, mend := h.unsafe(kept, l, c.Point.Time, ns); why != "" {
				r.add(found(Backups, CodeSealUnsafe, h.Local.Site, "guest "+string(l.Guest), "snapshot", sealName(l, c.Point.Time), "ns", ns, "of",
					fmt.Sprintf("copy %d on %s", l.VMID, l.Host), "why", why, "others", others(*l.Sealed, c.Site), "mend", mend))
			}
		}
	}
}

// unsafe says what is wrong with a sealed snapshot here, and what to type about it; "": nothing.
func (h here) unsafe(kept []Kept, l failover.Lineage, at time.Time, ns string) (why, mend string) {
	i := slices.IndexFunc(kept, func(k Kept) bool { return k.Group == l.Group && k.Time.Equal(at) })
	name := sealName(l, at)
	protect := fmt.Sprintf("proxmox-backup-client snapshot protected update %s true --ns %s --repository localhost:%s", name, ns, h.Facts.Store.Datastore)
	pull := "wwwctl gen lineages " + string(h.Local.Site) // tells of the job that is missing
	again := pull
	if j := slices.IndexFunc(h.Facts.Jobs, func(j SyncJob) bool { return j.Pull && j.NS == ns }); j >= 0 {
		pull = "proxmox-backup-manager sync-job run " + h.Facts.Jobs[j].ID
		// It fetches what failed its verification once more (PBS 3.4). Nobody is told to delete what may be the last copy.
		again = "proxmox-backup-manager sync-job update " + h.Facts.Jobs[j].ID + " --resync-corrupt true; " + pull
	}
	switch {
	case i < 0:
		return "is not there any more", pull + "; " + protect
	case kept[i].Reason == ReasonVerifyFailed || kept[i].Reason == ReasonMissingData:
		return "cannot be read (" + string(kept[i].Reason) + ")", again + "; " + protect
	case !kept[i].Protected:
		return "is not protected: a prune may take it", protect
	}
	return "", ""
}

// beingGivenUp says whether an operation takes a sealed branch of a guest back: its protection goes first.
func (h here) beingGivenUp(g failover.GuestID) bool {
	for _, op := range h.State.Ops {
		if _, has := op.Guests[g]; has && op.Kind == failover.KindRemoval && !op.Phase.Ended() {
			return true
		}
	}
	return false
}

// sealName is a sealed snapshot as the backup server's client spells it.
func sealName(l failover.Lineage, at time.Time) string {
	return l.Group + "/" + at.UTC().Format(time.RFC3339)
}

// others are the other sites where a seal lies.
func others(seal failover.Seal, but failover.SiteID) string {
	var out []string
	for _, site := range seal.Sites() {
		if site != but {
			out = append(out, string(site))
		}
	}
	return strings.Join(out, " and ")
}
