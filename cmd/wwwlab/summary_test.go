package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/raoull/worldwidewelsh/failover"
)

// pulled is when the plug of the tests is pulled.
var pulled = time.Date(2026, 11, 22, 3, 0, 0, 0, time.UTC)

func after(s float64) time.Time { return pulled.Add(time.Duration(s * float64(time.Second))) }

func event(s float64, code, domain string) failover.Event {
	return failover.Event{
		Stamp: failover.Stamp{At: after(s)}, Site: "moulin",
		Reason: failover.Reason{Code: code, Args: map[string]string{"domain": domain}},
	}
}

// lines are what a guest has written from one second to another, each numbered.
func lines(from, to int) []string {
	var out []string
	for n := from; n <= to; n++ {
		out = append(out, fmt.Sprintf("%s g %d", pulled.Add(time.Duration(n)*time.Second).Format(time.RFC3339), n+100))
	}
	return out
}

// goodRun is a run in which two guests moved as they should.
func goodRun() facts {
	return facts{
		site: "moulin", killed: pulled,
		events: []failover.Event{
			event(-3, failover.CodeSuspect, "site:moulin"), // of an earlier day
			event(5, failover.CodeLost, "host:pve-moulin"), // of a host
			event(6.25, failover.CodeSuspect, "site:moulin"),
			event(7, failover.CodeLost, "site:moulin"),
			event(8, failover.CodeLost, "site:moulin"),
			event(16, failover.CodeOpCommitted, ""),
		},
		op: &failover.OpView{
			ID: "op-9", Begun: after(9),
			Guests: []failover.OpGuestView{
				{Guest: "a", Target: "quai", Loss: 10 * time.Second, Served: after(20)},
				{Guest: "b", Target: "fabrique", Loss: 20 * time.Second, Served: after(24)},
			},
		},
		moving: map[failover.GuestID]failover.SiteID{"a": "moulin", "b": "moulin"},
		before: map[failover.GuestID][]string{"a": lines(-60, -1), "b": lines(-60, -1)},
		after: map[failover.GuestID][]string{
			"a": append(lines(-60, -10), lines(17, 20)...), "b": append(lines(-60, -20), lines(20, 22)...),
		},
		names: []nameCheck{{guest: "a", server: "quai", agrees: true}, {guest: "a", server: "halle", agrees: true}},
	}
}

