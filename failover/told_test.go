package failover_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
)

// TestTold: whoever tells something second is refused, a reminder counts on, and what is over is
// told anew when it comes again.
func TestTold(t *testing.T) {
	l := newLog(t)
	for _, site := range []failover.SiteID{"quai", "halle"} {
		if err := l.apply(failover.SetMember{Site: site, ServerID: string(site)}); err != nil {
			t.Fatal(err)
		}
	}
	lost := failover.Told{Key: "site:moulin:lost", By: "quai", Site: "moulin", Reason: failover.Reason{Code: failover.CodeLost, Args: map[string]string{"domain": "site:moulin"}}}
	with := func(change func(*failover.Told)) failover.Told {
		c := lost
		change(&c)
		return c
	}
	for _, step := range []struct {
		name string
		c    failover.Told
		code string // of the refusal
	}{
		{"over before it was told", with(func(c *failover.Told) { c.Over = true }), failover.CodeDuplicate},
		{"first", lost, ""},
		{"by another agent, at the same moment", with(func(c *failover.Told) { c.By = "halle" }), failover.CodeDuplicate},
		{"first reminder", with(func(c *failover.Told) { c.By, c.Stage = "halle", 1 }), ""},
		{"the same reminder", with(func(c *failover.Told) { c.Stage = 1 }), failover.CodeDuplicate},
		{"over", with(func(c *failover.Told) { c.Over, c.Failed = true, []string{"sms"} }), ""},
		{"over again", with(func(c *failover.Told) { c.Over = true }), failover.CodeDuplicate},
		{"again", lost, ""},
		{"by nobody", with(func(c *failover.Told) { c.By = "ailleurs" }), failover.CodeUnknownSite},
		{"of nothing", with(func(c *failover.Told) { c.Key = "" }), failover.CodeInvalid},
	} {
		l.now = l.now.Add(time.Minute)
		err := l.apply(step.c)
		rejected, _ := errors.AsType[*failover.RejectedError](err)
		if got := ""; rejected != nil {
			if got = rejected.Reason.Code; got != step.code {
				t.Errorf("%s: refused with %s, want %q", step.name, got, step.code)
			}
		} else if step.code != "" {
			t.Errorf("%s: not refused, want %s", step.name, step.code)
		}
		if step.name == "first reminder" {
			if n := l.s.Told[lost.Key]; n.Stage != 1 || n.By != "halle" || !n.First.Equal(start.Add(2*time.Minute)) {
				t.Errorf("%s: %+v, want stage 1 by halle, first told at the second entry", step.name, n)
			}
		}
	}
	last := l.s.Events[len(l.s.Events)-2]
	if last.Reason.Code != failover.CodeToldOver || last.Reason.Args["failed"] != "sms" || last.Reason.Args["about"] != "moulin" {
		t.Errorf("event %+v, want that it is over, with the channel that failed", last)
	}
}

// TestToldIsBounded: the oldest is forgotten.
func TestToldIsBounded(t *testing.T) {
	s := failover.NewState()
	s.Members["quai"] = failover.Member{ServerID: "q"}
	for i := range failover.MaxTold + 5 {
		c := failover.Told{Key: fmt.Sprint("op:", i), By: "quai", Reason: failover.Reason{Code: failover.CodeOpCommitted}}
		if err := s.Apply(failover.Stamp{Index: uint64(i + 1), Term: 1, At: start}, c); err != nil {
			t.Fatal(err)
		}
	}
	if _, kept := s.Told["op:4"]; len(s.Told) != failover.MaxTold || kept {
		t.Errorf("%d are remembered, the fifth among them: %v; want %d without it", len(s.Told), kept, failover.MaxTold)
	}
}

// TestStatusTellsWhatTheRouterAnswers: what is wrong there stands on the screen of its site, cut off or not.
func TestStatusTellsWhatTheRouterAnswers(t *testing.T) {
	l := newLog(t)
	spec := fiveSites()
	l.boot(spec.WithDefaults())
	wrong := failover.Reason{Code: "WWW-2173", Args: map[string]string{"names": "nuage.example"}}
	for _, local := range []failover.LocalView{
		{Site: "quai", HasLeader: true, Names: []failover.Reason{wrong}}, {Site: "quai", LastContact: time.Hour, Names: []failover.Reason{wrong}},
	} {
		st := failover.Explain(l.s, local, l.now)
		if !slices.ContainsFunc(st.Notices, func(r failover.Reason) bool { return r.Code == wrong.Code && r.Args["names"] == "nuage.example" }) {
			t.Errorf("%s: notices %+v", st.Headline, st.Notices)
		}
	}
}

// TestStatusNamesAChannelThatFails: with the reason, among the notices of that agent.
func TestStatusNamesAChannelThatFails(t *testing.T) {
	l := newLog(t)
	spec := fiveSites()
	l.boot(spec.WithDefaults())
	local := failover.LocalView{Site: "quai", HasLeader: true, Channels: []failover.ChannelView{{Name: "mail"}, {Name: "sms", Failing: "HTTP 402", Waiting: 2}}}
	var got []failover.Reason
	for _, r := range failover.Explain(l.s, local, l.now).Notices {
		if r.Code == failover.CodeChannelFails {
			got = append(got, r)
		}
	}
	if len(got) != 1 || got[0].Args["channel"] != "sms" || got[0].Args["why"] != "HTTP 402" {
		t.Errorf("notices of channels: %+v, want one of sms", got)
	}
}
