package lab

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Keep is what a prune leaves of each group: so many of the newest, and the newest of so many hours, days,
// weeks, months and years. All zero keeps everything.
type Keep struct{ Last, Hourly, Daily, Weekly, Monthly, Yearly int }

// keepRule is one number of a Keep with the period of a snapshot that it counts.
type keepRule struct {
	option string
	n      int
	period func(time.Time) string
}

func (k Keep) rules() []keepRule {
	layout := func(l string) func(time.Time) string { return func(t time.Time) string { return t.Format(l) } }
	week := func(t time.Time) string { y, w := t.ISOWeek(); return fmt.Sprint(y, "/", w) }
	return []keepRule{
		{"keep-last", k.Last, layout(time.RFC3339)},
		{"keep-hourly", k.Hourly, layout("2006/01/02/15")},
		{"keep-daily", k.Daily, layout(time.DateOnly)},
		{"keep-weekly", k.Weekly, week},
		{"keep-monthly", k.Monthly, layout("2006/01")},
		{"keep-yearly", k.Yearly, layout("2006")},
	}
}

// options are its numbers as the API spells them.
func (k Keep) options() map[string]int {
	out := map[string]int{}
	for _, r := range k.rules() {
		if r.n > 0 {
			out[r.option] = r.n
		}
	}
	return out
}

// selected names what is kept of a group, given newest first, by the rules of pbs-datastore prune.rs: the
// rules apply in their order, and each counts only periods of which nothing is kept yet.
func (k Keep) selected(group []Snapshot) map[string]bool {
	kept := map[string]bool{}
	name := func(s Snapshot) string { return s.Group() + "/" + s.Name() }
	for _, r := range k.rules() {
		period := func(s Snapshot) string { return r.period(time.Unix(s.Time, 0).UTC()) }
		before, chosen := map[string]bool{}, map[string]bool{}
		for _, s := range group {
			if kept[name(s)] {
				before[period(s)] = true
			}
		}
		for _, s := range group {
			if p := period(s); !kept[name(s)] && !before[p] && !chosen[p] && len(chosen) < r.n {
				chosen[p], kept[name(s)] = true, true
			}
		}
	}
	return kept
}

// keepOf reads what a prune keeps.
func keepOf(c *call) (Keep, error) {
	k := Keep{}
	for option, n := range map[string]*int{
		"keep-last": &k.Last, "keep-hourly": &k.Hourly, "keep-daily": &k.Daily,
		"keep-weekly": &k.Weekly, "keep-monthly": &k.Monthly, "keep-yearly": &k.Yearly,
	} {
		if *n = c.num(option, 0); *n < 1 && c.has(option) {
			return Keep{}, fmt.Errorf("parameter verification failed - '%s': value must have a minimum value of 1", option)
		}
	}
	return k, nil
}

// spacesOf lists the namespaces that a prune job takes.
func (b *PBS) spacesOf(j MaintenanceJob) []string {
	if !j.Below {
		return []string{j.NS}
	}
	var out []string
	for _, s := range b.st.Snapshots {
		if inside := j.NS == "" || s.NS == j.NS || strings.HasPrefix(s.NS, j.NS+"/"); inside && !slices.Contains(out, s.NS) {
			out = append(out, s.NS)
		}
	}
	return out
}

// pruned is what a prune does to one snapshot.
type pruned struct {
	Snapshot
	keep bool
}

// plan says what a prune keeps of a namespace, newest first: the newest finished ones of each group, an
// unfinished one that is the group's newest (it may be under way), the protected ones. Without a number it
// keeps everything.
func (b *PBS) plan(ns string, keep Keep, wants func(Snapshot) bool) (out []pruned) {
	newer, finished := map[string]bool{}, map[string][]Snapshot{}
	for _, s := range slices.Backward(b.listed(ns)) {
		if !wants(s) {
			continue
		}
		stays := s.Protected || keep == Keep{} || (s.Unfinished && !newer[s.Group()])
		newer[s.Group()] = true
		if !stays && !s.Unfinished {
			finished[s.Group()] = append(finished[s.Group()], s)
		}
		out = append(out, pruned{s, stays})
	}
	for _, group := range finished {
		kept := keep.selected(group)
		for i := range out {
			out[i].keep = out[i].keep || kept[out[i].Group()+"/"+out[i].Name()]
		}
	}
	return out
}

// prune carries a plan out; what a restore reads stays.
func (b *PBS) prune(plan []pruned, log func(string, ...any)) {
	for _, p := range plan {
		verb := "keep"
		if !p.keep {
			verb = "remove"
			if err := b.remove(p.NS, p.Name()); err != nil {
				verb = "keep (" + err.Error() + ")"
			}
		}
		log("%s %s", verb, p.Name())
	}
}

func (b *PBS) pruneGroup(c *call) (any, error) {
	keep, err := keepOf(c)
	if err != nil {
		return nil, err
	}
	group := c.str("backup-type") + "/" + c.str("backup-id")
	plan := b.plan(c.str("ns"), keep, func(s Snapshot) bool { return s.Group() == group })
	rows := []map[string]any{}
	for _, p := range plan {
		if !b.may(c.token, p.Snapshot, "Datastore.Modify", "Datastore.Prune") {
			return nil, errPermission()
		}
		rows = append(rows, map[string]any{"backup-type": p.Type, "backup-id": p.ID, "backup-time": p.Time, "keep": p.keep})
	}
	if !c.yes("dry-run") {
		b.prune(plan, func(string, ...any) {})
	}
	return rows, nil
}

func (b *PBS) pruneStore(c *call) (any, error) {
	keep, err := keepOf(c)
	if err == nil {
		err = b.need(c, b.storePath(c.str("ns")), "Datastore.Modify", "Datastore.Prune")
	}
	if err != nil {
		return nil, err
	}
	ns, dry, token := c.str("ns"), c.yes("dry-run"), c.token
	return b.beginFor("prune", b.cfg.Datastore, token, verifyTime, func(t *task) error {
		plan := b.plan(ns, keep, func(s Snapshot) bool { return b.may(token, s, "Datastore.Modify", "Datastore.Prune") })
		if !dry {
			b.prune(plan, t.logf)
		}
		return nil
	}).UPID, nil
}
