package sim_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/lab"
	"github.com/raoull/worldwidewelsh/internal/sim"
)

// seeds returns how many seeds a test runs: fewer with -short or -race.
func seeds(full, short int) uint64 {
	if testing.Short() || raced {
		return uint64(short)
	}
	return uint64(full)
}

// stride is how many of the enumerated crash points are passed over. Nothing in
// here runs beside anything else: the race detector is given a sample.
func stride() int { return int(seeds(1, 47)) }

// sampled says whether the n-th of a list of scenarios is played: under the
// race detector one in twenty is.
func sampled(n int) bool { return seeds(1, 0) == 1 || n%20 == 0 }

// scenarios are the incidents that are told step by step.
func scenarios() map[string]func() sim.Scenario {
	return map[string]func() sim.Scenario{
		"main job, moulin":          func() sim.Scenario { return sim.SiteKilled("moulin") },
		"main job, fabrique":        func() sim.Scenario { return sim.SiteKilled("fabrique") },
		"main job, quai":            func() sim.Scenario { return sim.SiteKilled("quai") },
		"leader killed":             sim.LeaderKilled,
		"returns before commit":     func() sim.Scenario { return sim.Returns(20 * time.Second) },
		"returns after preparation": func() sim.Scenario { return sim.Returns(27 * time.Second) },
		"returns at commit":         func() sim.Scenario { return sim.Returns(30500 * time.Millisecond) },
		"returns after ownership":   func() sim.Scenario { return sim.Returns(45 * time.Second) },
		"agents crash":              sim.AgentsCrash,
		"live restore":              func() sim.Scenario { return sim.LiveRestored(sim.LiveWaits) },
		"live restore, bold":        func() sim.Scenario { return sim.LiveRestored(sim.LiveBold) },
		"live restore, agents die":  sim.LiveAgentsCrash,
		"live restore breaks":       sim.LiveBreaks,
		"replies are lost":          func() sim.Scenario { return sim.Replies(lab.EffectDropReply) },
		"requests are done twice":   func() sim.Scenario { return sim.Replies(lab.EffectTwice) },
		"answers are late":          func() sim.Scenario { return sim.Replies(lab.EffectDelay) },
		"leaders change":            sim.LeadersChange,
		"wakes in the past":         sim.WakesInThePast,
		"returned, stopped":         sim.Returned,
		"returned, left alone":      sim.LeftAlone,
		"two sites":                 sim.TwoSites,
		"paused":                    sim.Paused,
		"asked":                     sim.Asked,
		"target dies":               sim.TargetDies,
		"mesh cut":                  sim.MeshCut,
		"sick observers":            sim.SickObservers,
		"blind observers":           sim.BlindObservers,
		"site refuses":              sim.Refuses,
		"few votes":                 sim.FewVotes,
		"foreign guest":             func() sim.Scenario { return sim.ForeignGuest(0) },
		"foreign guest, returns":    func() sim.Scenario { return sim.ForeignGuest(25 * time.Second) },
		"copy started by hand":      sim.CopyStarted,
		"copy gone":                 sim.CopyGone,
		"stuck away":                func() sim.Scenario { return sim.StuckAway("") },
		"stuck rescue":              func() sim.Scenario { return sim.StuckRescue("") },
		"stuck away, started":       sim.StuckStarted,
		"stuck away, given up":      func() sim.Scenario { return sim.StuckGivenUp(failover.StepUnpark) },
		"rescue":                    sim.Rescue,
		"rescue, backed up":         sim.RescueSaved,
		"rescue, agent dies":        sim.RescueAgentDies,
		"rescue, back in time":      sim.RescueReturns,
		"rescue without proof":      sim.RescueUnproven,
		"little room":               sim.LittleRoom,
		"approved late":             sim.ApprovedLate,
		"warm":                      sim.WarmLost,
		"warm copy started by hand": sim.WarmTouched,
		"stale target":              sim.StaleTarget,
		"frozen target":             sim.FrozenTarget,
		"second loss":               sim.SecondLoss,
		"retried beside a loss":     sim.RetriedBesideLoss,
		"second failover":           sim.SecondFailover,
		"moved and back, keep away": func() sim.Scenario { return sim.MovedAndBack(failover.KeepAway) },
		"moved and back, keep home": func() sim.Scenario { return sim.MovedAndBack(failover.KeepHome) },
		"lost beside home":          sim.LostBesideHome,
		"sealed with another key":   sim.SealedWithAnotherKey,
		"away, power cut":           sim.AwayPowerCut,
		"zone on other servers":     sim.ZoneElsewhere,
		"updates apply late":        sim.UpdatesApplyLate,
		"updates are not answered":  sim.UpdatesAreNotAnswered,
		"primary restored":          sim.PrimaryRestored,
		"agent gone":                sim.AgentOnly,
		"isolated":                  sim.Isolated,
		"leader's clock is ahead":   func() sim.Scenario { return sim.WrongClock(3 * time.Hour) },
		"leader's clock is behind":  func() sim.Scenario { return sim.WrongClock(-3 * time.Hour) },
	}
}

func TestScenarios(t *testing.T) {
	all := scenarios()
	for n, name := range slices.Sorted(maps.Keys(all)) {
		scenario := all[name]
		if !sampled(n) {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for seed := range seeds(2, 1) {
				if r := sim.Run(sim.Options{Seed: seed + *from, Scenario: scenario()}); r.Violation != nil {
					t.Error(r.Error())
				}
			}
		})
	}
}

// TestCrashAtEveryBoundary kills the target's agent once before and once after
// each of its calls.
func TestCrashAtEveryBoundary(t *testing.T) {
	t.Parallel()
	var all sim.Boundaries
	if r := sim.Run(sim.Options{Seed: 1, Scenario: sim.CrashAt(-1, &all)}); r.Violation != nil {
		t.Fatal(r.Error())
	}
	if len(all.List) < 30 {
		t.Fatalf("the job has %d boundaries only: %q", len(all.List), all.List)
	}
	for n, boundary := range all.List {
		if n%stride() != 0 {
			continue
		}
		t.Run(fmt.Sprintf("%d %s", n, boundary), func(t *testing.T) {
			t.Parallel()
			if r := sim.Run(sim.Options{Seed: 1, Scenario: sim.CrashAt(n, &sim.Boundaries{})}); r.Violation != nil || r.Stats.Crashes != 1 {
				t.Errorf("%d crashes; %s", r.Stats.Crashes, r.Error())
			}
		})
	}
}

// TestLeaderCrashesAfterEveryEntry kills the leader's agent once after each
// entry of the job.
func TestLeaderCrashesAfterEveryEntry(t *testing.T) {
	t.Parallel()
	entries := 0
	if r := sim.Run(sim.Options{Seed: 1, Scenario: sim.CrashLeaderAfter(-1, &entries)}); r.Violation != nil {
		t.Fatal(r.Error())
	}
	if entries < 15 {
		t.Fatalf("the job has %d entries only", entries)
	}
	for n := 0; n < entries; n += stride() {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel()
			count := 0
			if r := sim.Run(sim.Options{Seed: 1, Scenario: sim.CrashLeaderAfter(n, &count)}); r.Violation != nil || r.Stats.Crashes != 1 {
				t.Errorf("%d crashes; %s", r.Stats.Crashes, r.Error())
			}
		})
	}
}
