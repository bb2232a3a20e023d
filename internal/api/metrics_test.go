package api_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/api"
	"github.com/raoull/worldwidewelsh/internal/api/apitest"
)

func metricsOf(t *testing.T, b *apitest.Backend) *prometheus.Registry {
	t.Helper()
	reg := prometheus.NewPedanticRegistry()
	if err := api.RegisterMetrics(reg, b); err != nil {
		t.Fatal(err)
	}
	return reg
}

// compare checks the metrics that the text declares, and only those.
func compare(t *testing.T, reg *prometheus.Registry, text string) {
	t.Helper()
	var names []string
	for line := range strings.Lines(text) {
		if f := strings.Fields(line); len(f) > 2 && f[1] == "TYPE" {
			names = append(names, f[2])
		}
	}
	if err := testutil.GatherAndCompare(reg, strings.NewReader(text), names...); err != nil {
		t.Error(err)
	}
}

func TestMetricsLint(t *testing.T) {
	b := newBackend(t)
	if err := b.Lose(); err != nil {
		t.Fatal(err)
	}
	problems, err := testutil.GatherAndLint(metricsOf(t, b))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

func TestMetricsWithoutNetwork(t *testing.T) {
	if _, err := metricsOf(t, apitest.Empty()).Gather(); err != nil {
		t.Errorf("gather without a network: %v", err)
	}
}

func TestMetricsText(t *testing.T) {
	b := newBackend(t)
	reg := metricsOf(t, b)
	compare(t, reg, `
# HELP wwwd_automation_armed 1 when automatic failover is armed, 0 when it is paused.
# TYPE wwwd_automation_armed gauge
wwwd_automation_armed 1
# HELP wwwd_dns_in_sync 1 when the server answers as decided.
# TYPE wwwd_dns_in_sync gauge
wwwd_dns_in_sync{server="198.51.100.17:53",zone="assos.example"} 1
wwwd_dns_in_sync{server="203.0.113.17:53",zone="assos.example"} 1
# HELP wwwd_guest_away_since_timestamp_seconds Since when the guest is owned by another site than its home; 0 when it is not.
# TYPE wwwd_guest_away_since_timestamp_seconds gauge
wwwd_guest_away_since_timestamp_seconds{guest="archives"} 0
wwwd_guest_away_since_timestamp_seconds{guest="nuage"} 0
wwwd_guest_away_since_timestamp_seconds{guest="site"} 0
# HELP wwwd_guest_backup_replicas Sites other than the guest's home with a usable restore point.
# TYPE wwwd_guest_backup_replicas gauge
wwwd_guest_backup_replicas{guest="archives"} 2
wwwd_guest_backup_replicas{guest="nuage"} 2
wwwd_guest_backup_replicas{guest="site"} 2
# HELP wwwd_guest_ready 1 when the guest could be failed over now.
# TYPE wwwd_guest_ready gauge
wwwd_guest_ready{guest="nuage"} 1
wwwd_guest_ready{guest="site"} 1
# HELP wwwd_guest_rpo_objective_seconds Declared greatest loss (max_loss) of a guest that has one.
# TYPE wwwd_guest_rpo_objective_seconds gauge
wwwd_guest_rpo_objective_seconds{guest="nuage"} 86400
# HELP wwwd_operation_in_progress 1 while an operation runs.
# TYPE wwwd_operation_in_progress gauge
wwwd_operation_in_progress{kind="failback",site="fabrique"} 0
wwwd_operation_in_progress{kind="failback",site="moulin"} 0
wwwd_operation_in_progress{kind="failback",site="quai"} 0
wwwd_operation_in_progress{kind="failover",site="fabrique"} 0
wwwd_operation_in_progress{kind="failover",site="moulin"} 0
wwwd_operation_in_progress{kind="failover",site="quai"} 0
wwwd_operation_in_progress{kind="rescue",site="fabrique"} 0
wwwd_operation_in_progress{kind="rescue",site="moulin"} 0
wwwd_operation_in_progress{kind="rescue",site="quai"} 0
wwwd_operation_in_progress{kind="switchover",site="fabrique"} 0
wwwd_operation_in_progress{kind="switchover",site="moulin"} 0
wwwd_operation_in_progress{kind="switchover",site="quai"} 0
# HELP wwwd_pause_expires_timestamp_seconds End of the pause of all sites; 0 when there is none, +Inf when it ends by hand.
# TYPE wwwd_pause_expires_timestamp_seconds gauge
wwwd_pause_expires_timestamp_seconds 0
# HELP wwwd_plan_recoverable_guests Guests that would be brought back if the site died now.
# TYPE wwwd_plan_recoverable_guests gauge
wwwd_plan_recoverable_guests{site="fabrique"} 0
wwwd_plan_recoverable_guests{site="moulin"} 2
wwwd_plan_recoverable_guests{site="quai"} 0
# HELP wwwd_plan_unrecoverable_guests Guests that should be brought back and could not if the site died now.
# TYPE wwwd_plan_unrecoverable_guests gauge
wwwd_plan_unrecoverable_guests{site="fabrique"} 0
wwwd_plan_unrecoverable_guests{site="moulin"} 0
wwwd_plan_unrecoverable_guests{site="quai"} 0
# HELP wwwd_raft_has_leader 1 when a leader was heard within the lease.
# TYPE wwwd_raft_has_leader gauge
wwwd_raft_has_leader 1
# HELP wwwd_raft_peers Members of the Raft configuration.
# TYPE wwwd_raft_peers gauge
wwwd_raft_peers{suffrage="nonvoter"} 0
wwwd_raft_peers{suffrage="voter"} 3
# HELP wwwd_raft_quorum_margin Voters present beyond the majority; 0 is the edge.
# TYPE wwwd_raft_quorum_margin gauge
wwwd_raft_quorum_margin 1
# HELP wwwd_raft_state Role of this agent in Raft, 1 for the current one.
# TYPE wwwd_raft_state gauge
wwwd_raft_state{state="candidate"} 0
wwwd_raft_state{state="follower"} 0
wwwd_raft_state{state="leader"} 1
`)
}

func TestMetricsOfALoss(t *testing.T) {
	b := newBackend(t)
	reg := metricsOf(t, b)
	if err := b.Lose(); err != nil {
		t.Fatal(err)
	}
	err := b.Apply(
		failover.SetPause{Reason: "test"},
		failover.Assess{Domain: "site:moulin", Cause: failover.CauseLost, Level: failover.LevelPrepareB, Held: failover.Reason{Code: failover.CodePaused}},
		failover.BeginOp{Kind: failover.KindFailover, Domain: "site:moulin", Plan: failover.PlanFor(b.State(), failover.Loss{Site: "moulin"}, b.Now())},
	)
	if err != nil {
		t.Fatal(err)
	}
	compare(t, reg, `
# HELP wwwd_automation_armed 1 when automatic failover is armed, 0 when it is paused.
# TYPE wwwd_automation_armed gauge
wwwd_automation_armed 0
# HELP wwwd_failover_blocked 1 with the reason why something lost is not failed over.
# TYPE wwwd_failover_blocked gauge
wwwd_failover_blocked{reason="paused",site="moulin"} 1
# HELP wwwd_operation_in_progress 1 while an operation runs.
# TYPE wwwd_operation_in_progress gauge
wwwd_operation_in_progress{kind="failback",site="fabrique"} 0
wwwd_operation_in_progress{kind="failback",site="moulin"} 0
wwwd_operation_in_progress{kind="failback",site="quai"} 0
wwwd_operation_in_progress{kind="failover",site="fabrique"} 0
wwwd_operation_in_progress{kind="failover",site="moulin"} 1
wwwd_operation_in_progress{kind="failover",site="quai"} 0
wwwd_operation_in_progress{kind="rescue",site="fabrique"} 0
wwwd_operation_in_progress{kind="rescue",site="moulin"} 0
wwwd_operation_in_progress{kind="rescue",site="quai"} 0
wwwd_operation_in_progress{kind="switchover",site="fabrique"} 0
wwwd_operation_in_progress{kind="switchover",site="moulin"} 0
wwwd_operation_in_progress{kind="switchover",site="quai"} 0
# HELP wwwd_pause_expires_timestamp_seconds End of the pause of all sites; 0 when there is none, +Inf when it ends by hand.
# TYPE wwwd_pause_expires_timestamp_seconds gauge
wwwd_pause_expires_timestamp_seconds +Inf
# HELP wwwd_raft_leader_changes_total Changes of leader seen.
# TYPE wwwd_raft_leader_changes_total counter
wwwd_raft_leader_changes_total 2
`)
	if n, err := testutil.GatherAndCount(reg, "wwwd_site_state"); err != nil || n != 24 {
		t.Errorf("wwwd_site_state: got %d series, %v, want 3 sites × 8 states", n, err)
	}
}

// TestOperationsAreCountedOnce: State forgets ended operations, the counter
// must not.
func TestOperationsAreCountedOnce(t *testing.T) {
	b := newBackend(t)
	reg := metricsOf(t, b)
	want := func(n string) {
		t.Helper()
		series := ""
		for _, kind := range []string{"failback", "failover", "rescue", "switchover"} {
			for _, result := range []string{"cancelled", "failed", "ok", "partial"} {
				for _, site := range []string{"fabrique", "moulin", "quai"} {
					value := "0"
					if kind == "failover" && result == "cancelled" && site == "moulin" {
						value = n
					}
					series += fmt.Sprintf("wwwd_operations_total{kind=%q,result=%q,site=%q} %s\n", kind, result, site, value)
				}
			}
		}
		for range 2 { // a second scrape must not count again
			compare(t, reg, `
# HELP wwwd_operations_total Ended operations by result: ok, partial, failed, cancelled.
# TYPE wwwd_operations_total counter
`+series+``)
		}
	}
	want("0")
	for i, n := range []string{"1", "2"} {
		plan := failover.PlanFor(b.State(), failover.Loss{Site: "moulin", ByHand: true}, b.Now())
		if err := b.Apply(failover.BeginOp{Kind: failover.KindFailover, Domain: "site:moulin", Plan: plan}); err != nil {
			t.Fatal(err)
		}
		var id failover.OpID
		for op, o := range b.State().Ops {
			if !o.Phase.Ended() {
				id = op
			}
		}
		if err := b.Apply(failover.CancelOp{Op: id}, failover.EndOp{Op: id}); err != nil {
			t.Fatalf("round %d: %v", i, err)
		}
		want(n)
	}
	if n, err := testutil.GatherAndCount(reg, "wwwd_operation_duration_seconds"); err != nil || n != 1 {
		t.Errorf("wwwd_operation_duration_seconds: %d series, %v, want that of failovers", n, err)
	}
}

// TestEveryHoldIsAMetric: whatever holds a failover back is a value of the label
// reason, by a word of its own.
func TestEveryHoldIsAMetric(t *testing.T) {
	words := map[string]string{}
	for _, code := range failover.HoldCodes() {
		b := newBackend(t)
		if err := b.Lose(); err != nil {
			t.Fatal(err)
		}
		held := failover.Assess{
			Domain: "site:moulin", Cause: failover.CauseLost, Level: failover.LevelPrepareB, Held: failover.Reason{Code: code},
		}
		if err := b.Apply(held); err != nil {
			t.Fatal(err)
		}
		families, err := metricsOf(t, b).Gather()
		if err != nil {
			t.Fatal(err)
		}
		word := ""
		for _, f := range families {
			if f.GetName() != "wwwd_failover_blocked" {
				continue
			}
			for _, l := range f.GetMetric()[0].GetLabel() {
				if l.GetName() == "reason" {
					word = l.GetValue()
				}
			}
		}
		if code == failover.CodeNothing { // there is nothing to fail over
			if word != "" {
				t.Errorf("%s is told as %q", code, word)
			}
			continue
		}
		if word == "" || strings.HasPrefix(word, "WWW-") || words[word] != "" {
			t.Errorf("%s is told as %q, also used by %q; want a word of its own", code, word, words[word])
		}
		words[word] = code
	}
}

// TestMetricsOfLimits: maintenance and exclusion are told while they last.
func TestMetricsOfLimits(t *testing.T) {
	b := newBackend(t)
	if err := b.Apply(failover.BeginMaintenance{Domain: "site:moulin", For: time.Hour}, failover.ExcludeObserver{Site: "quai", For: time.Hour}); err != nil {
		t.Fatal(err)
	}
	compare(t, metricsOf(t, b), `
# HELP wwwd_maintenance_expires_timestamp_seconds End of the maintenance of a site, its own or of one of its hosts; 0 when there is none.
# TYPE wwwd_maintenance_expires_timestamp_seconds gauge
wwwd_maintenance_expires_timestamp_seconds{site="fabrique"} 0
wwwd_maintenance_expires_timestamp_seconds{site="moulin"} 1.795319891e+09
wwwd_maintenance_expires_timestamp_seconds{site="quai"} 0
# HELP wwwd_observer_excluded 1 while an operator does not let the site's agent count as an observer.
# TYPE wwwd_observer_excluded gauge
wwwd_observer_excluded{site="fabrique"} 0
wwwd_observer_excluded{site="moulin"} 0
wwwd_observer_excluded{site="quai"} 1
`)
}
