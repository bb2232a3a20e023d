package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/message"
)

// opLines shows a running operation with at most room guests.
func (a *app) opLines(op failover.OpView, st failover.Status, room int) []string {
	s := a.show
	p := &page{s: s}
	left := fmt.Sprintf("%s  %s of %s %s %s", op.ID, op.Kind, concern(op), s.glyph("arrow"), targets(op))
	p.line("%s  %s", s.paint(strong, left), a.opState(op, st))
	if op.Total > 0 {
		p.line("  %s %3d%%  %s of %s  %s", s.bar(op.Bytes, op.Total, 20), percent(op),
			message.Bytes(op.Bytes), message.Bytes(op.Total), remaining(op))
	}
	guests := mostTelling(op.Guests)
	hidden := 0
	if len(guests) > room {
		hidden = len(guests) - (room - 1)
		guests = guests[:room-1]
	}
	t := a.opTable(guests)
	t.indent = "  "
	p.raw(t.lines(s, false)...)
	waitsForPeople(p, guests)
	if hidden > 0 {
		p.line("  and %s more: wwwctl op show %s", plural(hidden, "guest"), op.ID)
	}
	if len(op.LeftOut) > 0 {
		p.line("  left out: %s", s.text(a.leftOut(op.LeftOut)))
	}
	return strings.Split(strings.TrimSuffix(p.b.String(), "\n"), "\n")
}

// mostTelling puts what needs eyes first: stuck, then at work, then waiting,
// then served; within each in the order of the work.
func mostTelling(guests []failover.OpGuestView) []failover.OpGuestView {
	rank := func(g failover.OpGuestView) int {
		switch {
		case g.State == failover.RunStuck:
			return 0
		case !g.Served.IsZero(), g.State == failover.RunCancelled:
			return 3
		case g.Status == failover.StatusRunning:
			return 1
		}
		return 2
	}
	out := slices.Clone(guests)
	slices.SortStableFunc(out, func(x, y failover.OpGuestView) int { return cmp.Compare(rank(x), rank(y)) })
	return out
}

// opTable is the guests of an operation, one per row.
func (a *app) opTable(guests []failover.OpGuestView) table {
	t := table{cols: cols("GUEST", ">P", "TO", "STEP", "~PROGRESS", ">LOSS", ">TOOK", "+ID", "+ATTEMPT")}
	for _, g := range guests {
		word, tn := stepWord(g)
		t.add(c(string(g.Guest)), c(fmt.Sprint(g.Priority)), c(string(g.Target)), cell{word, tn}, c(a.progress(g)),
			c(spanOrDash(g.Loss)), c(spanOrDash(g.Took)), c(fmt.Sprint(g.VMID)), c(fmt.Sprint(g.Attempt)))
	}
	return t
}

// waitsForPeople says what an operation waits for that only people do, whole: it has what they
// are to type; and which of the guests that are stuck may come home instead.
func waitsForPeople(p *page, guests []failover.OpGuestView) {
	for _, g := range guests {
		if g.Home != "" {
			p.wrap(fmt.Sprintf("  %s: ", g.Guest), "    ", p.s.text(fmt.Sprintf("its copy at %s is there: wwwctl failback run %s --keep home", g.Home, g.Guest)))
		}
		if asksPeople(g) {
			p.wrap(fmt.Sprintf("  %s: ", g.Guest), "    ", p.s.text(g.Note))
		}
	}
}

func asksPeople(g failover.OpGuestView) bool {
	return g.Step == failover.StepReplace && g.Note != "" && g.State == failover.RunActive
}

// stepWords are what a step is called while it is under way.
var stepWords = map[failover.StepID]string{
	failover.StepProtect: "prepare", failover.StepRestore: "restore", failover.StepFence: "prove off", failover.StepOwn: "take over",
	failover.StepBefore: "ask program", failover.StepAfter: "call program",
	failover.StepLive: "start live", failover.StepWhole: "copy behind", failover.StepStart: "start", failover.StepCheck: "check", failover.StepServe: "publish",
	failover.StepCleanup: "clean up", failover.StepReady: "try the way", failover.StepShutdown: "shut down", failover.StepBackup: "back up",
	failover.StepPull: "pull", failover.StepVerify: "verify", failover.StepStill: "look home", failover.StepRevive: "start home",
	failover.StepLeave: "stop at home", failover.StepSeal: "seal", failover.StepSealVerify: "verify seal", failover.StepSealCopy: "copy seal",
	failover.StepPark: "park", failover.StepReplace: "make room", failover.StepUnpark: "unpark", failover.StepSettle: "settle", failover.StepRejoin: "start home",
	failover.StepRemove: "remove", failover.StepFork: "fork", failover.StepUnseal: "give up", failover.StepUnsealCopy: "give up",
}

