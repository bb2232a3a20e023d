package failover

import (
	"fmt"
	"slices"
)

// A lineage is what one copy of a guest wrote while it was the one that counts, and the
// line of backups of it. A failover begins a new one, from a restore point of the one
// before. Backups of two lineages never share a PBS group (S8): a pull skips what is
// older than the newest of its group, and pruning counts both as one history. So they
// are apart by namespace, and within it by backup id, which is the guest's id there and
// is not handed out again while a copy or a snapshot of it is left.

// LineageID names a lineage: "GUEST@EPOCH", and "GUEST@HOST/ID" for that of a copy at
// home whose ownership has never moved: a guest that is declared anew goes on with it.
type LineageID string

// Lineage is where one line of a guest's backups lies.
type Lineage struct {
	Guest GuestID `json:"guest"`
	Home  SiteID  `json:"home"` // of the guest, when it began
	Epoch Epoch   `json:"epoch,omitzero"`
	Site  SiteID  `json:"site"` // where the copy runs or ran
	Host  HostID  `json:"host"`
	VMID  int     `json:"vmid"`
	// Namespace and Group are where its backups lie on the PBS of the site. At home the
	// namespace is that in which the other sites keep their replicas. "": no entry is
	// declared, nothing backs this copy up.
	Namespace string `json:"ns,omitempty"`
	Group     string `json:"group"` // "vm/90001"
	Storage   string `json:"storage,omitempty"`
	// Of and Base: it began as the copy of that restore point of that lineage.
	Of   LineageID    `json:"of,omitempty"`
	Base RestorePoint `json:"base,omitzero"`
	From Stamp        `json:"from,omitzero"` // zero: it began before the log knew of it
	To   Stamp        `json:"to,omitzero"`   // the entry that made another copy the one that counts
	// Backups that the agent of its site makes while it lives away.
	Backups Backups `json:"backups,omitzero"`
	// Moved: the copy that counts since then began with all that this one had.
	Moved bool `json:"moved,omitempty"`
	// Resumes is the lineage of the same copy that this one goes on with: a failback kept it.
	Resumes LineageID `json:"resumes,omitempty"`
	Sealed  *Seal     `json:"sealed,omitempty"` // replaced, never edited in place
	Forked  Stamp     `json:"forked,omitzero"`  // since then the copy is a guest of its own
	// Unstarted: the copy never ran while it counted, as its host has proven: it holds nothing of its own.
	Unstarted bool `json:"unstarted,omitempty"`
}

// Kept says of which ids of a host's range backups are kept in the two namespaces of one
// home's later lineages.
type Kept struct {
	IDs  []int `json:"ids,omitempty"`  // ascending
	Read bool  `json:"read,omitempty"` // both namespaces were read; else the ids are those of an earlier reading
}

// AwayNamespace is where backups of guests lie that live away from this home.
func AwayNamespace(home SiteID) string { return "away/" + string(home) }

// SealedNamespace is where the branches of this home's guests lie that nobody may lose.
func SealedNamespace(home SiteID) string { return "sealed/" + string(home) }

// LineageOf names the lineage of the copy of a guest that counts.
func LineageOf(g GuestID, p Placement) LineageID {
	if p.Epoch == (Epoch{}) {
		return LineageID(fmt.Sprintf("%s@%s/%d", g, p.Host, p.VMID))
	}
	return LineageID(fmt.Sprintf("%s@%s", g, p.Epoch))
}

