package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/api"
	"github.com/raoull/worldwidewelsh/internal/lab/site"
)

// The story of a site that is cut off: people in the house go on, the world is served
// elsewhere, both write, the line is back, and a person chooses; changes their mind; and
// nothing that anybody wrote is lost.

// account is a line that somebody wrote and was told is kept.
type account struct {
	guest failover.GuestID
	who   string // "house", "internet"
	note  string
}

// strikeIsolation cuts the lines of a site. Its machines run on.
func strikeIsolation(_ context.Context, d *demo, f *facts) error {
	d.say("cutting every line of %s; its machines run on", f.site)
	d.begin(f, "the line of "+string(f.site))
	d.room.mute = string(f.site) // whom a member cannot ask
	return d.room.cut(cutRequest{Site: string(f.site), Path: "both"})
}

// writeInTheHouse writes to the guests at home, as people in the house do, while the others
// take over.
func writeInTheHouse(ctx context.Context, d *demo, f facts) error {
	for n := range 6 {
		for _, g := range sortedGuests(f.moving) {
			note := fmt.Sprintf("house-%d", n)
			if err := d.inHouse(ctx, f.site, g, note); err != nil {
				return fmt.Errorf("%s is cut off, and %s does not serve the house: %w", f.site, g, err)
			}
			d.ledger = append(d.ledger, account{g, "house", note})
		}
		if err := site.Sleep(ctx, time.Second); err != nil {
			return err
		}
	}
	d.say("the house of %s was served all along: %d lines written there", f.site, len(d.ledger))
	return nil
}

// inHouse writes a line to a guest over its site's own network, without name or entry.
func (d *demo) inHouse(ctx context.Context, at failover.SiteID, g failover.GuestID, note string) error {
	_, err := d.room.visitHouse(ctx, visit{Guest: string(g), At: string(at), Text: note})
	return err
}

// byName writes lines to a guest as a member does, wherever its name leads.
func (d *demo) byName(ctx context.Context, g failover.GuestID, what string, n int) error {
	m, _ := d.room.lab.Guest(string(g))
	addr, err := d.member.resolve(ctx, d.room.lab.DNS(d.firstLiving()), m.Names[0])
	if err != nil {
		return err
	}
	for i := range n {
		note := fmt.Sprintf("%s-%d", what, i)
		if err := d.member.write(ctx, entryAt(addr), m.Names[0], "/data", note); err != nil {
			return err
		}
		d.ledger = append(d.ledger, account{g, "internet", note})
	}
	return nil
}

// wayHome plays the rest of the story, and looks at every line after each turn of it.
func wayHome(ctx context.Context, d *demo, f facts, r *report) {
	if !r.OK {
		return
	}
	if err := d.playWayHome(ctx, f); err != nil {
		r.fail("%v", err)
	}
}

func (d *demo) playWayHome(ctx context.Context, f facts) error {
	guests := sortedGuests(f.moving)
	chosen := guests[len(guests)-1]
	for _, g := range guests {
		if err := d.byName(ctx, g, "world", 3); err != nil {
			return err
		}
	}
	if _, _, err := d.byHand(ctx, f.site, "status"); err != nil { // what somebody in the house sees
		return err
	}
	d.say("the line of %s is mended", f.site)
	if err := d.room.heal(string(f.site)); err != nil {
		return err
	}
	d.room.mute = ""
	if err := d.awaitParted(ctx, guests); err != nil {
		return err
	}
	at := failover.SiteID(d.room.living()[0])
	if at == f.site {
		at = failover.SiteID(d.room.living()[1])
	}
	if code, says, err := d.byHand(ctx, at, "failback", "plan", string(f.site)); err != nil || code != 0 {
		return fmt.Errorf("wwwctl failback plan ends with exit code %d: %s, %w", code, says, err)
	}
	if err := d.carryOut(ctx, at, "failback", "run", string(f.site), "--keep", "away"); err != nil {
		return err
	}
	if err := d.holds(ctx, guests, "internet", f.site); err != nil {
		return err
	}
	if err := d.sealed(ctx, guests, "at home"); err != nil {
		return err
	}
	if err := d.byName(ctx, chosen, "home-again", 2); err != nil {
		return err
	}
	d.say("the people of %s say that this was the wrong copy", chosen)
	if err := d.carryOut(ctx, at, "failback", "undo", string(chosen)); err != nil {
		return err
	}
	if err := d.holds(ctx, []failover.GuestID{chosen}, "internet", ""); err != nil {
		return err
	}
	if err := d.keepHome(ctx, at, chosen, f.site); err != nil {
		return err
	}
	d.say("no, it was the other one: what was sealed elsewhere serves again")
	if err := d.carryOut(ctx, at, "failback", "undo", string(chosen)); err != nil {
		return err
	}
	if err := d.holds(ctx, []failover.GuestID{chosen}, "internet", ""); err != nil {
		return err
	}
	d.say("and the one in the house after all")
	if err := d.keepHome(ctx, at, chosen, f.site); err != nil {
		return err
	}
	d.printLedger(chosen, guests)
	_, _, err := d.byHand(ctx, at, "guests", string(chosen))
	return err
}

