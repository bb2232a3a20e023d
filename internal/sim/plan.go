package sim

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
)

// Planned is one thing that goes wrong in a run, or that a person does, drawn
// before it happens. The shrinker leaves such items out; what the others draw
// does not change by that.
type Planned struct {
	Number int
	At     time.Duration // since the beginning of the run
	Name   string
}

func (p Planned) String() string {
	return fmt.Sprintf("#%d at %.1f s: %s", p.Number, p.At.Seconds(), p.Name)
}

// fault schedules an item of the run's plan.
func (w *World) fault(in time.Duration, name string, do func()) {
	p := Planned{Number: len(w.plan), At: w.loop.Since() + in, Name: name}
	w.plan = append(w.plan, p)
	if !w.opts.Without[p.Number] {
		w.cover.count(coverTrouble, "%s", w.troubleKind(name))
		w.then(in, "nemesis: "+name, do)
	}
}

// troubleKind is a planned item's name without the site and the numbers.
func (w *World) troubleKind(name string) string {
	words := strings.Fields(name)
	for i, word := range words {
		switch {
		case slices.Contains(w.ids, failover.SiteID(strings.Trim(word, `",`))):
			words[i] = "SITE"
		case strings.ContainsAny(word, "0123456789") || word == `""`:
			words[i] = "N"
		}
	}
	return strings.Join(words, " ")
}

// then schedules something that does not happen any more once all faults have ended.
func (w *World) then(in time.Duration, name string, do func()) {
	heals := w.heals
	w.loop.In(in, name, func() {
		if w.heals == heals {
			do()
		}
	})
}

// incident is one time of trouble: from now until the window ends.
type incident struct {
	w      *World
	r      *rand.Rand
	window time.Duration
	homes  []failover.SiteID // that guests have; nil: any brique
}

// span draws a duration of a range that holds for the longest window: in a
// shorter one all is shorter.
func (i *incident) span(low, high time.Duration) time.Duration {
	part := func(d time.Duration) time.Duration {
		return time.Duration(float64(d) * float64(i.window) / float64(mixedWindow))
	}
	return between(i.r, part(low), part(high))
}

// when draws a time within the incident, early enough for something to follow.
func (i *incident) when() time.Duration { return between(i.r, 0, i.window*9/10) }

// home draws a site that guests have as their home.
func (i *incident) home() failover.SiteID {
	if i.homes != nil {
		return i.homes[i.r.IntN(len(i.homes))]
	}
	return i.brique()
}

// pick draws a site; brique one that guests live at.
func (i *incident) pick() failover.SiteID   { return i.w.ids[i.r.IntN(len(i.w.ids))] }
func (i *incident) brique() failover.SiteID { return i.w.ids[i.r.IntN(3)] }

// some calls do for a drawn number of times, most often for none.
func (i *incident) some(p float64, most int, do func()) {
	if !chance(i.r, p) {
		return
	}
	for range 1 + i.r.IntN(most) {
		do()
	}
}
