package main

import (
	"context"
	"fmt"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/api"
	"github.com/raoull/worldwidewelsh/internal/lab/site"
	"github.com/raoull/worldwidewelsh/internal/network"
)

// The story of a site that took the guests of a lost one and is lost after it: what people
// wrote to them there was backed up there, and those backups lie at other sites by then.

// saveLimit is how long backups of guests that live away may take to reach another site.
const saveLimit = 90 * time.Second

// saveAway has guests that live away backed up often, so that nobody has to wait for an hour.
func saveAway(l *site.Lab) error {
	l.Timing.Away = network.Duration(10 * time.Second)
	return nil
}

// lostAgain loses the site, too, that took most of the guests, once what was written there is
// safe elsewhere.
func lostAgain(ctx context.Context, d *demo, f facts, r *report) {
	if !r.OK {
		return
	}
	if err := d.playLostAgain(ctx, f, r); err != nil {
		r.fail("%v", err)
	}
}

func (d *demo) playLostAgain(ctx context.Context, f facts, r *report) error {
	next := facts{site: tookMost(f), moving: map[failover.GuestID]failover.SiteID{}, kept: map[failover.GuestID]failover.SiteID{}}
	next.domain = failover.SiteDomain(next.site)
	next.before, next.after = map[failover.GuestID][]string{}, map[failover.GuestID][]string{}
	var away []failover.GuestID
	for _, g := range f.op.Guests {
		if g.Target != next.site {
			next.kept[g.Guest] = g.Target
			continue
		}
		away = append(away, g.Guest)
		next.moving[g.Guest] = next.site
		if err := d.byName(ctx, g.Guest, "away", 3); err != nil {
			return err
		}
	}
	written := time.Now()
	d.say("members wrote %d lines to guests of %s at %s: they wait until backups of that lie at another site", len(d.ledger), f.site, next.site)
	if err := d.awaitSaved(ctx, next.site, away, written); err != nil {
		return err
	}
	for _, g := range d.room.lab.GuestsOf(string(next.site)) {
		if g.Priority < 4 {
			next.moving[failover.GuestID(g.Name)] = next.site
		}
	}
	if _, _, err := d.byHand(ctx, failover.SiteID(d.room.living()[0]), "plan", string(next.site)); err != nil {
		return err
	}
	since, err := d.lastIndex(ctx)
	if err != nil {
		return err
	}
	for g := range next.moving {
		if next.before[g], err = d.readGuest(ctx, d.firstLiving(), g); err != nil {
			return err
		}
	}
	if err := d.killSite(&next); err != nil {
		return err
	}
	if err := d.follow(ctx, &next, since); err != nil {
		return err
	}
	d.showStatus(ctx)
	d.verify(ctx, &next)
	again := summarize(next)
	again.print(d.out)
	if !again.OK {
		r.fail("the second loss: %v", again.failures)
		return nil
	}
	if err := d.holds(ctx, away, "internet", ""); err != nil {
		return err
	}
	d.say("all %d lines that were written at %s are in the copies that serve now", len(d.ledger), next.site)
	return nil
}

// tookMost is the site at which most guests of an operation run.
func tookMost(f facts) failover.SiteID {
	count := map[failover.SiteID]int{}
	var most failover.SiteID
	for _, g := range f.op.Guests {
		if count[g.Target]++; most == "" || count[g.Target] > count[most] {
			most = g.Target
		}
	}
	return most
}

// awaitSaved waits until other sites could restore guests that live away from what was
// written there.
func (d *demo) awaitSaved(ctx context.Context, at failover.SiteID, guests []failover.GuestID, written time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, saveLimit)
	defer cancel()
	missing := map[failover.GuestID]bool{}
	for {
		plan, err := askEach(ctx, d.room, "", func(ctx context.Context, c *api.Client) (api.Plan, error) {
			return c.PlanAsLoss(ctx, api.FailoverRequest{Site: at})
		})
		if err == nil {
			clear(missing)
			for _, g := range guests {
				missing[g] = true
			}
			for _, a := range plan.Assignments {
				if a.Point.Time.After(written) {
					delete(missing, a.Guest)
				}
			}
			if len(missing) == 0 {
				return nil
			}
		}
		if err := site.Sleep(ctx, followEvery); err != nil {
			return fmt.Errorf("no backup of %v from %s since %s lies at another site: %w", sortedGuests(missing), at, written.Format(time.TimeOnly), err)
		}
	}
}
