package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/api"
	"github.com/raoull/worldwidewelsh/internal/message"
)

func reportCommand(a *app, fs *flag.FlagSet) runner {
	format := fs.String("format", "md", "`how`: md, html or json")
	structure := fs.String("for", "", "only the guests of this `structure`")
	return func(ctx context.Context, args []string) error {
		if len(args) == 0 || args[0] != "incident" {
			return usagef("want: wwwctl report incident OP")
		}
		if err := need(args[1:], 1, 1, "the operation"); err != nil {
			return err
		}
		if !slices.Contains([]string{"md", "html", "json"}, *format) {
			return usagef("--format: want md, html or json, not %q", *format)
		}
		in, err := request(ctx, a, func(ctx context.Context) (api.Incident, error) {
			return a.client.Incident(ctx, failover.OpID(args[1]), failover.StructureID(*structure))
		})
		if err != nil {
			return err
		}
		if *format == "json" || a.structured() == "json" {
			return a.printJSON(view{kind: api.KindIncident, data: in})
		}
		doc := a.incidentDocument(in.Incident, *structure)
		text := doc.markdown()
		if *format == "html" {
			if text, err = doc.html(); err != nil {
				return err
			}
		}
		a.printf("%s", text)
		return nil
	}
}

// incidentDocument tells an incident to people who were not there.
func (a *app) incidentDocument(in failover.Incident, structure string) document {
	d := document{Title: fmt.Sprintf("%s: %s of %s", in.Op, in.Kind, domain(in.Domain))}
	if structure != "" {
		d.Title += ", guests of " + structure
	}
	serving := 0
	for _, g := range in.Guests {
		if !g.Served.IsZero() {
			serving++
		}
	}
	d.Lead = []string{
		fmt.Sprintf("Network %s. Operation %s is %s: %d of %s serving. Longest out of service: %s; most written and not in a copy: %s.",
			in.Network, in.Op, in.Phase, serving, plural(len(in.Guests), "guest"), spanOrDash(in.Worst), spanOrDash(in.Loss)),
		fmt.Sprintf("Made at %s from the replicated log. Times are in %s.", a.stamp(in.Made), a.show.zone),
	}
	d.Parts = []part{a.incidentCourse(in), a.incidentGuests(in)}
	if len(in.Evidence) > 0 {
		d.Parts = append(d.Parts, a.incidentEvidence(in))
	}
	if len(in.LeftOut) > 0 {
		p := part{Heading: "Left out", Columns: []string{"guest", "priority", "why"}}
		for _, l := range in.LeftOut {
			p.Rows = append(p.Rows, []string{string(l.Guest), fmt.Sprint(l.Priority), a.said(l.Reason) + " (" + l.Reason.Code + ")"})
		}
		d.Parts = append(d.Parts, p)
	}
	return document{Title: d.Title, Lead: d.Lead, Parts: append(d.Parts, a.incidentSteps(in), a.incidentEvents(in))}
}

// stamp is a moment in a document: it is read on another day.
func (a *app) stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.In(a.show.zone).Format("2006-01-02 15:04:05")
}

func (a *app) incidentCourse(in failover.Incident) part {
	p := part{Heading: "What happened, and who agreed"}
	p.fact("first silence", "%s", a.stamp(in.Silent))
	p.fact("begun", "%s by %s", a.stamp(in.Begun), cmp.Or(in.BegunBy, "the leader"))
	p.fact("committed", "%s", a.stamp(in.Decided))
	p.fact("ended", "%s", a.stamp(in.Ended))
	p.fact("plan", "%s", in.Plan)
	switch {
	case in.Forced:
		p.fact("decided by", "a person: %s", cmp.Or(in.BegunBy, "not recorded"))
	case len(in.Approved) == 0 && !in.Decided.IsZero():
		p.fact("decided by", "the agents, with %s", plural(len(in.Evidence), "vote"))
	}
	for _, w := range in.Approved {
		p.fact("approved", "%s by %s (%s)", a.stamp(w.At), cmp.Or(w.Actor, "not recorded"), w.Code)
	}
	if !in.Cancelled.IsZero() {
		p.fact("cancelled", "%s", a.said(in.Cancelled))
	}
	if in.Bytes > 0 {
		p.fact("restored", "%s", message.Bytes(in.Bytes))
	}
	if text := preparedText(in.Prepared); text != "" {
		p.fact("prepared", "%s", text)
	}
	return p
}

