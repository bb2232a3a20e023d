package main

import (
	"context"
	"fmt"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/api"
	"github.com/raoull/worldwidewelsh/internal/lab/site"
)

// Bounds of the warm scenario.
const (
	warmLimit  = 2 * time.Minute  // for the copies to be restored ahead
	warmServes = 15 * time.Second // after the commit delay, for a warm guest to serve
)

// warmGuests are the guests of the lab that are kept warm.
func (d *demo) warmGuests() []failover.GuestID {
	var out []failover.GuestID
	for _, g := range d.room.lab.Guests {
		if g.Warm {
			out = append(out, failover.GuestID(g.Name))
		}
	}
	return out
}

// waits says whether a guest starts only after another serves: the bound is for the first.
func (d *demo) waits(g failover.GuestID) bool {
	m, _ := d.room.lab.Guest(string(g))
	return len(m.After) > 0
}

// awaitWarm waits until every warm guest has a copy that stands ready.
func awaitWarm(ctx context.Context, d *demo) error {
	d.say("waiting until the warm guests have their copies: verified first, then restored, one after another")
	ctx, cancel := context.WithTimeout(ctx, warmLimit)
	defer cancel()
	told := map[failover.GuestID]bool{}
	for {
		list, err := askEach(ctx, d.room, "", func(ctx context.Context, c *api.Client) (api.GuestList, error) { return c.Guests(ctx) })
		for _, g := range list.Items {
			for _, c := range g.Warm {
				if c.State == failover.WarmReady && !told[g.Guest] {
					told[g.Guest] = true
					d.say("%s stands ready at %s as %d, of a backup %.0f s old", g.Guest, c.Site, c.VMID, time.Since(c.Time).Seconds())
				}
			}
		}
		if want := d.warmGuests(); err == nil && len(told) == len(want) {
			_, _, err := d.byHand(ctx, failover.SiteID(d.room.living()[0]), "guests", string(want[0]))
			return err
		}
		if err := site.Sleep(ctx, followEvery); err != nil {
			return fmt.Errorf("%d of %d warm copies stand ready: %w", len(told), len(d.warmGuests()), err)
		}
	}
}

// servedWarm: the warm guests were started from their copies, nothing of them was restored,
// and they serve within the bound.
func servedWarm(_ context.Context, d *demo, f facts, r *report) {
	used, restored := map[failover.GuestID]bool{}, map[failover.GuestID]bool{}
	for _, e := range f.events {
		used[e.Guest] = used[e.Guest] || e.Reason.Code == failover.CodeWarmUsed
		restored[e.Guest] = restored[e.Guest] || e.Reason.Code == failover.CodeRestoring
	}
	delay := d.room.lab.Spec().Policy.Commit.D()
	for _, g := range d.warmGuests() {
		if !used[g] || restored[g] {
			r.fail("%s: warm copy used %t, restored %t", g, used[g], restored[g])
		}
	}
	for _, g := range r.Guests {
		id := failover.GuestID(g.Name)
		switch {
		case g.Serving == nil: // told already
		case !used[id]:
			d.say("%s had no warm copy, was restored, and served %.1f s after the commit delay", id, *g.Serving-delay.Seconds())
		case *g.Serving > (delay+warmServes).Seconds() && !d.waits(id):
			r.fail("%s served %.1f s after the plug was pulled, allowed are %s of commit delay and %s", id, *g.Serving, delay, warmServes)
		default:
			d.say("%s was warm and served %.1f s after the commit delay of %s (at most %s)", id, *g.Serving-delay.Seconds(), delay, warmServes)
		}
	}
}
