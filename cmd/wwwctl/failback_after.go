package main

import (
	"context"
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
	var until time.Time
	var back, sealed, away []string
	for _, run := range op.Guests {
		g, err := request(ctx, a, func(ctx context.Context) (api.Guest, error) { return a.client.Guest(ctx, run.Guest) })
		if err != nil || run.Served.IsZero() || !run.Back.IsZero() {
			continue
		}
		if last, can := undoable(g); can {
			back = append(back, string(run.Guest))
			if !last.IsZero() && (until.IsZero() || last.Before(until)) {
				until = last
			}
		}
		if slices.ContainsFunc(g.Lineages, func(l failover.Lineage) bool { return l.Sealed != nil && l.Sealed.Acked.Index == 0 }) {
			sealed = append(sealed, string(run.Guest))
		}
		if g.Guest.At != g.Guest.Home { // an undo: what is sealed is acknowledged at home only
			away = append(away, string(run.Guest))
		}
	}
	one := func(names []string) string {
		if len(names) == 1 {
			return names[0]
		}
		return "GUEST"
	}
	switch {
	case len(back) > 0 && until.IsZero():
		a.say("the wrong choice? wwwctl failback undo %s", one(back))
	case len(back) > 0:
		a.say("the wrong choice? until %s: wwwctl failback undo %s", a.show.date(until), one(back))
	}
	if len(sealed) > 0 {
		a.say("is a file missed? wwwctl failback diff %s", one(sealed))
	}
	switch {
	case len(away) > 0:
		a.say("the other one after all? wwwctl failback run %s --keep home", one(away))
	case len(sealed) > 0:
		a.say("nothing is missed? wwwctl failback ack %s", one(sealed))
	}
}
