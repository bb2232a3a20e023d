package chaos

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/lab/site"
)

const (
	handLimit    = 5 * time.Second  // of one act at a machine
	commandLimit = 40 * time.Second // of one wwwctl
)

// touch has a person act on a guest: that of the event's site, or a copy there.
func (n *nemesis) touch(ctx context.Context, e Event) {
	ctx, cancel := context.WithTimeout(ctx, handLimit)
	defer cancel()
	client := n.room.Hosts(e.Site)
	act := site.Act{Do: e.To, Guest: fmt.Sprintf("essai-%d", e.Draw%100), ID: 90000 + int(e.Draw%40)}
	if e.To != "create" {
		st, err := client.Status(ctx)
		if err != nil {
			n.tl.add("note", fmt.Sprintf("nobody at %s: %v", e.Site, err), nil)
			return
		}
		var all []site.GuestStatus
		for _, h := range st.Hosts {
			// A home guest that is deleted is gone for good: nothing to learn.
			for _, g := range h.Guests {
				if e.To != "delete" || strings.HasPrefix(h.Name, "raoull-") && !n.check.home(e.Site, g.ID, g.Name) {
					all = append(all, g)
				}
			}
		}
		if len(all) == 0 {
			return
		}
		g := all[e.Draw%uint64(len(all))]
		act.Guest, act.ID = g.Name, g.ID
	}
	// Told before it is done: what follows from it must find it known.
	undo := n.check.did(act.Do, e.Site, act.ID, act.Guest)
	err := client.Act(ctx, act)
	if err != nil {
		undo()
	}
	n.tl.add("operator", fmt.Sprintf("%s of %s (%d) by hand at %s: %v", act.Do, act.Guest, act.ID, e.Site, err), nil)
}

// person types a command at a site, or two; nobody waits for it.
func (n *nemesis) person(ctx context.Context, e Event) {
	if e.To == PersonHostOff {
		n.wg.Go(func() { n.goesThere(ctx, e) })
		return
	}
	for _, args := range n.commands(e) {
		n.wg.Go(func() { n.types(ctx, e, args) })
	}
}

// at is where a command is typed: a site that can be reached, chosen by the seed.
func (n *nemesis) at(e Event) string {
	names := n.lab.Names()
	for i := range names {
		if s := names[(int(e.Draw%1000)+i)%len(names)]; n.room.AgentAlive(s) {
			return s
		}
	}
	return names[0]
}

// commands returns what is typed.
func (n *nemesis) commands(e Event) [][]string {
	switch e.To {
	case PersonPause:
		return [][]string{{"pause", "--for", e.For.String(), "--reason", "chaos", "--yes"}}
	case PersonFailover:
		return [][]string{n.failover(e.Site)}
	case PersonTwice:
		return [][]string{n.failover(e.Site), n.failover(e.Site)}
	case PersonGuest:
		g := n.lab.Guests[e.Draw%uint64(len(n.lab.Guests))].Name
		return [][]string{{"failover", "--guest", g, "--to", e.Site, "--yes", "--confirm", g, "--detach"}}
	case PersonSwitchover:
		return [][]string{n.switchover(e)}
	case PersonRescue:
		return [][]string{{"rescue", e.Site, "--yes", "--confirm", "pve-" + e.Site, "--detach"}}
	case PersonFailback:
		return n.failback(e)
	case PersonUndo:
		g := n.lab.Guests[e.Draw%uint64(len(n.lab.Guests))].Name
		return [][]string{{"failback", "undo", g, "--yes", "--detach"}}
	}
	verb := map[string]string{PersonApprove: "approve", PersonCancel: "cancel", PersonRetry: "retry", PersonAck: "ack"}[e.To]
	var out [][]string
	for _, o := range n.check.ops() {
		open := !o.Phase.Ended()
		wanted := map[string]bool{
			"approve": open && len(o.Waiting) > 0, "cancel": open,
			"retry": slices.ContainsFunc(o.Guests, func(g failover.OpGuestView) bool { return g.State == failover.RunStuck }),
			"ack":   !open,
		}[verb]
		if wanted {
			n.check.decided(o.ID)
			out = append(out, []string{"op", verb, string(o.ID), "--yes"})
		}
	}
	return out
}

