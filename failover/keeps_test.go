package failover_test

import (
	"errors"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/network"
)

// A network that takes votes or the last copies of guests away is refused by the
// log itself, whoever proposes it; what may be given up has to be named.
func TestNetworkKeepsVotersAndReplicas(t *testing.T) {
	without := func(site network.SiteID) func(*network.Spec) {
		return func(s *network.Spec) { delete(s.Sites, site) }
	}
	change := func(words ...string) func(*network.Spec) {
		return func(s *network.Spec) {
			for _, w := range words {
				if err := tweak(s, w); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	source := func(site network.SiteID, entries ...string) func(*network.Spec) {
		return func(s *network.Spec) {
			h := s.Sites[site].Hosts["raoull-"+network.HostID(site)]
			h.Sources = map[network.SiteID][]string{"moulin": entries}
			s.Sites[site].Hosts["raoull-"+network.HostID(site)] = h
		}
	}
	const guest = "nextcloud-moulin"
	holds := func(l *log, site failover.SiteID, unusable string) {
		pt := restorePoint(guest, l.now.Add(-time.Hour), 1<<30)
		pt.Storage, pt.Unusable = "pbs-moulin", unusable
		l.must(failover.ReportReadiness{Ready: failover.Readiness{
			Site: site, Points: map[failover.GuestID][]failover.RestorePoint{guest: {pt}},
		}})
	}
	one := func(l *log) { holds(l, "quai", "") }
	two := func(l *log) { holds(l, "quai", ""); holds(l, "fabrique", "") }
	for _, c := range []struct {
		name      string
		before    func(*log)
		change    func(*network.Spec)
		confirmed []failover.SiteID
		want      string // code; "" is taken
		site      string // that the refusal names
	}{
		{"a voter's site", nil, without("halle"), nil, failover.CodeDropsVoter, "halle"},
		{"naming it is not enough", nil, without("halle"), []failover.SiteID{"halle"}, failover.CodeDropsVoter, "halle"},
		{"its vote was taken", func(l *log) { l.must(member("halle", false)) }, without("halle"), nil, "", ""},
		{"it was removed", func(l *log) { l.must(failover.RemoveMember{Site: "halle"}) }, without("halle"), nil, "", ""},
		{"one copy of two", two, change("quai.restore=none"), nil, "", ""},
		{"the last copy", one, change("quai.restore=none"), nil, failover.CodeDropsReplica, "quai"},
		{"named", one, change("quai.restore=none"), []failover.SiteID{"quai"}, "", ""},
		{"another named", one, change("quai.restore=none"), []failover.SiteID{"fabrique"}, failover.CodeDropsReplica, "quai"},
		{"both copies", two, change("quai.restore=none", "fabrique.restore=none"), []failover.SiteID{"fabrique"}, failover.CodeDropsReplica, "quai"},
		{"its storage entry", one, source("quai", "pbs-other"), nil, failover.CodeDropsReplica, "quai"},
		{"another storage entry", one, source("quai", "pbs-moulin"), nil, "", ""},
		{"the other copy is no use", func(l *log) { two(l); holds(l, "fabrique", "key") }, change("quai.restore=none"), nil, failover.CodeDropsReplica, "quai"},
		{"it is no use itself", func(l *log) { holds(l, "quai", "key") }, change("quai.restore=none"), nil, "", ""},
		{"at home", func(l *log) { holds(l, "moulin", "") }, change("moulin.restore=none"), nil, "", ""},
		{"the guest goes too", one, change("quai.restore=none", guest+".priority=4"), nil, "", ""},
		{"the guest moves house", one, change("quai.restore=none", guest+".host=pve-fabrique"), nil, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLog(t)
			first := fiveSites()
			if c.name == "its storage entry" {
				source("quai", "pbs-moulin", "pbs-other")(&first)
			}
			l.boot(first.WithDefaults())
			if c.before != nil {
				c.before(l)
			}
			spec := fiveSites()
			c.change(&spec)
			cmd := failover.ApplyNetwork{Spec: spec.WithDefaults(), IfVersion: l.s.NetworkVersion, Confirmed: c.confirmed}
			foretold := l.s.MayApply(cmd)
			err := l.apply(cmd)
			if (foretold == nil) != (err == nil) {
				t.Errorf("foretold %v, then %v", foretold, err)
			}
			refused, _ := errors.AsType[*failover.RejectedError](err)
			switch {
			case c.want == "" && err != nil:
				t.Errorf("refused: %v", err)
			case c.want != "" && (refused == nil || refused.Reason.Code != c.want || refused.Reason.Args["site"] != c.site):
				t.Errorf("got %v, want %s of %s", err, c.want, c.site)
			}
		})
	}
}
