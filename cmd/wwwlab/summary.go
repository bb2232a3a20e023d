package main

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
)

// facts is what was observed of one pulled plug.
type facts struct {
	site    failover.SiteID // of what is without power since killed
	domain  failover.DomainID
	struck  string // what that is, for people
	planned bool   // nothing is: it is moved
	killed  time.Time
	events  []failover.Event
	op      *failover.OpView                     // the operation that answered to it; nil: none began
	moving  map[failover.GuestID]failover.SiteID // guests that had to move, with their home
	kept    map[failover.GuestID]failover.SiteID // guests that must stay where they are although something is struck beside them
	before  map[failover.GuestID][]string        // lines of data that a member read just before
	after   map[failover.GuestID][]string        // and at the end, wherever the name led
	names   []nameCheck
}

// nameCheck is one name asked at one surviving server.
type nameCheck struct {
	guest    failover.GuestID
	server   string
	agrees   bool
	observed string
}

// report is the result of a demo. Times are seconds since the plug was pulled; null
// where nothing of the kind happened.
type report struct {
	OK        bool          `json:"ok"`
	Site      string        `json:"site_killed"`
	Suspect   *float64      `json:"suspect_s"`
	Agreed    *float64      `json:"agreed_s"`
	Committed *float64      `json:"committed_s"`
	First     *float64      `json:"first_serving_s"`
	All       *float64      `json:"all_serving_s"`
	Guests    []guestReport `json:"guests"`
	DNS       bool          `json:"dns_servers_agree"`

	struck   string
	planned  bool // moved, and nothing was struck
	failures []string
	servers  int
}

// guestReport is one guest that moved.
type guestReport struct {
	Name    string   `json:"name"`
	From    string   `json:"from"`
	To      string   `json:"to"`
	Age     *float64 `json:"restore_point_age_s"` // when the plug was pulled
	Serving *float64 `json:"serving_s"`

	lost time.Duration
}

// fail notes why the demo is not ok.
func (r *report) fail(format string, args ...any) {
	r.failures = append(r.failures, fmt.Sprintf(format, args...))
	r.OK = false
}

// seconds rounds to hundredths.
func seconds(d time.Duration) *float64 {
	s := math.Round(d.Seconds()*100) / 100
	return &s
}

// summarize computes the report of what was observed.
func summarize(f facts) report {
	r := report{OK: true, Site: string(f.site), struck: f.struck, planned: f.planned, Guests: []guestReport{}, DNS: true}
	r.Suspect = f.first(failover.CodeSuspect, failover.CodeLost, failover.CodeUnreachable)
	r.Agreed = f.first(failover.CodeLost, failover.CodeUnreachable, failover.CodeHostDown)
	if f.op != nil {
		r.Committed = f.first(failover.CodeOpCommitted)
	}
	for _, g := range sortedGuests(f.moving) {
		r.guest(f, g)
	}
	r.spread()
	servers := map[string]bool{}
	for _, n := range f.names {
		servers[n.server] = true
		if !n.agrees {
			r.DNS = false
			r.fail("%s answers %s for %s", n.server, n.observed, n.guest)
		}
	}
	r.servers = len(servers)
	if r.servers == 0 {
		r.DNS = false
		r.fail("no surviving name server was asked")
	}
	if len(f.moving) == 0 && f.op != nil {
		r.fail("operation %s began although nothing had to move", f.op.ID)
	}
	return r
}

// sortedGuests returns the guests in order of their names.
func sortedGuests[V any](m map[failover.GuestID]V) []failover.GuestID {
	var all []failover.GuestID
	for g := range m {
		all = append(all, g)
	}
	slices.Sort(all)
	return all
}

// first returns when the first event with one of the codes about the dead site was
// applied, in seconds since the plug was pulled.
func (f facts) first(codes ...string) *float64 {
	for _, e := range f.events {
		if e.Site == f.site && slices.Contains(codes, e.Reason.Code) && !e.Stamp.At.Before(f.killed) && f.concerns(e) {
			return seconds(e.Stamp.At.Sub(f.killed))
		}
	}
	return nil
}

// concerns tells an event about what was struck from one about something else of its site.
func (f facts) concerns(e failover.Event) bool {
	domain := e.Reason.Args["domain"]
	return domain == "" || domain == string(cmp.Or(f.domain, failover.SiteDomain(f.site)))
}

