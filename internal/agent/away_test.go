package agent_test

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/agent"
	"github.com/raoull/worldwidewelsh/internal/lab"
	"github.com/raoull/worldwidewelsh/internal/network"
	"github.com/raoull/worldwidewelsh/internal/proxmox"
)

// awayRig is a rig whose guest lives at the target, and the agent that backs it up.
type awayRig struct {
	*rig
	away *agent.Away
}

func awaySpec() *network.Spec {
	s := spec()
	h := s.Sites[away].Hosts["pve-quai"]
	h.Lineages = map[network.SiteID]network.LineageStorages{home: {Away: "pbs-away", Sealed: "pbs-sealed"}}
	s.Sites[away].Hosts["pve-quai"] = h
	return s
}

func newAwayRig(t *testing.T) *awayRig {
	t.Helper()
	r := &awayRig{rig: newRigOf(t, "9.2.1", encrypted, func(c *lab.PVEConfig) {
		e := c.Storages[1]
		e.ID, e.Namespace = "pbs-away", "away/moulin"
		c.Storages = append(c.Storages, e)
	})}
	r.beginWith(awaySpec(), "vm/1101")
	r.until("nothing left")
	r.must(failover.EndOp{Op: r.op().ID})
	r.again()
	return r
}

// again makes a new agent, as a new process has it.
func (r *awayRig) again() {
	r.t.Helper()
	pve, err := proxmox.NewPVE(proxmox.Config{
		URL: "https://10.30.1.20:8006", Node: "pve-quai", TokenID: token, Secret: proxmox.NewSecret(pass), Transport: r.rig,
	})
	if err != nil {
		r.t.Fatal(err)
	}
	r.away = &agent.Away{Site: away, Log: r.log, PVE: pve, Clock: &agent.LogClock{}, Logger: slog.New(slog.DiscardHandler)}
}

func (r *awayRig) backups() failover.Backups {
	l, _ := r.log.state.LineageNow(guest)
	return l.Backups
}

// steps has the agent work until a condition holds.
func (r *awayRig) steps(what string, holds func() bool) {
	r.t.Helper()
	for range 300 {
		if holds() {
			return
		}
		next := r.away.Step(r.t.Context(), r.now)
		r.later(max(next.Sub(r.now), 100*time.Millisecond))
	}
	r.t.Fatalf("never: %s; the log has %+v; requests %v", what, r.backups(), r.requests)
}

func (r *awayRig) dumps() int { return r.count("POST", "/vzdump") }

// TestAwayGuestIsBackedUp: at once, into the entry of its lineage, then a day later again.
func TestAwayGuestIsBackedUp(t *testing.T) {
	r := newAwayRig(t)
	for n := 1; n <= 2; n++ {
		before := r.backups().Newest.Time
		r.steps(fmt.Sprintf("backup %d", n), func() bool { return r.backups().Newest.Time.After(before) })
		got := r.backups()
		if want := fmt.Sprintf("pbs-away:backup/vm/%d/", vmid); !strings.HasPrefix(got.Newest.Volid, want) || got.Newest.Namespace != "away/moulin" || got.Fails != 0 {
			t.Errorf("the log has %+v, want one in %s", got, want)
		}
		if r.dumps() != n {
			t.Errorf("%d backups were asked for, want %d", r.dumps(), n)
		}
		if n == 1 {
			r.later(23 * time.Hour)
			r.away.Step(t.Context(), r.now)
			if r.dumps() != 1 {
				t.Error("it was backed up again before its time")
			}
		}
	}
}