// goesThere is the person who is called when a rescue waits for the proof that a machine is off:
// as long as that is dead they answer to the call.
func (n *nemesis) goesThere(ctx context.Context, e Event) {
	for site.Sleep(ctx, time.Second) == nil && n.dead("pve-"+e.Site) {
		if typed := n.pullPlug(e.Site); len(typed) > 0 {
			for _, args := range typed {
				n.types(ctx, e, args)
			}
			return
		}
	}
}

// dead says whether a machine has been broken and is not mended.
func (n *nemesis) dead(host string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.broken[host]
}

// pullPlug has a person go to a machine whose rescue waits for the proof that it is off, pull its
// plug, and type so.
func (n *nemesis) pullPlug(s string) [][]string {
	host, out := "pve-"+s, [][]string(nil)
	for _, o := range n.check.ops() {
		waits := slices.ContainsFunc(o.Guests, func(g failover.OpGuestView) bool {
			return g.State == failover.RunStuck && g.Stuck.Code == failover.CodeNoProof
		})
		if o.Kind != failover.KindRescue || o.Domain != failover.HostDomain(failover.HostID(host)) || !waits {
			continue
		}
		n.check.decided(o.ID)
		n.tl.add("operator", fmt.Sprintf("the plug of %s is pulled by hand: %v", host, site.PullPlug(n.dir, s)), nil)
		n.check.hostLost(host, time.Now())
		out = append(out, []string{"op", "retry", string(o.ID), "--host-is-off", "--confirm", host, "--yes"})
	}
	return out
}

func (n *nemesis) failover(s string) []string {
	return []string{"failover", s, "--yes", "--confirm", s, "--detach"}
}

// switchover moves a guest of a site, all of them, or its structure.
func (n *nemesis) switchover(e Event) []string {
	i, err := n.lab.Index(e.Site)
	if err != nil {
		return nil // plans name no others
	}
	what := []string{e.Site, n.lab.Sites[i].Structure}[e.Draw%2]
	if guests := n.lab.GuestsOf(e.Site); e.Draw/2%2 == 0 {
		what = guests[e.Draw/4%uint64(len(guests))].Name
	}
	to := "auto"
	if names := n.lab.Names(); e.Draw/64%3 == 0 {
		to = names[e.Draw/256%uint64(len(names))]
	}
	return []string{"switchover", what, "--to", to, "--yes", "--detach"}
}

// exitCodes are those that wwwctl promises (help topic exit-codes) for a command that
// was typed right.
var exitCodes = []int{0, 1, 3, 4, 5, 6, 7, 8, 9, 10}

func (n *nemesis) types(ctx context.Context, e Event, args []string) {
	ctx, cancel := context.WithTimeout(ctx, commandLimit)
	defer cancel()
	where := n.at(e)
	out, err := n.room.Ctl(ctx, where, args...)
	line := "wwwctl " + strings.Join(args, " ") + " at " + where
	var exit *exec.ExitError
	switch {
	case err == nil:
		n.tl.add("operator", line, short(string(out)))
	case errors.As(err, &exit) && ctx.Err() == nil:
		n.tl.add("operator", fmt.Sprintf("%s: exit %d", line, exit.ExitCode()), short(err.Error()))
		if !slices.Contains(exitCodes, exit.ExitCode()) || strings.Contains(err.Error(), "panic: ") {
			n.check.broken([]Violation{{At: time.Now(), Invariant: "L4", Text: fmt.Sprintf("%s ends with %d: %v", line, exit.ExitCode(), err)}}, "it was typed", 0)
		}
	default:
		n.tl.add("operator", line+": no answer", fmt.Sprint(err))
	}
}

// short is what a command said, on one line.
func short(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	return text[:min(len(text), 600)]
}