// beginLineage begins the lineage of a copy that has just become the one that counts, and ends
// the one before it. p is the placement before that.
func (s *State) beginLineage(op Operation, run GuestRun, p Placement, st Stamp) {
	a := run.Assignment
	kind, home := s.Network.Guests[a.Guest].Type, s.Network.Home(a.Guest)
	group := func(id int) string { return fmt.Sprintf("%s/%d", kind, id) }
	old := LineageOf(a.Guest, p)
	was, known := s.Lineages[old]
	if !known { // it lived at home, as it was declared
		was = Lineage{Guest: a.Guest, Home: home, Epoch: p.Epoch, Site: p.Owner, Host: p.Host, VMID: p.VMID, Group: group(p.VMID), Namespace: a.Point.Namespace}
	}
	was.To, was.Moved = st, op.Kind.planned() && !a.Keep.Stays()
	was.Unstarted = run.Source.Unstarted
	s.Lineages[old] = was
	now := Lineage{
		Guest: a.Guest, Home: home, Epoch: run.Epoch, Site: a.Target, Host: a.Host, VMID: run.VMID, Group: group(run.VMID),
		Of: s.madeFrom(a, old), Base: a.Point, From: st,
	}
	if op.Kind == KindFailback && a.Keep != KeepBack {
		s.homeLineage(&now)
	} else if e := s.Network.Sites[a.Target].Hosts[a.Host].Lineages[home]; e.Away != "" {
		now.Namespace, now.Storage = AwayNamespace(home), e.Away
	}
	if id, ok := s.resumed(a, Place{Site: now.Site, Host: now.Host, VMID: now.VMID}); ok {
		now.Of, now.Base, now.Resumes = id, RestorePoint{}, id
	}
	s.Lineages[LineageOf(a.Guest, Placement{Epoch: run.Epoch})] = now
}

// madeFrom is the lineage that an assignment's restore point belongs to: that of the copy
// that counted until now, or, by a person's word, an older one.
func (s *State) madeFrom(a Assignment, now LineageID) LineageID {
	for _, l := range s.LineagesOf(a.Guest) {
		if l.Has(a.Point) {
			return l.ID()
		}
	}
	return now
}

// takeLineages adds the ids that no new copy may have: of copies that once counted, and
// of those of which a backup is kept.
func (s *State) takeLineages(u usedIDs) {
	for _, l := range s.Lineages {
		u.take(l.Site, l.VMID)
	}
	for site, r := range s.Readiness {
		for _, kept := range r.Ready.Kept {
			for _, id := range kept.IDs {
				u.take(site, id)
			}
		}
	}
}

// forgetLineages drops the lineages that have ended and of which a target has found
// nothing: neither the copy nor a backup of it.
func (s *State) forgetLineages(r Readiness) {
	for _, id := range sortedKeys(s.Lineages) {
		l := s.Lineages[id]
		_, host, ok := s.Network.Target(l.Site)
		switch kept := r.Kept[l.Home]; {
		case l.Sealed != nil: // the log says where its backups lie as long as they are kept
		case l.Site != r.Site || l.Host != r.Host || l.To.Index == 0 || r.AsOf <= l.To.Index:
		case !ok || !host.Restore.IDs.Contains(l.VMID): // it is not looked for
		case slices.Contains(r.UsedIDs, l.VMID) || slices.Contains(kept.IDs, l.VMID):
		case l.Namespace != "" && !kept.Read:
		default:
			delete(s.Lineages, id)
		}
	}
}

// LineagesOf returns the lineages of a guest, oldest first.
func (s *State) LineagesOf(g GuestID) []Lineage {
	var out []Lineage
	for _, l := range s.Lineages {
		if l.Guest == g {
			out = append(out, l)
		}
	}
	slices.SortFunc(out, func(a, b Lineage) int {
		switch {
		case a.Epoch.Less(b.Epoch):
			return -1
		case b.Epoch.Less(a.Epoch):
			return 1
		}
		return 0
	})
	return out
}

// NeverCounted says that the copy which a token's run is about to delete never was the
// one of its guest that counts, nor any other guest's; else what its users wrote may be
// nowhere else (S7).
func (s *State) NeverCounted(t Token) error {
	run := s.Ops[t.Op].Guests[t.Guest]
	at, host, id := run.Assignment.Target, run.Assignment.Host, run.VMID
	if run.Owned() {
		return reject(CodeWrongPhase, "guest", string(t.Guest), "phase", "owned")
	}
	for _, g := range sortedKeys(s.Guests) {
		if p := s.Guests[g]; p.Owner == at && p.Host == host && p.VMID == id {
			return reject(CodeWrongPhase, "guest", string(g), "phase", string(p.Phase))
		}
	}
	for _, l := range sortedKeys(s.Lineages) {
		if was := s.Lineages[l]; was.Site == at && was.Host == host && was.VMID == id && !run.neverHeld(was) {
			return reject(CodeWrongPhase, "guest", string(was.Guest), "phase", "lineage "+string(l))
		}
	}
	return nil
}
