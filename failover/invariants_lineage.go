package failover

// checkLineages: S8, backups of two lineages never share a PBS group; a lineage says for
// ever where it began, and the copy that counts has one.
func checkLineages(prev, next *State) error {
	type place struct {
		site      SiteID
		host      HostID
		ns, group string
	}
	first := func(id LineageID) LineageID { // of a copy that went on
		for next.Lineages[id].Resumes != "" && next.Lineages[id].Resumes != id {
			id = next.Lineages[id].Resumes
		}
		return id
	}
	at := map[place]LineageID{}
	for _, id := range sortedKeys(next.Lineages) {
		l := next.Lineages[id]
		where := place{l.Site, l.Host, l.Namespace, l.Group}
		if other, taken := at[where]; taken && first(other) != first(id) {
			return violated("S8", "%s and %s are both %s of %s at %s", id, other, l.Group, l.Namespace, l.Site)
		}
		at[where] = id
		was, known := prev.Lineages[id]
		if known && (was.VMID != l.VMID || was.Site != l.Site || was.Namespace != l.Namespace || was.Base.Volid != l.Base.Volid || was.Epoch != (Epoch{}) && was.To.Index != 0 && was.To != l.To) {
			return violated("S8", "%s was %+v and is %+v", id, was, l)
		}
	}
	for _, g := range sortedKeys(next.Guests) {
		p := next.Guests[g]
		if p.Epoch == prev.Guests[g].Epoch || p.Epoch.Index != next.Index {
			continue
		}
		if l, ok := next.Lineages[LineageOf(g, p)]; !ok || l.VMID != p.VMID || l.Site != p.Owner || l.To.Index != 0 {
			return violated("S8", "%s is at %s as %d in epoch %s, which has the lineage %+v", g, p.Owner, p.VMID, p.Epoch, l)
		}
	}
	return nil
}
