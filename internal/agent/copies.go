package agent

import (
	"context"
	"errors"
	"log/slog"
	"reflect"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/proxmox"
)

// Copies looks at the copies, on this site's machines, of guests that have
// moved, and tells the log when something about them has changed. It makes one
// call per step; a round begins every Every, and at once when the list changes.
type Copies struct {
	Site   failover.SiteID
	Log    failover.Log
	Hosts  map[failover.HostID]*proxmox.PVE // this site's, as far as it may look at them
	Every  time.Duration
	Clock  *LogClock
	Logger *slog.Logger

	queue  []func(context.Context, time.Time)
	list   []failover.Copy // that the round looks at
	round  failover.SiteCopies
	booted map[failover.HostID]time.Time
	begun  time.Time
	told   time.Time
}

// Step makes one call of the round, or proposes what it found.
func (c *Copies) Step(ctx context.Context, now time.Time) time.Time {
	s := c.Log.State()
	if s.Network == nil {
		return now.Add(idle)
	}
	if len(c.queue) == 0 {
		list := s.CopiesAt(c.Site)
		if _, known := s.Copies[c.Site]; len(list) == 0 && !known {
			return now.Add(idle)
		}
		if due := c.begun.Add(c.Every); now.Before(due) && !c.begun.IsZero() && reflect.DeepEqual(list, c.list) {
			return due
		}
		c.begin(s, list, now)
	}
	ctx, cancel := context.WithTimeout(failover.WithActor(ctx, "agent:"+string(c.Site)), callTimeout)
	defer cancel()
	if len(c.queue) > 0 {
		work := c.queue[0]
		c.queue = c.queue[1:]
		work(ctx, c.Clock.Now(s, now))
	}
	if len(c.queue) > 0 {
		return now
	}
	return c.tell(ctx, s, now)
}

// begin plans a round's calls.
func (c *Copies) begin(s *failover.State, list []failover.Copy, now time.Time) {
	c.begun, c.list = now, list
	c.round = failover.SiteCopies{Site: c.Site, AsOf: s.Index}
	c.booted = map[failover.HostID]time.Time{}
	for _, want := range list {
		pve, kind := c.Hosts[want.Host], proxmox.Kind(s.Network.Guests[want.Guest].Type)
		if pve == nil {
			want.Unread = "wwwd.yaml names no token for " + string(want.Host)
			c.queue = append(c.queue, func(context.Context, time.Time) { c.round.Copies = append(c.round.Copies, want) })
			continue
		}
		if _, asked := c.booted[want.Host]; !asked {
			c.booted[want.Host] = time.Time{}
			c.queue = append(c.queue, func(ctx context.Context, at time.Time) { c.readHost(ctx, pve, want.Host, at) })
		}
		c.queue = append(c.queue, func(ctx context.Context, at time.Time) { c.readStatus(ctx, pve, kind, want, at) })
	}
}

// readHost learns since when a host runs, if it may.
func (c *Copies) readHost(ctx context.Context, pve *proxmox.PVE, host failover.HostID, at time.Time) {
	n, err := pve.NodeStatus(ctx)
	switch {
	case err != nil:
		c.Logger.Debug("start of the host not read", "host", host, "err", err)
	case n.Uptime > 0:
		c.booted[host] = at.Add(-n.Uptime)
	}
}

// readStatus looks whether a copy runs, and has its configuration read next.
func (c *Copies) readStatus(ctx context.Context, pve *proxmox.PVE, kind proxmox.Kind, want failover.Copy, at time.Time) {
	st, err := pve.GuestStatus(ctx, kind, want.VMID)
	if proxmox.KindOf(err) == proxmox.NotFound {
		return // it is not there any more
	}
	if err != nil {
		want.Unread = clip(err.Error())
		c.round.Copies = append(c.round.Copies, want)
		return
	}
	want.Booted = c.booted[want.Host]
	if want.Running = st.Running(); want.Running {
		want.Since = at.Add(-st.Uptime)
	}
	read := func(ctx context.Context, _ time.Time) {
		conf, err := pve.GuestConfig(ctx, kind, want.VMID)
		if err != nil {
			want.Unread = clip(err.Error())
		}
		want.OnBoot = conf.Values["onboot"] == "1"
		c.round.Copies = append(c.round.Copies, want)
	}
	c.queue = append([]func(context.Context, time.Time){read}, c.queue...)
}

// tell proposes what the round has found, if it is news.
func (c *Copies) tell(ctx context.Context, s *failover.State, now time.Time) time.Time {
	stored, known := s.Copies[c.Site]
	c.round.Copies = settled(c.round.Copies, stored.Copies.Copies)
	news := !reflect.DeepEqual(c.round.Copies, stored.Copies.Copies) || !known && len(c.list) > 0 // none stands there
	news = news || stored.Copies.AsOf < moved(s, c.list)                                          // plans wait for a look since
	if !news && (!known || now.Sub(c.told) < refreshReady) {
		return c.begun.Add(c.Every)
	}
	ctx, cancel := context.WithTimeout(ctx, proposeTimeout)
	defer cancel()
	_, err := c.Log.Propose(ctx, failover.ReportCopies{Copies: c.round})
	if _, rejected := errors.AsType[*failover.RejectedError](err); err != nil && !rejected {
		c.Logger.Warn("copies not recorded", "err", err)
		c.begun = time.Time{} // look again: meanwhile it may be otherwise
		return now.Add(2 * time.Second)
	}
	c.told = now
	return c.begun.Add(c.Every)
}

// moved is when the guests of copies moved last, by the log.
func moved(s *failover.State, of []failover.Copy) (index uint64) {
	for _, c := range of {
		index = max(index, s.Guests[c.Guest].Epoch.Index)
	}
	return index
}

// uptimeJitter is by how much one start may seem to have been at two times:
// hosts tell whole seconds.
const uptimeJitter = 5 * time.Second

// settled gives what is seen the times that were told before, if they mean the
// same start.
func settled(seen, told []failover.Copy) []failover.Copy {
	for i, c := range seen {
		for _, t := range told {
			if t.Guest != c.Guest || t.Place != c.Place {
				continue
			}
			seen[i].Since, seen[i].Booted = steady(c.Since, t.Since), steady(c.Booted, t.Booted)
		}
	}
	return seen
}

func steady(seen, told time.Time) time.Time {
	if !seen.IsZero() && !told.IsZero() && seen.Sub(told).Abs() <= uptimeJitter {
		return told
	}
	return seen.Truncate(time.Second).UTC()
}
