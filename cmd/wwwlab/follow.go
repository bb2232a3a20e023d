package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/api"
	"github.com/raoull/worldwidewelsh/internal/lab/site"
	"github.com/raoull/worldwidewelsh/internal/message"
)

// followEvery is how often the survivors are asked what is new.
const followEvery = 250 * time.Millisecond

// entryAt is the public entry at an address of the lab.
func entryAt(addr netip.Addr) netip.AddrPort { return netip.AddrPortFrom(addr, site.EntryPort) }

// lastIndex returns the newest index of the log, so that only what follows is news.
func (d *demo) lastIndex(ctx context.Context) (uint64, error) {
	st, err := d.room.anyStatus(ctx)
	return st.Index, err
}

// follow reads the survivors' events until the operation has ended, or, where nothing
// has to move, for stillWatch.
func (d *demo) follow(ctx context.Context, f *facts, since uint64) error {
	limit := moveLimit
	if len(f.moving) == 0 {
		limit = stillWatch
	}
	ctx, cancel := context.WithDeadlineCause(ctx, f.killed.Add(limit), errTime)
	defer cancel()
	shown := false
	for {
		list, err := askEach(ctx, d.room, "", func(ctx context.Context, c *api.Client) (api.EventList, error) {
			return c.Events(ctx, api.EventQuery{Since: strconv.FormatUint(since, 10), Limit: api.MaxEvents})
		})
		if err == nil {
			for _, e := range list.Items {
				since = max(since, e.Stamp.Index)
				f.events = append(f.events, e)
				d.tell(e)
				if e.Reason.Code == failover.CodeOpCommitted && !shown {
					shown = true
					d.showStatus(ctx)
				}
			}
		}
		ended, err := d.operation(ctx, f)
		if err == nil && ended && len(f.moving) > 0 {
			return nil
		}
		if time.Since(d.spoke) > silentLimit {
			d.waiting(ctx, f)
		}
		switch err := site.Sleep(ctx, followEvery); {
		case errors.Is(err, errTime):
			return nil // what is missing then, the summary tells
		case err != nil:
			return err
		}
	}
}

// errTime ends following when the time is over.
var errTime = errors.New("time is over")

// quiet are codes that say nothing to somebody who watches for the first time: a zone
// is always behind for a moment after each change.
func quiet(code string) bool { return code == failover.CodeZoneOutside }

// tell prints an event with the time since the plug was pulled at which it was applied.
func (d *demo) tell(e failover.Event) {
	if quiet(e.Reason.Code) {
		return
	}
	args := map[string]string{}
	for k, v := range e.Reason.Args {
		args[k] = v
	}
	for k, v := range map[string]string{"site": string(e.Site), "guest": string(e.Guest), "op": string(e.Op)} {
		if _, ok := args[k]; !ok {
			args[k] = v
		}
	}
	text := message.Text(message.English, e.Reason.Code, args)
	fmt.Fprintf(d.out, "[+%4.1fs] %s  %s\n", max(0, e.Stamp.At.Sub(d.killed)).Seconds(), e.Reason.Code, text)
	d.spoke = time.Now()
}

// operation looks for the operation that answers to the dead site, and tells whether it
// has ended.
func (d *demo) operation(ctx context.Context, f *facts) (bool, error) {
	ops, err := askEach(ctx, d.room, "", func(ctx context.Context, c *api.Client) (api.OpList, error) { return c.Ops(ctx) })
	if err != nil {
		return false, err
	}
	for _, op := range ops.Items {
		if op.Domain == f.domain && op.Begun.After(f.killed) {
			f.op = &op
			return op.Phase.Ended(), nil
		}
	}
	return false, nil
}

// waiting tells what the network is waiting for, so that nobody thinks it hangs.
func (d *demo) waiting(ctx context.Context, f *facts) {
	st, err := d.room.anyStatus(ctx)
	if err != nil {
		d.say("waiting: the survivors are choosing a leader")
		return
	}
	for _, s := range st.Sites {
		if s.Site != f.site {
			continue
		}
		switch {
		case f.op != nil:
			var steps []string
			for _, g := range f.op.Guests {
				if g.Served.IsZero() {
					steps = append(steps, fmt.Sprintf("%s: %s", g.Guest, g.Step))
				}
			}
			text := strings.Join(steps, ", ")
			if s.CommitAt > 0 {
				text += fmt.Sprintf("; %.0f s to commitment", s.CommitAt.Seconds())
			}
			d.say("%s is %s (%s)", f.op.ID, f.op.Phase, text)
		case s.State == "up":
			d.say("the survivors have not missed %s for long enough yet", s.Site)
		default:
			d.say("%s is %s, seen by %d of %d; %s leads; no operation has begun", s.Site, s.State, s.SeenBy, s.Observers, st.Leader)
		}
	}
}

