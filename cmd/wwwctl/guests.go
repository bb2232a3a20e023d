package main

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/api"
	"github.com/raoull/worldwidewelsh/internal/message"
)

func guestsCommand(a *app, _ *flag.FlagSet) runner {
	return func(ctx context.Context, args []string) error {
		if err := need(args, 0, 1, ""); err != nil {
			return err
		}
		return a.present(ctx, func(ctx context.Context) (view, error) {
			if len(args) == 0 {
				list, err := a.client.Guests(ctx)
				return view{kind: api.KindGuests, data: list, table: a.guestTable(list.Items)}, err
			}
			g, err := a.client.Guest(ctx, failover.GuestID(args[0]))
			return view{
				kind: api.KindGuest, data: g, table: a.guestTable([]failover.GuestView{g.Guest}),
				text: func() string { return a.guestScreen(g) },
			}, err
		})
	}
}

func phaseTone(p failover.Phase) tone {
	switch p {
	case failover.PhaseHome:
		return good
	case failover.PhaseStuck, failover.PhaseUnprotected:
		return bad
	case failover.PhaseExcluded:
		return dim
	}
	return warn
}

func (a *app) guestTable(list []failover.GuestView) table {
	t := table{cols: cols("GUEST", "ID", ">P", "HOME", "AT", "STATE", ">OFF-SITE", "+COPIES", "+STRUCTURE", "+EPOCH", "~READY")}
	for _, g := range list {
		ready := cell{"yes", good}
		if !g.Ready {
			ready = cell{"no: " + a.said(g.NotReady), warn}
		}
		t.add(c(string(g.Guest)), c(fmt.Sprintf("%s:%d", g.Type, g.ID)), c(fmt.Sprint(g.Priority)), c(string(g.Home)), c(dash(string(g.At))),
			cell{string(g.Phase), phaseTone(g.Phase)}, c(spanOrDash(g.RPO)), c(copies(g)), c(string(g.Structure)), c(g.Epoch), ready)
	}
	return t
}

// copies names the sites other than the guest's own that hold a usable copy.
func copies(g failover.GuestView) string {
	var out []string
	for _, cp := range g.Copies {
		if cp.Unusable == "" && cp.Site != g.At && !slices.Contains(out, string(cp.Site)) {
			out = append(out, string(cp.Site))
		}
	}
	return dash(strings.Join(out, ","))
}

// reachText says from where a guest that moved is seen; "" where nobody waits for it.
func reachText(r failover.Reach) string {
	switch {
	case r.Needed == 0:
		return ""
	case r.Done():
		return "seen from " + strings.Join(names(r.From), ", ")
	}
	text := fmt.Sprintf("not yet: seen from %d of %d other sites", len(r.From), r.Needed)
	if r.Why != "" {
		text += " (" + r.Why + ")"
	}
	return text
}

// lineText says where one line of a guest's backups lies, and which copy makes it.
func lineText(l failover.Lineage, s style) string {
	where := "as " + l.Group + " in namespace " + l.Namespace
	if l.Namespace == "" {
		where = "as " + l.Group + ", and no place is declared for them"
	}
	text := fmt.Sprintf("of the copy on %s at %s, %s", l.Host, l.Site, where)
	if !l.Base.Time.IsZero() {
		text += ", begun from the backup of " + s.date(l.Base.Time)
	}
	if n := l.Backups.Newest; !n.IsZero() {
		text += ", the newest of " + s.date(n.Time)
	}
	if l.Backups.Note != "" {
		text += " (the last one failed: " + l.Backups.Note + ")"
	}
	if l.To.Index != 0 {
		text += ", superseded " + s.date(l.To.At)
	}
	if l.Sealed != nil {
		text += ", sealed at " + strings.Join(names(l.Sealed.Sites()), " and ") + " " + s.date(l.Sealed.At.At)
		if at := l.Sealed.Acked; at.Index != 0 {
			text += ", acknowledged " + s.date(at.At)
		}
	}
	return text
}

func (a *app) guestScreen(g api.Guest) string {
	s, v := a.show, g.Guest
	p := &page{s: s}
	p.line("%s  %s:%d of %s, priority %d", s.paint(strong, string(v.Guest)), v.Type, v.ID, v.Structure, v.Priority)

	p.field("state", fmt.Sprintf("%s since %s", v.Phase, s.date(v.Since)))
	p.field("owner", fmt.Sprintf("%s (home %s), epoch %s", dash(string(v.At)), v.Home, v.Epoch))
	p.field("serving", dash(string(v.Serving)))
	p.field("names", strings.Join(v.Names, ", "))
	p.field("reachable", reachText(v.Reach))
	p.field("left copy", a.leftCopy(v))
	p.field("operation", string(g.Op))
	if v.Ready {
		p.field("ready", "yes")
	} else {
		p.field("ready", "NO  "+a.sentence(v.NotReady))
	}
	p.field("off-site", spanOrDash(v.RPO))
	for _, w := range v.Warm {
		done := ""
		if w.Total > 0 {
			done = fmt.Sprintf(", %s of %s", message.Bytes(w.Bytes), message.Bytes(w.Total))
		}
		p.field("warm copy", fmt.Sprintf("%s at %s as %d, of %s%s", w.State, w.Site, w.VMID, s.date(w.Time), done))
	}
	if !v.WarmWhy.IsZero() {
		p.field("warm copy", a.sentence(v.WarmWhy))
	}
	for _, l := range g.Lineages {
		p.field("backups", lineText(l, s))
	}
	t := table{cols: cols("COPY AT", "TAKEN", ">AGE", ">SIZE", "VERIFIED", "~USABLE", "+VOLID")}
	for _, site := range slices.Sorted(maps.Keys(g.Points)) {
		for _, pt := range g.Points[site] {
			usable := cell{"yes", good}
			if pt.Unusable != "" {
				usable = cell{"no: " + pt.Unusable, bad}
			}
			verified := "no"
			if pt.Verified {
				verified = "yes"
			}
			t.add(c(string(site)), c(s.date(pt.Time)), c(span(g.At.Sub(pt.Time))), c(message.Bytes(pt.Size)), c(verified), usable, c(pt.Volid))
		}
	}
	if len(t.rows) > 0 {
		p.blank()
		p.raw(t.lines(s, a.g.noHeaders)...)
	}
	return p.b.String()
}
