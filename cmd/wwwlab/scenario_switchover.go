package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/lab/site"
)

// movedData is what members wrote to guests that were about to be shut down.
type movedData struct{ taken map[failover.GuestID][]string } // notes of the lines that a guest has taken

// strikeSwitchover has an operator move a site that lives.
func strikeSwitchover(ctx context.Context, d *demo, f *facts) error {
	f.planned = true
	d.begin(f, string(f.site))
	code, says, err := d.byHand(ctx, f.site, "plan", "--switchover", string(f.site))
	if err != nil || code != 0 {
		return fmt.Errorf("wwwctl plan --switchover ends with exit code %d: %s, %w", code, says, err)
	}
	code, says, err = d.byHand(ctx, f.site, "switchover", string(f.site), "--to", "auto", "--yes", "--detach", "--reason", "works on the power line")
	if err != nil || code != 0 {
		return fmt.Errorf("wwwctl switchover ends with exit code %d: %s, %w", code, says, err)
	}
	// What was written until now, and not only until it was asked for.
	return d.readData(ctx, string(f.site), f.moving, f.before)
}

// writeEvery is how often a member writes to a guest that is about to be shut down.
const writeEvery = 150 * time.Millisecond

// writeToTheEnd writes to every guest, as members do, until it is shut down.
func writeToTheEnd(ctx context.Context, d *demo, f facts) error {
	d.written = movedData{taken: map[failover.GuestID][]string{}}
	i, err := d.room.lab.Index(string(f.site))
	if err != nil {
		return err
	}
	entry := entryAt(d.room.lab.Plan().Public(i))
	down := map[failover.GuestID]int{}
	for n := 0; len(down) < len(f.moving) || slices.Min(sortedCounts(down)) < downAfter; n++ {
		for _, g := range sortedGuests(f.moving) {
			m, ok := d.room.lab.Guest(string(g))
			if !ok || down[g] >= downAfter {
				continue
			}
			note := fmt.Sprintf("member-%d", n)
			if err := d.member.write(ctx, entry, m.Names[0], "/data", note); err != nil {
				down[g]++
				continue
			}
			d.written.taken[g] = append(d.written.taken[g], note)
			delete(down, g)
		}
		if time.Since(f.killed) > moveLimit {
			return fmt.Errorf("the guests of %s were never shut down", f.site)
		}
		if err := site.Sleep(ctx, writeEvery); err != nil {
			return err
		}
	}
	for _, g := range sortedGuests(f.moving) {
		d.say("%s took %d lines from a member until it was shut down", g, len(d.written.taken[g]))
	}
	return nil
}

// downAfter is how many refused lines in a row mean that a guest is shut down.
const downAfter = 3

func sortedCounts(m map[failover.GuestID]int) []int {
	var out []int
	for _, g := range sortedGuests(m) {
		out = append(out, m[g])
	}
	return out
}

// movedWhole: every line that a guest has taken is there, the operation is a switchover
// that lost nothing, and the copies at home are off and stay so.
func movedWhole(ctx context.Context, d *demo, f facts, r *report) {
	if f.op == nil || f.op.Kind != failover.KindSwitchover || f.op.Phase != failover.OpDone {
		r.fail("no switchover was carried out")
		return
	}
	for _, g := range r.Guests {
		id := failover.GuestID(g.Name)
		after := strings.Join(f.after[id], "\n") + "\n"
		missing := 0
		for _, line := range f.before[id] {
			if !strings.Contains(after, line+"\n") {
				missing++
			}
		}
		for _, note := range d.written.taken[id] {
			if !strings.Contains(after, " "+note+"\n") {
				missing++
			}
		}
		if missing > 0 {
			r.fail("%s: %d lines that were written before its shutdown are gone", id, missing)
		}
		if len(d.written.taken[id]) == 0 {
			r.fail("%s took no line before its shutdown", id)
		}
	}
	st, err := site.NewClient(d.room.dir, string(f.site)).Status(ctx)
	if err != nil {
		r.fail("%v", err)
		return
	}
	for _, h := range st.Hosts {
		for _, g := range h.Guests {
			if f.moving[failover.GuestID(g.Name)] != "" && g.Serving {
				r.fail("%s still runs on %s", g.Name, h.Name)
			}
		}
	}
}
