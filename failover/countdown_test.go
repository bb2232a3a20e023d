package failover_test

import (
	"slices"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
)

// TestCountdownIsOfWhatCommitsByItself: status counts down to what automation
// will do, and says what cancels it; never to what a person, a pause or a host
// in maintenance holds.
func TestCountdownIsOfWhatCommitsByItself(t *testing.T) {
	const silence = 50 * time.Second
	for _, tt := range []struct {
		name  string
		lost  failover.SiteID
		holds failover.Command
		want  time.Duration
	}{
		{"mode auto", "moulin", nil, 250 * time.Second},
		{"mode ask", "quai", nil, 0},
		{"paused", "moulin", failover.SetPause{Site: "moulin"}, 0},
		{"all paused", "moulin", failover.SetPause{}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := moulinReady(t)
			l.now = l.now.Add(time.Minute)
			l.dark(silence, tt.lost)
			l.settle()
			if _, running := l.s.OpFor(failover.SiteDomain(tt.lost)); !running {
				t.Fatal("no operation")
			}
			if tt.holds != nil {
				l.must(tt.holds)
			}
			st := failover.Explain(l.s, failover.LocalView{Site: "temoin", HasLeader: true}, l.now)
			i := slices.IndexFunc(st.Sites, func(v failover.SiteView) bool { return v.Site == tt.lost })
			if got := st.Sites[i].CommitAt; got != tt.want {
				t.Errorf("commits in %s, want %s", got, tt.want)
			}
			told := slices.ContainsFunc(st.Notices, func(r failover.Reason) bool {
				return r.Code == failover.CodeCountdown && r.Args["in"] == tt.want.String()
			})
			if told != (tt.want > 0) {
				t.Errorf("told of a countdown: %v, in %v", told, st.Notices)
			}
			for _, h := range st.Sites[i].Hosts {
				if h.Cause != failover.CauseUnknown {
					t.Errorf("host %s of the lost site is %s, want unknown: nobody sees it", h.Host, h.Cause)
				}
			}
		})
	}
}

// TestWithoutALeaderNothingIsKnown: an agent that is cut off counts the voters
// that it reaches itself, and soon calls no site up that it only remembers.
func TestWithoutALeaderNothingIsKnown(t *testing.T) {
	l := moulinReady(t)
	l.dark(0)
	for _, tt := range []struct {
		local   failover.LocalView
		state   string
		present int
	}{
		{failover.LocalView{Site: "moulin", HasLeader: true}, "up", 5},
		{failover.LocalView{Site: "moulin", LastContact: 4 * time.Second, Reachable: []failover.SiteID{"quai"}}, "up", 2}, // an election
		{failover.LocalView{Site: "moulin", LastContact: failover.VoteAge + time.Second}, "unknown", 1},
		{failover.LocalView{Site: "moulin"}, "unknown", 1}, // none since it started
	} {
		st := failover.Explain(l.s, tt.local, l.now)
		if st.Quorum.Present != tt.present {
			t.Errorf("%+v: %d voters present, want %d", tt.local, st.Quorum.Present, tt.present)
		}
		for _, row := range st.Sites {
			seen := row.SeenBy > 0 || row.PublicOK == "ok" || slices.ContainsFunc(row.Hosts, func(h failover.HostView) bool { return h.Cause != failover.CauseUnknown })
			if row.State != tt.state || seen != (tt.state == "up") {
				t.Errorf("%+v: %+v, want %s", tt.local, row, tt.state)
			}
		}
	}
}