// keepHome brings a guest home as it is there: what was written in the house serves, the other copy is sealed.
func (d *demo) keepHome(ctx context.Context, at failover.SiteID, g failover.GuestID, home failover.SiteID) error {
	if err := d.carryOut(ctx, at, "failback", "run", string(g), "--keep", "home"); err != nil {
		return err
	}
	if err := d.holds(ctx, []failover.GuestID{g}, "house", home); err != nil {
		return err
	}
	return d.sealed(ctx, []failover.GuestID{g}, "elsewhere")
}

// partedLimit is how long the return of a site may take to be told of.
const partedLimit = 60 * time.Second

// awaitParted waits until the log says of every guest that both copies run.
func (d *demo) awaitParted(ctx context.Context, guests []failover.GuestID) error {
	ctx, cancel := context.WithTimeout(ctx, partedLimit)
	defer cancel()
	for {
		list, err := askEach(ctx, d.room, "", func(ctx context.Context, c *api.Client) (api.GuestList, error) { return c.Guests(ctx) })
		parted := 0
		for _, g := range list.Items {
			if slices.Contains(guests, g.Guest) && g.Phase == failover.PhaseDiverged && g.Left != nil && g.Left.Reason.Code == failover.CodeBranchRan {
				parted++
			}
		}
		if err == nil && parted == len(guests) {
			d.say("two copies of each run: both have what the other has not")
			return nil
		}
		if err := site.Sleep(ctx, followEvery); err != nil {
			return fmt.Errorf("the network does not say that two copies run: %w", err)
		}
	}
}

// carryLimit is how long an operation of the story may take.
const carryLimit = 3 * time.Minute

// carryOut types a command that begins an operation, and follows that to its end.
func (d *demo) carryOut(ctx context.Context, at failover.SiteID, args ...string) error {
	since, err := d.lastIndex(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, carryLimit)
	defer cancel()
	code, says, err := d.byHand(ctx, at, append(args, "--yes", "--detach")...)
	for err == nil && code != 0 && strings.Contains(says, failover.CodeUnseen) { // as it says: in a minute
		if err = site.Sleep(ctx, 5*time.Second); err == nil {
			code, says, err = d.byHand(ctx, at, append(args, "--yes", "--detach")...)
		}
	}
	if err != nil || code != 0 {
		return fmt.Errorf("wwwctl %s ends with exit code %d: %s, %w", strings.Join(args, " "), code, says, err)
	}
	for {
		ops, err := askEach(ctx, d.room, string(at), func(ctx context.Context, c *api.Client) (api.OpList, error) { return c.Ops(ctx) })
		list, told := askEach(ctx, d.room, string(at), func(ctx context.Context, c *api.Client) (api.EventList, error) {
			return c.Events(ctx, api.EventQuery{Since: fmt.Sprint(since), Limit: api.MaxEvents})
		})
		if told == nil {
			for _, e := range list.Items {
				since = max(since, e.Stamp.Index)
				d.tell(e)
			}
		}
		if err == nil && len(ops.Items) > 0 {
			newest := slices.MaxFunc(ops.Items, func(a, b failover.OpView) int { return a.Begun.Compare(b.Begun) })
			switch {
			case newest.Begun.Before(d.killed) || !newest.Phase.Ended() || newest.Kind != failover.KindFailback && newest.Kind != failover.KindSwitchover:
			case newest.Phase != failover.OpDone:
				return fmt.Errorf("wwwctl %s: %s ended %s", strings.Join(args, " "), newest.ID, newest.Phase)
			case strings.Contains(says, string(newest.ID)):
				return nil
			}
		}
		if err := site.Sleep(ctx, followEvery); err != nil {
			return fmt.Errorf("wwwctl %s does not end: %w", strings.Join(args, " "), err)
		}
	}
}

