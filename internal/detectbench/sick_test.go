package detectbench

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
)

// story is what a hand-made trace ended in.
type story struct {
	levels  map[failover.SiteID]failover.Level // the highest of each site
	causes  map[failover.SiteID]map[failover.Cause]bool
	commits map[failover.SiteID]time.Duration // when first
	held    map[string]bool
	leader  failover.SiteID
}

// live lives through hand-made effects in a network that is well otherwise.
func live(t *testing.T, length time.Duration, o Options, effects ...Effect) story {
	t.Helper()
	place := NewPlace(0, defaultPolicy())
	s := story{
		levels: map[failover.SiteID]failover.Level{}, causes: map[failover.SiteID]map[failover.Cause]bool{},
		commits: map[failover.SiteID]time.Duration{}, held: map[string]bool{},
	}
	var w *World
	o.Seed, o.Policy, o.KeepHarmless = 7, defaultPolicy(), true
	o.Watch = func(at int64, c failover.Command) {
		switch c := c.(type) {
		case failover.BeginTerm:
			s.leader = c.Leader
		case failover.Assess:
			site := failover.SiteID("")
			if _, err := fmt.Sscanf(string(c.Domain), "site:%s", &site); err != nil {
				return
			}
			s.levels[site] = max(s.levels[site], c.Level)
			if s.causes[site] == nil {
				s.causes[site] = map[failover.Cause]bool{}
			}
			s.causes[site][c.Cause] = true
			s.held[c.Held.Code] = true
		case failover.CommitOp:
			site := w.state.Ops[c.Op].Plan.Loss.Site
			if _, ok := s.commits[site]; !ok {
				s.commits[site] = time.Duration(at) * time.Millisecond
			}
		}
	}
	ledger := NewLedger(place, defaultPolicy(), 1)
	w = NewWorld(place, Trace{Length: length.Milliseconds(), Effects: effects}, ledger, o)
	w.Run()
	if w.errs > 0 {
		t.Errorf("%d commands were refused: want none", w.errs)
	}
	return s
}

const (
	onset   = int64(120_000)
	ending  = int64(500_000) // beyond the default commit delay
	horizon = 20 * time.Minute
)

// TestNoSingleObserverMovesAnything lets each site's agent in turn, the
// leader's among them, be sick in each way.
func TestNoSingleObserverMovesAnything(t *testing.T) {
	kinds := map[string]func(o int) []Effect{
		"deaf: sees nobody and believes itself well": func(o int) []Effect {
			return []Effect{{Kind: deaf, Site: o, From: onset, To: ending}}
		},
		"own line down": func(o int) []Effect {
			return []Effect{{Kind: lineDown, Site: o, From: onset, To: onset + 60_000}}
		},
		"slow: every 2nd second, late": func(o int) []Effect {
			return []Effect{{Kind: slowLoop, Site: o, N: 2, From: onset, To: ending}}
		},
		"slow: every 4th second, late": func(o int) []Effect {
			return []Effect{{Kind: slowLoop, Site: o, N: 4, From: onset, To: ending}}
		},
		"stalled for 40 s, again and again": func(o int) (out []Effect) {
			for at := onset; at < ending; at += 70_000 {
				out = append(out, Effect{Kind: agentStall, Site: o, From: at, To: at + 40_000})
			}
			return out
		},
		"clock jumps by two minutes, again and again": func(o int) (out []Effect) {
			for at := onset; at < ending; at += 70_000 {
				out = append(out, Effect{Kind: clockJump, Site: o, From: at, To: at + 1000})
			}
			return out
		},
		"lies that another is silent": func(o int) []Effect {
			return []Effect{{Kind: sayDown, Site: o, Other: (o + 1) % sites, From: onset, To: ending}}
		},
		"lies that all are silent": func(o int) (out []Effect) {
			for s := range sites {
				if s != o {
					out = append(out, Effect{Kind: sayDown, Site: o, Other: s, From: onset, To: ending})
				}
			}
			return out
		},
	}
	for _, name := range slices.Sorted(maps.Keys(kinds)) {
		t.Run(name, func(t *testing.T) {
			for o := range sites {
				s := live(t, horizon, Options{}, kinds[name](o)...)
				for site, at := range s.commits {
					t.Errorf("%s sick: %s was failed over at %v", siteNames[o], site, at)
				}
				for site, level := range s.levels {
					if site != siteNames[o] && level >= failover.LevelSuspect {
						t.Errorf("%s sick: %s got to %v, want no suspicion", siteNames[o], site, level)
					}
				}
			}
		})
	}
}

