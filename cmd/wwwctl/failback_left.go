package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/api"
)

// clearing is what a person wants cleared away of what a guest has left.
type clearing struct {
	verb   string // remove: the copies; give-up: the sealed branches whose copies are gone; fork: a copy
	only   string // "HOST/ID"; "": all
	follow bool
}

// clearLeft shows what a guest has left, and removes what may be, one after the other.
func (a *app) clearLeft(ctx context.Context, g failover.GuestID, want clearing) error {
	guest, err := request(ctx, a, func(ctx context.Context) (api.Guest, error) { return a.client.Guest(ctx, g) })
	if err != nil {
		return err
	}
	left := want.of(guest.Left)
	if len(left) == 0 {
		return fail(exitRefused, failover.CodeNothing, "what", "copy that it has left", "guest", string(g))
	}
	screen := view{kind: api.KindGuest, data: guest, table: a.leftTable(left), text: func() string { return a.leftScreen(guest, left, want) }}
	if a.structured() != "" {
		if !a.g.yes && a.g.confirm == "" || a.g.dryRun {
			return a.print(screen)
		}
	} else if err := a.print(screen); err != nil || a.g.dryRun {
		return err
	}
	n := 0
	for _, c := range left {
		if why := want.why(c); !why.IsZero() {
			continue
		}
		n++
		if err := a.clearOne(ctx, g, c, want); err != nil {
			return err
		}
	}
	if n == 0 {
		why := want.why(left[0])
		pairs := []string{}
		for k, v := range why.Args {
			pairs = append(pairs, k, v)
		}
		return fail(exitRefused, why.Code, pairs...)
	}
	return nil
}

// of chooses the copies that a person means: those that stand there, or whose branch is kept.
func (w clearing) of(all []failover.CopyStands) []failover.CopyStands {
	var out []failover.CopyStands
	for _, c := range all {
		if there := !c.Gone && w.verb != "give-up" || c.Sealed != nil && w.verb == "give-up"; there && (w.only == "" || w.only == copyName(c)) {
			out = append(out, c)
		}
	}
	return out
}

// why says why a copy or its branch stays; zero: it may go.
func (w clearing) why(c failover.CopyStands) failover.Reason {
	switch w.verb {
	case "give-up":
		return c.GiveUp
	case "fork":
		return c.Fork
	}
	return c.Remove
}

// copyName is what a person calls a copy.
func copyName(c failover.CopyStands) string { return fmt.Sprintf("%s/%d", c.Host, c.VMID) }

// clearOne asks for the copy's name, since nothing brings it back, and has it done.
func (a *app) clearOne(ctx context.Context, g failover.GuestID, c failover.CopyStands, want clearing) error {
	if a.structured() == "" {
		fmt.Fprintf(a.con.Err, "%s\n", want.question(g, c))
	}
	if err := a.askName(ctx, copyName(c)); err != nil {
		return err
	}
	done, err := request(ctx, a, func(ctx context.Context) (api.Accepted, error) {
		switch want.verb {
		case "give-up":
			return a.client.GiveUpSeal(ctx, g, api.GiveUpRequest{Lineage: c.Lineage})
		case "fork":
			return a.client.ForkCopy(ctx, g, api.RemoveRequest{Host: c.Host, VMID: c.VMID})
		}
		return a.client.RemoveCopy(ctx, g, api.RemoveRequest{Host: c.Host, VMID: c.VMID})
	})
	if err != nil {
		return err
	}
	if a.structured() != "" {
		return a.print(accepted(done))
	}
	a.printf("%s accepted (log entry %d)\n", done.Op, done.Index)
	if !want.follow {
		return nil
	}
	if err := a.follow(ctx, done.Op); err != nil || want.verb != "fork" {
		return err
	}
	a.say("next: start %s at its host's console, give it another address inside, plug its cables in, then declare it", copyName(c))
	a.say("under a new name in network.yaml (host: %s, id: %d) and type wwwctl config apply FILE", c.Host, c.VMID)
	return nil
}

