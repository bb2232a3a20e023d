package doctor

import (
	"slices"
	"strings"

	"github.com/raoull/worldwidewelsh/failover"
)

// unscheduled tells of a job that never runs by itself, unless another one that does brings
// the same: the agent runs some jobs out of turn for the way home, and a second one of the
// same namespace may be there for that alone. A sync job cannot be disabled otherwise than
// by taking its schedule away (PBS 4.2, /config/sync has no such parameter; prune jobs do).
func (in Input) unscheduled(r *result, j SyncJob) bool {
	if j.Scheduled {
		return false
	}
	spaces := in.brings(j)
	if !slices.ContainsFunc(spaces, func(ns string) bool { return !in.broughtInTime(j, ns) }) {
		return false
	}
	to := string(in.Local.Site)
	if !j.Pull {
		to = j.Remote
	}
	r.add(found(Backups, CodeSyncUnscheduled, in.Local.Site, "sync job "+j.ID,
		"job", j.ID, "from", from(j), "what", in.contents(spaces), "to", to))
	return true
}

// from is the remote of a pull; what is pushed comes from here.
func from(j SyncJob) string {
	if j.Pull {
		return j.Remote
	}
	return ""
}

// broughtInTime says whether a job that runs by itself takes a namespace the same way.
func (in Input) broughtInTime(j SyncJob, ns string) bool {
	return slices.ContainsFunc(in.Facts.Jobs, func(o SyncJob) bool {
		covered, _ := takes(o.NS, o.MaxDepth, ns)
		return o.Scheduled && o.Pull == j.Pull && o.Remote == j.Remote && o.RemoteStore == j.RemoteStore && covered
	})
}

// brings are the namespaces here that a job fills, or reads if it pushes: of those that are
// known, or its own.
func (in Input) brings(j SyncJob) (out []string) {
	spaces := in.laterSpaces()
	for _, id := range sorted(in.Facts.Entries) {
		if e := in.Facts.Entries[id]; e.Type == "pbs" && !e.Foreign {
			spaces = append(spaces, e.Namespace)
		}
	}
	for _, ns := range spaces {
		if covered, _ := takes(j.NS, j.MaxDepth, ns); covered && !slices.Contains(out, ns) {
			out = append(out, ns)
		}
	}
	if len(out) == 0 {
		return []string{j.NS}
	}
	slices.Sort(out)
	return out
}

// contents says in words what namespaces hold.
func (in Input) contents(spaces []string) string {
	var kinds []string
	homes := map[string][]string{}
	add := func(kind, home string) {
		if homes[kind] == nil {
			kinds = append(kinds, kind)
		}
		homes[kind] = append(homes[kind], home)
	}
	for _, ns := range spaces {
		home, known := in.sourceOf(ns)
		parent, of, _ := strings.Cut(ns, "/")
		switch {
		case known:
			add("backups that the home makes, of ", string(home))
		case later(ns) && parent == "away":
			add("backups of guests that live away, of ", of)
		case later(ns):
			add("sealed branches of guests of ", of)
		default:
			add("backups in ", space(ns))
		}
	}
	for i, kind := range kinds {
		kinds[i] = kind + strings.Join(homes[kind], ", ")
	}
	return strings.Join(kinds, "; ")
}

// sourceOf is the home whose own backups a namespace holds, as this site's storage entries tell.
func (in Input) sourceOf(ns string) (failover.SiteID, bool) {
	if in.State.Network == nil {
		return "", false
	}
	_, host, _ := in.State.Network.Target(in.Local.Site)
	for _, home := range sorted(host.Sources) {
		for _, name := range host.Sources[home] {
			if e, ok := in.Facts.Entries[name]; ok && e.Type == "pbs" && !e.Foreign && e.Namespace == ns {
				return home, true
			}
		}
	}
	return "", false
}