func TestSummaryOfAGoodRun(t *testing.T) {
	r := summarize(goodRun())
	got, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"ok":true,"site_killed":"moulin","suspect_s":6.25,"agreed_s":7,"committed_s":16,"first_serving_s":20,"all_serving_s":24,` +
		`"guests":[{"name":"a","from":"moulin","to":"quai","restore_point_age_s":10,"serving_s":20},` +
		`{"name":"b","from":"moulin","to":"fabrique","restore_point_age_s":20,"serving_s":24}],"dns_servers_agree":true}`
	if string(got) != want {
		t.Errorf("summary (-want +got):\n%s", cmp.Diff(want, string(got)))
	}
	if r.Guests[0].lost != 9*time.Second || r.Guests[1].lost != 19*time.Second {
		t.Errorf("data lost: %s and %s, want 9s and 19s", r.Guests[0].lost, r.Guests[1].lost)
	}
	var text strings.Builder
	r.print(&text)
	for _, want := range []string{"committed             16.0 s", "9 s", "19 s", "all 2 surviving name servers were asked and agree"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("the printed summary lacks %q:\n%s", want, text.String())
		}
	}
}

func TestSummaryWhereNothingMoves(t *testing.T) {
	f := facts{
		site: "moulin", killed: pulled,
		events: []failover.Event{event(6, failover.CodeSuspect, ""), event(7, failover.CodeUnreachable, "site:moulin")},
		names:  []nameCheck{{guest: "a", server: "quai", agrees: true}},
	}
	got, err := json.Marshal(summarize(f))
	if err != nil {
		t.Fatal(err)
	}
	want := `{"ok":true,"site_killed":"moulin","suspect_s":6,"agreed_s":7,"committed_s":null,"first_serving_s":null,"all_serving_s":null,"guests":[],"dns_servers_agree":true}`
	if string(got) != want {
		t.Errorf("summary (-want +got):\n%s", cmp.Diff(want, string(got)))
	}
}

func TestSummaryOfABadRun(t *testing.T) {
	for name, test := range map[string]struct {
		spoil func(*facts)
		says  string
	}{
		"a guest was left behind":      {func(f *facts) { f.op.Guests = f.op.Guests[:1] }, "b was not moved"},
		"no operation":                 {func(f *facts) { f.op = nil }, "a was not moved"},
		"a guest hangs":                {func(f *facts) { f.op.Guests[1].Served, f.op.Guests[1].Step = time.Time{}, "check" }, "b does not serve: step check"},
		"a name server disagrees":      {func(f *facts) { f.names[1].agrees, f.names[1].observed = false, "127.0.0.9" }, "halle answers 127.0.0.9"},
		"nobody was asked":             {func(f *facts) { f.names = nil }, "no surviving name server"},
		"the data is another's":        {func(f *facts) { f.after["a"] = lines(-200, -150) }, "never written there"},
		"no data came back":            {func(f *facts) { f.after["a"] = lines(17, 20) }, "nothing of its data"},
		"the page was not read":        {func(f *facts) { delete(f.after, "b") }, "b: nothing of its data"},
		"something moved that may not": {func(f *facts) { f.moving = nil }, "began although nothing had to move"},
	} {
		t.Run(name, func(t *testing.T) {
			f := goodRun()
			test.spoil(&f)
			r := summarize(f)
			if r.OK || !strings.Contains(strings.Join(r.failures, "; "), test.says) {
				t.Errorf("ok %t, failures %q; want a failure with %q", r.OK, r.failures, test.says)
			}
		})
	}
}

func TestLostData(t *testing.T) {
	for name, test := range map[string]struct {
		before, after []string
		want          time.Duration
		fails         bool
	}{
		"nothing lost":               {before: lines(-9, -1), after: lines(-9, -1), want: 0},
		"five seconds":               {before: lines(-9, -1), after: append(lines(-9, -6), lines(5, 9)...), want: 5 * time.Second},
		"old lines rotated away":     {before: lines(-9, -1), after: lines(-5, -3), want: 2 * time.Second},
		"never read before":          {after: lines(-9, -1), fails: true},
		"not lines of data":          {before: lines(-9, -1), after: []string{"<html>"}, fails: true},
		"not lines of data before":   {before: []string{"<html>"}, after: lines(-9, -1), fails: true},
		"only what the new one made": {before: lines(-9, -1), after: lines(3, 5), fails: true},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := lostData(test.before, test.after, pulled)
			if got != test.want || (err != nil) != test.fails {
				t.Errorf("lostData = %s, %v; want %s, error %t", got, err, test.want, test.fails)
			}
		})
	}
}

func TestQuantile(t *testing.T) {
	v := []float64{5, 1, 4, 2, 3}
	for q, want := range map[float64]float64{0: 1, 0.5: 3, 0.99: 5, 1: 5, 0.2: 1} {
		if got := quantile(v, q); got != want {
			t.Errorf("quantile(%v, %v) = %v, want %v", v, q, got, want)
		}
	}
	if got := quantile([]float64{7}, 0.99); got != 7 {
		t.Errorf("quantile of one value = %v, want it", got)
	}
	if got := quantile(nil, 0.5); got == got { //nolint:staticcheck // NaN is the one number that differs from itself
		t.Errorf("quantile of nothing = %v, want NaN", got)
	}
}

func TestParseStat(t *testing.T) {
	const good = "4711 (a (b) c) S 1 2 3 4 5 6 7 8 9 10 250 50 13 14 15 16 17 18 19 20 1000 22 23"
	rss, cpu, err := parseStat(good, 4096)
	if err != nil || rss != 1000*4096 || cpu != 3 {
		t.Errorf("parseStat = %d bytes, %v s, %v; want 4096000, 3, nil", rss, cpu, err)
	}
	for _, bad := range []string{"", "4711 (a", "4711 (a) S 1 2 3", strings.Replace(good, "250", "x", 1)} {
		if _, _, err := parseStat(bad, 4096); err == nil {
			t.Errorf("parseStat(%q) succeeded", bad)
		}
	}
}

func TestLacks(t *testing.T) {
	sound := func() failover.Status {
		s := failover.Status{Leader: "a", Local: failover.LocalView{HasLeader: true}, Quorum: failover.Quorum{Voters: 3, Present: 3}}
		for _, id := range []failover.SiteID{"a", "b", "c"} {
			s.Sites = append(s.Sites, failover.SiteView{Site: id, State: "up", Ready: 3, Guests: 3})
		}
		s.Zones = []failover.ZoneView{{Zone: "z", InSync: true}}
		return s
	}
	if got := lacks(sound(), 3); len(got) > 0 {
		t.Errorf("a sound network lacks %q", got)
	}
	for name, test := range map[string]struct {
		spoil func(*failover.Status)
		says  string
	}{
		"no leader":      {func(s *failover.Status) { s.Local.HasLeader = false }, "no leader"},
		"a voter is off": {func(s *failover.Status) { s.Quorum.Present = 2 }, "2 of 3 voters"},
		"suspect":        {func(s *failover.Status) { s.Sites[1].State = "suspect" }, "b is suspect"},
		"no copies":      {func(s *failover.Status) { s.Sites[2].Ready = 1 }, "c 1/3"},
		"zone":           {func(s *failover.Status) { s.Zones[0].InSync = false }, "zone z"},
		"a site missing": {func(s *failover.Status) { s.Sites = s.Sites[:2] }, "2 of 3 sites"},
	} {
		t.Run(name, func(t *testing.T) {
			s := sound()
			test.spoil(&s)
			if got := strings.Join(lacks(s, 3), "; "); !strings.Contains(got, test.says) {
				t.Errorf("lacks %q, want something with %q", got, test.says)
			}
		})
	}
}

func TestVoters(t *testing.T) {
	for n, want := range map[int]int{3: 3, 4: 3, 5: 5, 6: 5, 18: 5} {
		if got := voters(n); got != want {
			t.Errorf("voters(%d) = %d, want %d", n, got, want)
		}
	}
}