// TestAwayBackupIsMadeOnce: whatever stops the agent in the middle of it, and whichever
// answer is lost, one backup is asked for.
func TestAwayBackupIsMadeOnce(t *testing.T) {
	for _, tt := range []struct {
		name string
		stop func(r *awayRig) bool
	}{
		{"after its claim", func(r *awayRig) bool { return r.backups().Running() }},
		{"after its request", func(r *awayRig) bool { return r.dumps() == 1 }},
		{"after its end", func(r *awayRig) bool {
			if r.dumps() == 0 {
				return false
			}
			r.later(time.Minute)
			return true
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newAwayRig(t)
			r.steps(tt.name, func() bool { return tt.stop(r) })
			r.again()
			r.steps("the backup", func() bool { return !r.backups().Newest.IsZero() })
			if r.dumps() != 1 {
				t.Errorf("%d backups were asked for, want 1", r.dumps())
			}
		})
	}
	t.Run("the answer is lost", func(t *testing.T) {
		r := newAwayRig(t)
		if err := r.faults.Add(lab.Fault{Where: "pve", Match: lab.Match{Method: "POST", Path: "*/vzdump"}, Effect: lab.EffectDropReply, Times: 1}); err != nil {
			t.Fatal(err)
		}
		r.steps("the backup", func() bool { return !r.backups().Newest.IsZero() })
		if r.dumps() != 1 {
			t.Errorf("%d backups were asked for, want 1", r.dumps())
		}
	})
}

// TestAwayBackupFails: it is told, and tried again.
func TestAwayBackupFails(t *testing.T) {
	r := newAwayRig(t)
	bad := true
	r.answer = func(path string) (int, string) {
		if bad && strings.HasSuffix(path, "/vzdump") {
			return 500, ""
		}
		return 0, ""
	}
	r.steps("a failure", func() bool { return r.backups().Fails == 1 })
	if got := r.backups(); got.Note == "" || got.Running() {
		t.Errorf("the log has %+v, want a failure with its cause", got)
	}
	bad = false
	r.steps("the backup", func() bool { return !r.backups().Newest.IsZero() })
	if got := r.backups(); got.Fails != 0 || got.Note != "" {
		t.Errorf("the log has %+v, want no failure any more", got)
	}
}

// TestReadinessTellsOfTheLineageThatCounts: of a guest that has moved, the backups of its
// copy beside those of home, each line by itself.
func TestReadinessTellsOfTheLineageThatCounts(t *testing.T) {
	r := newAwayRig(t)
	for n := range 2 {
		before := r.backups().Newest.Time
		r.steps(fmt.Sprintf("backup %d", n), func() bool { return r.backups().Newest.Time.After(before) })
		r.later(25 * time.Hour)
	}
	r.pass(r.readiness(), 40*time.Second)
	current, older := r.log.state.PointsAt(guest, away)
	if len(current) != 2 || len(older) != 1 || current[0].Unusable != "" || !current[0].Time.After(older[0].Time) {
		t.Errorf("of the copy that counts %+v, of home %+v; want two and one", current, older)
	}
	if current[0].Memory == 0 {
		t.Error("the newest was not opened: its memory is not known")
	}
}

// TestAwayGuestStartsAgain: after a power cut its host comes back and leaves it off.
func TestAwayGuestStartsAgain(t *testing.T) {
	r := newAwayRig(t)
	p := r.log.state.Guests[guest]
	r.pve.PowerLoss(r.now)
	r.later(time.Minute)
	r.pve.PowerOn(r.now)
	r.later(time.Minute)
	if g, _ := r.pve.Guest(vmid); g.Running {
		t.Fatal("it has started with its host")
	}
	seen := failover.Copy{Guest: guest, Place: p.Now(), Booted: r.now.Add(-time.Minute)}
	r.must(failover.ReportCopies{Copies: failover.SiteCopies{Site: away, Copies: []failover.Copy{seen}, AsOf: r.log.state.Index}})
	r.must(failover.BeginWake{Guest: guest})
	r.when("it runs", func() bool { g, _ := r.pve.Guest(vmid); return g.Running })
	r.until("nothing left")
	if r.count("POST", "/status/start") != 2 {
		t.Errorf("it was started %d times, want twice in all", r.count("POST", "/status/start"))
	}
}
