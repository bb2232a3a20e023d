package sim

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/lab"
)

// An operation that waits for a person says what to type at which machine. In campaigns people
// type just that, and then the operation must not wait for the same once more.

// advised is what a person has typed for a guest because its operation said so.
type advised struct {
	op    failover.OpID
	guest failover.GuestID
	note  string
}

var (
	adviceHost  = regexp.MustCompile(`\bon ([a-z0-9-]+)[:,]`)
	adviceTyped = regexp.MustCompile(`\b(?:(?:qm|pct) (unlock|stop|destroy) |(umount) -R -d /var/lib/lxc/)([0-9]+)`)
)

// typing is what an operation tells people to type at a machine before they retry it.
type typing struct {
	site  *Site
	host  failover.HostID
	lines [][]string // as adviceTyped finds them
}

// toDo is what the note of a step tells people to do; false: it tells of no retry.
func (w *World) toDo(note string) (typing, bool) {
	if !strings.Contains(note, "wwwctl op retry") {
		return typing{}, false
	}
	t := typing{lines: adviceTyped.FindAllStringSubmatch(note, -1)}
	if named := adviceHost.FindStringSubmatch(note); named != nil && len(t.lines) > 0 {
		t.host = failover.HostID(named[1])
		t.site = w.sites[w.log.Last().Network.SiteOf(t.host)]
	}
	return t, t.site != nil || len(t.lines) == 0
}

// heedAdvice has people do what operations that are stuck tell them to; false: nothing.
func (c *campaign) heedAdvice() bool {
	w, before := c.w, c.heeded
	s := w.log.Last()
	c.heeded = map[advised]bool{}
	for _, id := range sortedKeys(s.Ops) {
		retry := false
		for _, g := range sortedKeys(s.Ops[id].Guests) {
			key := advised{id, g, stuckNote(s.Ops[id].Guests[g])}
			if run := s.Ops[id].Guests[g]; run.Owned() && s.Guests[g].Epoch != run.Epoch {
				continue // it has moved on: nobody is told that any more
			}
			if s.Ops[id].Kind == failover.KindRemoval && !s.AtHome(g) {
				continue // its copy may be wanted again
			}
			what, told := w.toDo(key.note)
			switch {
			case !told:
				continue
			case before[key]:
				w.check.fail("L2", "people have typed what %s told them about %s, and it tells them the same: %s", id, g, key.note)
				return false
			case chance(w.rand(fmt.Sprint("advice ", key)), 0.3):
				continue // nobody does
			}
			w.heed(what)
			c.heeded[key], retry = true, true
		}
		if retry {
			w.propose(failover.RetryOp{Op: id})
		}
	}
	return len(c.heeded) > 0
}

// stuckNote is what a run that waits for a person tells that person; "": it does not wait.
func stuckNote(r failover.GuestRun) string {
	if step, _, left := r.Current(); left && r.State == failover.RunStuck {
		return step.Note
	}
	return ""
}

// heed types at a machine what an operation told.
func (w *World) heed(t typing) {
	if t.site == nil {
		w.cover.count(coverOp, "advice heeded: retry")
		return
	}
	pve := t.site.raoull
	if t.host == structureHost(t.site.name) {
		pve = t.site.structure
	}
	for _, line := range t.lines {
		w.tell("a person types on %s: %s, as it is told", t.host, line[0])
		verb := line[1] + line[2]
		w.cover.count(coverOp, "advice heeded: %s", verb)
		id, err := strconv.Atoi(line[3])
		if err == nil {
			err = typeAt(pve, verb, id, w.loop.Now())
		}
		if err != nil {
			w.tell("it says: %v", err)
		}
		if verb == "destroy" { // a person has looked into it, and gives up what only that copy holds
			w.check.ledger.forget(failover.Place{Site: t.site.name, Host: t.host, VMID: id})
		}
	}
}

func typeAt(pve *lab.PVE, verb string, id int, now time.Time) error {
	switch verb {
	case "umount":
		return pve.Unmount(id)
	case "unlock":
		return pve.Unlock(id)
	case "stop":
		return pve.StopGuest(id, now)
	default:
		return pve.RemoveGuest(id, now)
	}
}