// preparedText says what the preparation of an operation was good for; "": there was none.
func preparedText(p failover.Prepared) string {
	var parts []string
	for _, x := range []struct {
		n    int
		what string
	}{{p.Used, "used"}, {p.Waits, "kept, stopped"}, {p.Thrown, "thrown away"}} {
		if x.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", x.n, x.what))
		}
	}
	if len(parts) == 0 {
		return ""
	}
	text := "of the stopped copies " + strings.Join(parts, ", ")
	if p.Wasted > 0 {
		text += " (" + message.Bytes(p.Wasted) + " in vain)"
	}
	return text
}

func (a *app) incidentGuests(in failover.Incident) part {
	p := part{Heading: "Guests", Columns: []string{"guest", "structure", "went to", "served at", "out of service", "copy of", "lost", "bytes", "state"}}
	for _, g := range in.Guests {
		state := string(g.State)
		if !g.Stuck.IsZero() {
			state += ": " + a.said(g.Stuck) + " (" + g.Stuck.Code + ")"
		}
		lost := span(g.Loss)
		if g.Served.IsZero() {
			lost = "-"
		}
		p.Rows = append(p.Rows, []string{
			string(g.Guest), string(g.Structure), string(g.Target), dash(a.stamp(g.Served)), spanOrDash(g.Down), dash(a.stamp(g.Point)), lost,
			message.Bytes(g.Bytes), state,
		})
		if g.Wasted > 0 {
			p.Lines = append(p.Lines, fmt.Sprintf("%s: %s were restored at %s and thrown away", g.Guest, message.Bytes(g.Wasted), g.Target))
		}
		for _, t := range g.Tried {
			p.Lines = append(p.Lines, fmt.Sprintf("%s was tried at %s before: %s", g.Guest, t.Target, a.said(t.Reason)))
		}
	}
	return p
}

func (a *app) incidentEvidence(in failover.Incident) part {
	p := part{Heading: "Evidence", Columns: []string{"observer", "votes", "saw", "silent for", "over", "its report was"}}
	for _, v := range in.Evidence {
		saw := "something: " + strings.Join(v.Sees, ", ")
		if v.Dark {
			saw = "nothing"
		}
		if len(v.Unwell) > 0 {
			saw += " (not counted: " + strings.Join(v.Unwell, ", ") + ")"
		}
		votes := "no"
		if v.Voter {
			votes = "yes"
		}
		var paths []string
		for _, path := range v.Paths {
			paths = append(paths, string(path))
		}
		p.Rows = append(p.Rows, []string{string(v.Observer), votes, saw, span(v.Silence), dash(strings.Join(paths, ", ")), span(v.Age) + " old"})
	}
	return p
}

func (a *app) incidentSteps(in failover.Incident) part {
	p := part{Heading: "Steps", Columns: []string{"guest", "step", "state", "begun", "ended", "attempts", "bytes", "note"}}
	for _, g := range in.Guests {
		for _, st := range g.Steps {
			bytes := "-"
			if n := max(st.Total, st.Bytes); n > 0 {
				bytes = message.Bytes(n)
			}
			p.Rows = append(p.Rows, []string{
				string(g.Guest), string(st.ID), string(st.Status), dash(a.stamp(st.Begun.At)), dash(a.stamp(st.Ended.At)), fmt.Sprint(st.Attempt), bytes, st.Note,
			})
		}
	}
	return p
}

func (a *app) incidentEvents(in failover.Incident) part {
	p := part{Heading: "Events", Columns: []string{"when", "code", "what", "by"}}
	for _, e := range in.Events {
		p.Rows = append(p.Rows, []string{a.stamp(e.Stamp.At), e.Reason.Code, a.said(e.Reason), dash(e.Stamp.Actor)})
	}
	return p
}