// verify ends as a member would: every name is asked at every surviving server, the
// page is fetched from where it leads, the data is read. Names that moved get a moment.
func (d *demo) verify(ctx context.Context, f *facts) {
	d.say("asking every surviving name server, and fetching every page from where the name leads")
	expected := d.expected(f)
	deadline := time.Now().Add(agreeLimit)
	for {
		f.names = d.askNames(ctx, expected)
		agree := true
		for _, n := range f.names {
			agree = agree && n.agrees
		}
		if agree || time.Now().After(deadline) || site.Sleep(ctx, followEvery) != nil {
			break
		}
	}
	d.awaitReach(ctx, f)
	for _, g := range sortedGuests(expected) {
		lines, err := d.readGuest(ctx, d.firstLiving(), g)
		switch {
		case err != nil:
			f.names = append(f.names, nameCheck{guest: g, server: "the page", observed: err.Error()})
		case f.moving[g] != "":
			f.after[g] = lines
			d.say("%s answers from %s: 200 OK, %d lines of data", g, expected[g], len(lines))
		}
	}
}

// expected returns where every guest should be served that is not lost on purpose.
func (d *demo) expected(f *facts) map[failover.GuestID]failover.SiteID {
	out := map[failover.GuestID]failover.SiteID{}
	for _, g := range d.room.lab.Guests {
		home := failover.SiteID(d.room.lab.Home(g))
		if home != f.site && !slices.Contains(d.room.fabric.Dead(), string(home)) {
			out[failover.GuestID(g.Name)] = home
		}
	}
	maps.Copy(out, f.kept)
	if f.op == nil {
		return out
	}
	for _, g := range f.op.Guests {
		if f.moving[g.Guest] != "" && !g.Served.IsZero() {
			out[g.Guest] = g.Target
		}
	}
	return out
}

func (d *demo) firstLiving() int {
	i, err := d.room.lab.Index(d.room.living()[0])
	if err != nil {
		return 0 // the living are sites of the lab
	}
	return i
}

// askNames asks every surviving server for every name.
func (d *demo) askNames(ctx context.Context, expected map[failover.GuestID]failover.SiteID) []nameCheck {
	var out []nameCheck
	for _, ns := range d.room.nameServers() {
		for _, g := range sortedGuests(expected) {
			m, _ := d.room.lab.Guest(string(g))
			to, err := d.room.lab.Index(string(expected[g]))
			if err != nil {
				continue
			}
			check := nameCheck{guest: g, server: ns.name}
			got, err := d.member.resolve(ctx, ns.addr, m.Names[0])
			if err != nil {
				check.observed = err.Error()
			} else {
				check.observed = got.String()
				check.agrees = got == d.room.lab.Plan().Public(to)
			}
			out = append(out, check)
		}
	}
	return out
}

// reachLimit is how long the other sites' agents may take to see what moved, and to say so.
const reachLimit = 15 * time.Second

// awaitReach waits until the agents of other sites see what moved at its public entry, by its
// real name: until then it is restored, and not known to be reachable.
func (d *demo) awaitReach(ctx context.Context, f *facts) {
	if f.op == nil {
		return
	}
	deadline := time.Now().Add(reachLimit)
	for {
		if op, err := askEach(ctx, d.room, "", func(ctx context.Context, c *api.Client) (api.Op, error) { return c.Op(ctx, f.op.ID) }); err == nil {
			f.op = &op.Op
		}
		waiting := slices.ContainsFunc(f.op.Guests, func(g failover.OpGuestView) bool { return !g.Served.IsZero() && !g.Reach.Done() })
		if !waiting || time.Now().After(deadline) || site.Sleep(ctx, followEvery) != nil {
			break
		}
	}
	for _, g := range f.op.Guests {
		if !g.Served.IsZero() && g.Reach.Needed > 0 && g.Reach.Done() {
			d.say("%s is seen at its real name by the agents of %v", g.Guest, g.Reach.From)
		}
	}
}
