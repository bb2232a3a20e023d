package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/api"
)

// keptUntil is how long the sealed branches of a guest are kept at least; zero: nobody has acknowledged one.
func keptUntil(g api.Guest) time.Time {
	var until time.Time
	for _, l := range g.Lineages {
		if l.Sealed != nil && l.Sealed.Acked.Index != 0 {
			if at := l.Sealed.Acked.At.Add(failover.KeepSealed); at.After(until) {
				until = at
			}
		}
	}
	return until
}

// nextAfter says what comes after a failback that has ended: how long it can be taken back, and what becomes of the
// branch that did not go on. It is no error if that cannot be known.
func (a *app) nextAfter(ctx context.Context, op failover.OpView) {
	var undo time.Time
	var back, sealed []string
	for _, run := range op.Guests {
		g, err := request(ctx, a, func(ctx context.Context) (api.Guest, error) { return a.client.Guest(ctx, run.Guest) })
		if err != nil || run.Served.IsZero() || !run.Back.IsZero() {
			continue
		}
		if until := undoUntil(g); !until.IsZero() {
			back = append(back, string(run.Guest))
			if undo.IsZero() || until.Before(undo) {
				undo = until
			}
		}
		if slices.ContainsFunc(g.Lineages, func(l failover.Lineage) bool { return l.Sealed != nil && l.Sealed.Acked.Index == 0 }) {
			sealed = append(sealed, string(run.Guest))
		}
	}
	one := func(names []string) string {
		if len(names) == 1 {
			return names[0]
		}
		return "GUEST"
	}
	if len(back) > 0 {
		a.say("the wrong choice? until %s: wwwctl failback undo %s", a.show.date(undo), one(back))
	}
	if len(sealed) > 0 {
		a.say("is a file missed? wwwctl failback diff %s", one(sealed))
		a.say("nothing is missed? wwwctl failback ack %s", one(sealed))
	}
}

// undoUntil is until when the failback of a guest can be undone, by the line of backups that began with it; zero: it
// cannot, since no other site served the guest before.
func undoUntil(g api.Guest) time.Time {
	var now, last failover.Lineage
	for _, l := range g.Lineages {
		switch {
		case l.To.Index == 0 && l.From.Index > now.From.Index:
			now = l
		case l.To.Index > last.To.Index:
			last = l
		}
	}
	if now.From.Index == 0 || last.Unstarted || last.To.Index == 0 || last.Site == g.Guest.Home {
		return time.Time{}
	}
	return now.From.At.Add(failover.CommitWindow)
}

// undone is what a person must know of an undo before it: which data goes back.
type undone struct {
	guest    failover.GuestID
	home, to failover.SiteID
	known    bool   // which of the copies the failback had kept
	kept     string // the sealed copy at the site where it served, HOST/ID; "": the copy there has nothing of its own
}

// undoing finds out which of the copies of each guest a failback had kept.
func (a *app) undoing(ctx context.Context, plan api.Plan) []undone {
	var out []undone
	for _, as := range plan.Assignments {
		out = append(out, a.undoingOne(ctx, plan, as.Guest))
	}
	return out
}

// undoingOne does so for one guest: where the failback kept the copy at home, the one away is sealed.
func (a *app) undoingOne(ctx context.Context, plan api.Plan, guest failover.GuestID) undone {
	u := undone{guest: guest, home: plan.Loss.Site, to: plan.Loss.Target}
	g, err := request(ctx, a, func(ctx context.Context) (api.Guest, error) { return a.client.Guest(ctx, u.guest) })
	if err != nil {
		return u
	}
	for _, c := range g.Left {
		if c.Site == u.to { // the last one that it has left there
			u.known = c.Moved || c.Sealed != nil
			if u.known && !c.Moved {
				u.kept = copyName(c)
			}
			break
		}
	}
	return u
}

// lines say it in plain words.
func (u undone) lines(p *page) {
	branch := fmt.Sprintf("the branch of %s, which was sealed there, does NOT serve then", u.kept)
	fork := u.kept
	switch {
	case u.known && u.kept == "":
		p.prose("  ", "    ", fmt.Sprintf("%s goes back to %s with all that was written since; the copy that was sealed at %s stays sealed", u.guest, u.to, u.home))
		return
	case !u.known:
		branch = "if the failback had kept the copy at home, the branch that was sealed at " + string(u.to) + " does NOT serve then"
		fork = "HOST/ID"
	}
	p.prose("  ", "    ", fmt.Sprintf("%s moves to %s with the data of the copy that serves at %s now; %s", u.guest, u.to, u.home, branch))
	p.typed("  files of that branch: ", fmt.Sprintf("wwwctl failback diff %s", u.guest))
	p.typed("  that branch as a guest of its own: ", fmt.Sprintf("wwwctl failback fork %s --copy %s", u.guest, fork))
}

// undoQuestion is what is asked before an undo.
func undoQuestion(back []undone) string {
	if len(back) != 1 {
		return fmt.Sprintf("Shut %s down and move them as above?", plural(len(back), "guest"))
	}
	switch u := back[0]; {
	case !u.known:
		return fmt.Sprintf("Shut %s down and move the copy that serves at %s now to %s?", u.guest, u.home, u.to)
	case u.kept == "":
		return fmt.Sprintf("Shut %s down and move it back to %s, with what was written since?", u.guest, u.to)
	default:
		return fmt.Sprintf("Shut %s down and move the data of %s to %s? The sealed branch of %s does not serve then.", u.guest, u.home, u.to, u.kept)
	}
}