func (w clearing) question(g failover.GuestID, c failover.CopyStands) string {
	switch {
	case w.verb == "fork":
		return fmt.Sprintf("%s stops being a copy of %s: it gets new network cards, their cables out, and is its people's from then on.", copyName(c), g)
	case w.verb == "give-up":
		return fmt.Sprintf("The sealed branch of %s, which %s has left, will be protected no more: prune jobs delete its backups.", copyName(c), g)
	case c.Sealed == nil && !c.Moved:
		return fmt.Sprintf("%s may hold what no other copy of %s has: it will be sealed now, and not removed.", copyName(c), g)
	}
	return fmt.Sprintf("%s and its disks will be deleted for good; what it held stays sealed at two sites.", copyName(c))
}

func (a *app) leftTable(left []failover.CopyStands) table {
	t := table{cols: cols("COPY", "AT", "STATE", "SEALED", "KEPT UNTIL", "WHAT MAY BE DONE")}
	for _, l := range left {
		state, sealed, until := "off", "no", "-"
		switch {
		case l.Gone:
			state = "gone"
		case l.Running:
			state = "RUNS"
		}
		if l.Moved {
			state += ", nothing of its own"
		}
		if l.Sealed != nil {
			sealed, until = strings.Join(names(l.Sealed.Sites()), ","), "not acknowledged"
			if !l.Until.IsZero() {
				until = a.show.date(l.Until)
			}
		}
		t.add(c(copyName(l)), c(string(l.Site)), c(state), c(sealed), c(until), c(a.mayBeDone(l)))
	}
	return t
}

// mayBeDone says what is next for a copy that was left.
func (a *app) mayBeDone(c failover.CopyStands) string {
	switch {
	case c.Gone && c.GiveUp.IsZero():
		return "its branch may be given up"
	case c.Gone && c.Sealed == nil:
		return "nothing is left of it"
	case c.Gone:
		return a.sentence(c.GiveUp)
	case c.Remove.IsZero() && c.Sealed == nil && !c.Moved:
		return "may be sealed"
	case c.Remove.IsZero():
		return "may be removed"
	}
	return a.sentence(c.Remove)
}

// leftScreen is the copies, and what a structure's people type on their host for those that
// are theirs to remove.
func (a *app) leftScreen(guest api.Guest, left []failover.CopyStands, want clearing) string {
	p := &page{s: a.show}
	p.prose("", "  ", string(guest.Guest.Guest)+" has left")
	t := a.leftTable(left)
	t.indent = "  "
	p.raw(t.fitting(a.show, a.g.noHeaders)...)
	for _, c := range left {
		if want.verb == "remove" && c.Theirs && !c.Gone {
			theirCopy(p, guest.Guest, c)
		}
	}
	return p.b.String()
}

// theirCopy says what the people of a structure do about a copy on their host. How it is deleted is told only where
// that is all that is left to do: what the program itself refuses, nobody is to type either.
func theirCopy(p *page, g failover.GuestView, c failover.CopyStands) {
	say := func(format string, v ...any) {
		p.blank()
		p.prose("", "  ", fmt.Sprintf(format, v...))
	}
	switch {
	case c.Sealed == nil && !c.Moved:
		say("%s is not sealed: what was written there is nowhere else. Leave it.", copyName(c))
		return
	case c.Remove.Code != failover.CodeTheirCopy: // the table says why it stays
		return
	case c.Running:
		say("%s runs, and may have users. Leave it.", copyName(c))
		return
	case c.Sealed != nil && c.Until.IsZero():
		p.blank()
		p.typed(copyName(c)+" is its structure's to remove, once nothing of it is missed: ", "wwwctl failback ack "+string(g.Guest))
		return
	}
	tool := "qm"
	if g.Type == "ct" {
		tool = "pct"
	}
	say("%s is its structure's to remove. When they want the room, its people look at it on %s, as root:", copyName(c), c.Host)
	p.raw(fmt.Sprintf("  %s config %d", tool, c.VMID), fmt.Sprintf("  %s status %d", tool, c.VMID))
	marks := "it must be the old %s, and off"
	if c.Sealed != nil && !c.Moved && c.Site == g.Home { // only the copy at home that did not go on is parked
		marks = "it must be the old %s, off, and its description says www-park"
	}
	p.prose("", "  ", fmt.Sprintf(marks+". Then they type:", g.Guest))
	p.raw(fmt.Sprintf("  %s set %d --protection 0", tool, c.VMID), fmt.Sprintf("  %s destroy %d", tool, c.VMID))
}