// TestTwoSickObserversMoveNothing: even two that see nothing of a site are
// contradicted by the two that do.
func TestTwoSickObserversMoveNothing(t *testing.T) {
	s := live(t, horizon, Options{},
		Effect{Kind: sayDown, Site: 1, Other: 0, From: onset, To: ending},
		Effect{Kind: sayDown, Site: 2, Other: 0, From: onset, To: ending})
	if len(s.commits) > 0 {
		t.Errorf("failed over: %v, want nothing", s.commits)
	}
	if !s.causes["moulin"][failover.CauseAsymmetric] {
		t.Errorf("causes of moulin %v: want asymmetric among them", s.causes["moulin"])
	}
}

// TestMeshDownIsVetoed: the tunnel is dead for all, the public entry serves.
func TestMeshDownIsVetoed(t *testing.T) {
	s := live(t, horizon, Options{}, Effect{Kind: meshDown, Site: 0, From: onset, To: ending})
	if len(s.commits) > 0 {
		t.Errorf("failed over: %v, want nothing", s.commits)
	}
	if !s.causes["moulin"][failover.CauseMeshDown] {
		t.Errorf("causes of moulin %v: want mesh-down among them", s.causes["moulin"])
	}
}

// TestTrueLossIsCommitted is the control of the tests above: the same world
// does commit a true loss, after the first delay and within L1's three seconds.
func TestTrueLossIsCommitted(t *testing.T) {
	for lost := range briques {
		s := live(t, horizon, Options{}, Effect{Kind: powerOff, Site: lost, From: onset, To: ending})
		at, ok := s.commits[siteNames[lost]]
		late := at - time.Duration(onset)*time.Millisecond - 60*time.Second
		if !ok || late < 0 || late > 3*time.Second {
			t.Errorf("%s lost: committed %v late (%v), want 0 to 3 s after its delay", siteNames[lost], late, ok)
		}
	}
}

// TestOneAliveLiarBlocks: one that claims "alive" against a majority keeps a
// truly lost site from being moved.
func TestOneAliveLiarBlocks(t *testing.T) {
	s := live(t, horizon, Options{},
		Effect{Kind: sayUp, Site: 1, Other: 0, From: onset - 1000, To: ending},
		Effect{Kind: powerOff, Site: 0, From: onset, To: ending})
	if len(s.commits) > 0 {
		t.Errorf("failed over: %v, want nothing", s.commits)
	}
	if !s.held[failover.CodeVeto] {
		t.Errorf("held for %v: want the veto %s among them", s.held, failover.CodeVeto)
	}
}

// TestLeadersClockHastensNothing runs the same loss under leaders whose wall
// clocks are right, an hour ahead and an hour behind, and with a leader whose
// clock jumps in the middle of the countdown.
func TestLeadersClockHastensNothing(t *testing.T) {
	want := live(t, horizon, Options{}, Effect{Kind: powerOff, Site: 1, From: onset, To: ending}).commits
	for _, skew := range []time.Duration{time.Hour, -time.Hour, 365 * day} {
		got := live(t, horizon, Options{LeaderClock: skew}, Effect{Kind: powerOff, Site: 1, From: onset, To: ending}).commits
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("leaders' clocks %v off: committed at %v, want %v", skew, got, want)
		}
	}
	got := live(t, horizon, Options{},
		Effect{Kind: powerOff, Site: 1, From: onset, To: ending},
		Effect{Kind: clockJump, Site: 0, From: onset + 20_000, To: onset + 21_000}).commits
	if at := got["fabrique"]; at != 0 && at < want["fabrique"] {
		t.Errorf("leader's clock jumped: committed at %v, want not before %v", at, want["fabrique"])
	}
}

// TestLostLeader: the leader's own site is lost, and moved all the same.
func TestLostLeader(t *testing.T) {
	s := live(t, horizon, Options{}, Effect{Kind: powerOff, Site: 0, From: onset, To: ending})
	if s.leader == "moulin" {
		t.Fatal("moulin still leads: this was no lost leader")
	}
	if _, ok := s.commits["moulin"]; !ok {
		t.Error("moulin was not failed over")
	}
}
