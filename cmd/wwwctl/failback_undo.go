package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/api"
)

// undoable says whether the failback of a guest can be undone, by its lines of backups, and until when: one that has left
// another branch elsewhere as long as that stands there (zero), any other for a day.
func undoable(g api.Guest) (until time.Time, can bool) {
	var now, last failover.Lineage
	for _, l := range g.Lineages {
		switch {
		case l.To.Index == 0 && l.From.Index > now.From.Index:
			now = l
		case l.To.Index > last.To.Index:
			last = l
		}
	}
	switch {
	case now.From.Index == 0 || now.Site != g.Guest.Home || last.Unstarted || last.To.Index == 0 || last.Site == g.Guest.Home:
		return time.Time{}, false // no other site served it before
	case !last.Moved:
		return time.Time{}, true
	}
	return now.From.At.Add(failover.CommitWindow), true
}

// undoTable is what an undo has serve again, one guest per row.
func (a *app) undoTable(plan api.Plan) table {
	t := table{cols: cols("GUEST", "SERVES AT", "SINCE", "AGAIN AT", "THERE", "SEALED")}
	for _, b := range plan.Branches {
		again, there := "", "gone"
		if b.Left != nil {
			again, there = fmt.Sprintf("%s:%d", b.Left.Site, b.Left.VMID), "off"
			if b.Running {
				there = "RUNS"
			}
		}
		sealed := "no"
		if b.Sealed != nil {
			sealed = strings.Join(names(b.Sealed.Sites()), ",")
		}
		t.add(c(string(b.Guest)), c(fmt.Sprintf("%s:%d", b.Serves.Site, b.Serves.VMID)), c(a.show.date(b.Since)), c(again), c(there), c(sealed))
	}
	return t
}

// undoLines say in plain words which data serves after an undo.
func (a *app) undoLines(p *page, plan api.Plan, req api.FailoverRequest) {
	say := func(format string, v ...any) { p.prose("  ", "    ", fmt.Sprintf(format, v...)) }
	if plan.Loss.Keep == failover.KeepBack {
		say("the copies that serve at %s now are shut down and sealed; those that were left serve again, with what was written there, and without what was "+
			"written at %s since", plan.Loss.Site, plan.Loss.Site)
		p.typed("  to go on with what is sealed now: ", "wwwctl failback run "+subject(req)+" --keep home")
		return
	}
	for _, as := range plan.Assignments {
		say("%s goes back to %s with all that was written since; what is sealed stays sealed", as.Guest, as.Target)
	}
}

// undoQuestion is what is asked before an undo.
func undoQuestion(plan api.Plan) string {
	n, home := len(plan.Assignments), plan.Loss.Site
	switch {
	case plan.Loss.Keep == failover.KeepBack && n == 1:
		return fmt.Sprintf("Shut down and seal %s at %s, and have its copy at %s serve again?", plan.Assignments[0].Guest, home, plan.Assignments[0].Target)
	case plan.Loss.Keep == failover.KeepBack:
		return fmt.Sprintf("Shut down and seal %s at %s, and have their other copies serve again as above?", plural(n, "guest"), home)
	case n == 1:
		return fmt.Sprintf("Shut %s down and move it back to %s, with what was written since?", plan.Assignments[0].Guest, plan.Assignments[0].Target)
	}
	return fmt.Sprintf("Shut %s down and move them as above?", plural(n, "guest"))
}