// holds fails unless each guest, asked by its name, has every line of one kind of writer.
// at is where the name must lead; "" = anywhere.
func (d *demo) holds(ctx context.Context, guests []failover.GuestID, who string, at failover.SiteID) error {
	ctx, cancel := context.WithTimeout(ctx, partedLimit)
	defer cancel()
	for {
		err := d.holdNow(ctx, guests, who, at)
		if err == nil {
			return nil
		}
		if site.Sleep(ctx, followEvery) != nil {
			return err
		}
	}
}

func (d *demo) holdNow(ctx context.Context, guests []failover.GuestID, who string, at failover.SiteID) error {
	for _, g := range guests {
		m, _ := d.room.lab.Guest(string(g))
		addr, err := d.member.resolve(ctx, d.room.lab.DNS(d.firstLiving()), m.Names[0])
		if err != nil {
			return err
		}
		if i, err := d.room.lab.Index(string(at)); err == nil && addr != d.room.lab.Plan().Public(i) {
			return fmt.Errorf("the name of %s leads to %s, not to %s", g, addr, at)
		}
		page, err := d.member.fetch(ctx, entryAt(addr), m.Names[0], "/data")
		if err != nil {
			return err
		}
		for _, a := range d.ledger {
			if a.guest == g && a.who == who && !strings.Contains(page+"\n", " "+a.note+"\n") {
				return fmt.Errorf("%s was written to %s (%s) and is not in the copy that serves", a.note, g, a.who)
			}
		}
	}
	return nil
}

// sealed fails unless the newest sealed branch of each guest lies at two sites.
func (d *demo) sealed(ctx context.Context, guests []failover.GuestID, which string) error {
	for _, g := range guests {
		v, err := askEach(ctx, d.room, "", func(ctx context.Context, c *api.Client) (api.Guest, error) { return c.Guest(ctx, g) })
		if err != nil {
			return err
		}
		i := slices.IndexFunc(v.Lineages, func(l failover.Lineage) bool {
			home := l.Site == v.Guest.Home
			return l.Sealed != nil && len(l.Sealed.Sites()) > 1 && home == (which == "at home")
		})
		if i < 0 {
			return fmt.Errorf("no branch of %s that was written %s is sealed at two sites", g, which)
		}
		d.say("%s: what was written %s is sealed at %v", g, which, v.Lineages[i].Sealed.Sites())
	}
	return nil
}

// printLedger tells of every line where it is at the end: in the copy that serves, or in a
// sealed branch.
func (d *demo) printLedger(chosen failover.GuestID, guests []failover.GuestID) {
	count := map[failover.GuestID]map[string]int{}
	for _, a := range d.ledger {
		if count[a.guest] == nil {
			count[a.guest] = map[string]int{}
		}
		count[a.guest][a.who]++
	}
	fmt.Fprintln(d.out)
	t := tabwriter.NewWriter(d.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "GUEST\tWRITTEN BY\tLINES\tIN THE COPY THAT SERVES\tSEALED AT TWO SITES")
	for _, g := range guests {
		for _, who := range []string{"house", "internet"} {
			serves := map[bool]string{true: "house", false: "internet"}[g == chosen]
			where := "\tyes"
			if who == serves {
				where = "yes\t"
			}
			fmt.Fprintf(t, "%s\t%s\t%d\t%s\n", g, who, count[g][who], where)
		}
	}
	_ = t.Flush() // as any print
	fmt.Fprintf(d.out, "ledger: %d lines written, 0 lost\n\n", len(d.ledger))
}