// guest adds one guest that had to move.
func (r *report) guest(f facts, g failover.GuestID) {
	out := guestReport{Name: string(g), From: string(f.moving[g])}
	i := -1
	if f.op != nil {
		i = slices.IndexFunc(f.op.Guests, func(v failover.OpGuestView) bool { return v.Guest == g })
	}
	if i < 0 {
		r.fail("%s was not moved", g)
		r.Guests = append(r.Guests, out)
		return
	}
	v := f.op.Guests[i]
	out.To = string(v.Target)
	out.Age = seconds(v.Loss) // the plan reckons it to the beginning of the silence
	if v.Served.IsZero() {
		r.fail("%s does not serve: step %s is %s %s", g, v.Step, v.Status, v.Note)
	} else {
		out.Serving = seconds(v.Served.Sub(f.killed))
		if !v.Reach.Done() {
			r.fail("%s is restored and not reachable: seen from %d of %d other sites %s", g, len(v.Reach.From), v.Reach.Needed, v.Reach.Why)
		}
	}
	if f.planned { // what the scenario compares itself, line by line
		r.Guests = append(r.Guests, out)
		return
	}
	var err error
	if out.lost, err = lostData(f.before[g], f.after[g], f.killed); err != nil {
		r.fail("%s: %v", g, err)
	}
	r.Guests = append(r.Guests, out)
}

// spread finds the first and the last guest that came back.
func (r *report) spread() {
	for _, g := range r.Guests {
		if g.Serving == nil {
			r.All = nil
			return
		}
		if r.First == nil || *g.Serving < *r.First {
			r.First = g.Serving
		}
		if r.All == nil || *g.Serving > *r.All {
			r.All = g.Serving
		}
	}
}

// lineTime reads when a guest wrote a line: "TIME NAME NUMBER".
func lineTime(line string) (time.Time, error) {
	word, _, _ := strings.Cut(line, " ")
	at, err := time.Parse(time.RFC3339, word)
	if err != nil {
		return time.Time{}, fmt.Errorf("line of data %q has no time", line)
	}
	return at, nil
}

// lostData compares a guest's data from before the plug was pulled with what a member
// reads afterwards: how much of it is gone, from its end. What was written after the
// pull is the new copy's own. Data that is not a part of the old is an error.
func lostData(before, after []string, killed time.Time) (time.Duration, error) {
	if len(before) == 0 {
		return 0, fmt.Errorf("no data was read before")
	}
	last, err := lineTime(before[len(before)-1])
	if err != nil {
		return 0, err
	}
	had := map[string]bool{}
	for _, line := range before {
		had[line] = true
	}
	var newest time.Time
	for _, line := range after {
		at, err := lineTime(line)
		if err != nil {
			return 0, err
		}
		if at.After(killed) {
			break
		}
		if !had[line] {
			return 0, fmt.Errorf("data that was never written there: %q", line)
		}
		newest = at
	}
	if newest.IsZero() {
		return 0, fmt.Errorf("nothing of its data came back")
	}
	return max(0, last.Sub(newest)), nil
}

// print tells a person the result; the verdict is not part of it.
func (r report) print(w io.Writer) {
	text := func(s *float64) string {
		if s == nil {
			return "-"
		}
		return fmt.Sprintf("%.1f s", *s)
	}
	what := fmt.Sprintf("The plug of %s was pulled", cmp.Or(r.struck, r.Site))
	switch {
	case strings.HasPrefix(r.struck, "the line of "):
		what = strings.ToUpper(r.struck[:1]) + r.struck[1:] + " was cut"
	case r.planned:
		what = fmt.Sprintf("An operator had %s moved", r.Site)
	}
	fmt.Fprintf(w, "\n%s. Since then:\n", what)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "  suspected\t%s\n", text(r.Suspect))
	fmt.Fprintf(t, "  agreed by a majority\t%s\n", text(r.Agreed))
	fmt.Fprintf(t, "  committed\t%s\n", text(r.Committed))
	fmt.Fprintf(t, "  first service back\t%s\n", text(r.First))
	fmt.Fprintf(t, "  last service back\t%s\n", text(r.All))
	_ = t.Flush() // as any print
	if len(r.Guests) == 0 {
		fmt.Fprintf(w, "  nothing had to move: no guest lives at %s\n", r.Site)
	} else {
		fmt.Fprintln(w)
		fmt.Fprintln(t, "  GUEST\tFROM\tTO\tSERVING\tBACKUP WAS\tDATA LOST")
		for _, g := range r.Guests {
			fmt.Fprintf(t, "  %s\t%s\t%s\t%s\t%s old\t%.0f s\n", g.Name, g.From, cmp.Or(g.To, "-"), text(g.Serving), text(g.Age), g.lost.Seconds())
		}
		_ = t.Flush() // as any print
	}
	agree := "agree"
	if !r.DNS {
		agree = "DO NOT agree"
	}
	fmt.Fprintf(w, "\n  DNS: all %d surviving name servers were asked and %s\n\n", r.servers, agree)
}