func stepWord(g failover.OpGuestView) (string, tone) {
	switch {
	case g.State == failover.RunStuck:
		return "STUCK", bad
	case !g.Served.IsZero():
		return "serving", good
	case g.State == failover.RunCancelled && g.Step != failover.StepCleanup && g.Step != failover.StepRevive && g.Step != failover.StepRejoin:
		return "cancelled", dim
	}
	return cmp.Or(stepWords[g.Step], string(g.Step), "-"), plain
}

// progress says how far the guest is, or what it waits for.
func (a *app) progress(g failover.OpGuestView) string {
	retry := ""
	if g.Attempt > 1 {
		retry = fmt.Sprintf(", attempt %d", g.Attempt)
	}
	switch {
	case g.State == failover.RunStuck:
		return a.said(g.Stuck)
	case !g.Served.IsZero() && !g.Reach.Done():
		return "restored, not yet reachable"
	case !g.Served.IsZero():
		return "since " + a.show.clock(g.Served)
	case !g.Back.IsZero():
		return a.said(g.Back)
	case g.State == failover.RunCancelled:
		return ""
	case !g.Waits.IsZero():
		return a.said(g.Waits)
	case (g.Step == failover.StepRestore || g.Step == failover.StepWhole) && g.Total > 0:
		return fmt.Sprintf("%s %s/%s%s", a.show.bar(g.Bytes, g.Total, 8), message.Bytes(g.Bytes), message.Bytes(g.Total), retry)
	case asksPeople(g):
		return "waits for people"
	case g.Note != "":
		return g.Note + retry
	}
	return string(g.Status) + retry
}

// opState says where the operation as a whole stands.
func (a *app) opState(op failover.OpView, st failover.Status) string {
	switch op.Phase {
	case failover.OpPreparing:
		for _, row := range st.Sites {
			if failover.SiteDomain(row.Site) == op.Domain && row.CommitAt > 0 {
				return "commits in " + span(row.CommitAt)
			}
		}
		if len(op.Waiting) > 0 {
			return "waits for approval"
		}
		return "prepares, " + span(st.At.Sub(op.Begun))
	case failover.OpCommitted:
		return "committed " + span(st.At.Sub(op.Committed)) + " ago"
	case failover.OpReleasing:
		switch {
		case op.Kind == failover.KindTidy:
			return "removes what is left"
		case op.Cancelled.IsZero():
			return "at work, " + span(st.At.Sub(op.Begun))
		}
		return "cancelled, its copies are cleaned up"
	}
	return string(op.Phase)
}

// targets lists where the guests go: "quai (3), fabrique (2)".
func targets(op failover.OpView) string {
	count := map[failover.SiteID]int{}
	var order []failover.SiteID
	for _, g := range op.Guests {
		if count[g.Target] == 0 {
			order = append(order, g.Target)
		}
		count[g.Target]++
	}
	var out []string
	for _, site := range order {
		out = append(out, fmt.Sprintf("%s (%d)", site, count[site]))
	}
	return dash(strings.Join(out, ", "))
}

func percent(op failover.OpView) int {
	if op.Total <= 0 {
		return 0
	}
	return int(min(op.Bytes, op.Total) * 100 / op.Total)
}

func remaining(op failover.OpView) string {
	if op.Remaining <= 0 {
		return ""
	}
	return "about " + roughly(op.Remaining) + " left"
}

// leftOut names the guests that stay, and why.
func (a *app) leftOut(list []failover.LeftOut) string {
	var out []string
	for _, l := range list {
		out = append(out, fmt.Sprintf("%s (%s)", l.Guest, a.said(l.Reason)))
	}
	return strings.Join(out, ", ")
}
