package cluster_test

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime/debug"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/raoull/worldwidewelsh/cluster"
	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/sim"
)

var (
	bubbleSeed  = flag.Uint64("bubble.seed", 0, "the one seed of TestWholeAgents, told line by line")
	bubbleSeeds = flag.Uint64("bubble.seeds", 0, "how many seeds TestWholeAgents runs")
	bubbleFrom  = flag.Uint64("bubble.from", 1, "the first of them")
)

// The times of a run. Faults begin when everybody has reported and every target
// has told what it could restore, and end at wholeHeal; wholePatience later
// everything must be as it should.
const (
	wholeWarm     = 28 * time.Second
	wholeHeal     = 100 * time.Second
	wholePatience = 4 * time.Minute
)

// nemesis is a run's plan: what goes wrong.
type nemesis struct {
	*wholeNet
	r    *rand.Rand
	seed uint64
	size sim.Size
	all  *tally
	lost map[failover.SiteID]bool // for good
	// found is one that comes back when nobody expects it any more.
	found failover.SiteID
}

// TestWholeAgents runs whole agents over real Raft and TLS in bubbles, each seed
// with another incident, and holds them to the invariants of the simulator.
func TestWholeAgents(t *testing.T) {
	from, seeds := *bubbleFrom, uint64(104)
	switch {
	case *bubbleSeed > 0:
		from, seeds = *bubbleSeed, 1
	case *bubbleSeeds > 0:
		seeds = *bubbleSeeds
	case raced:
		seeds = 2
	case testing.Short():
		seeds = 20
	}
	dir := stateDir(t)
	gc := debug.SetGCPercent(400) // much garbage, and little that is held
	t.Cleanup(func() { debug.SetGCPercent(gc) })
	all := tally{faults: map[string]int{}}
	t.Cleanup(func() { all.judge(t, seeds) }) // after the seeds, which run at the same time
	for seed := from; seed < from+seeds; seed++ {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			t.Parallel()
			w := &wholeNet{dir: fmt.Sprintf("%s/%d", dir, seed)}
			if *bubbleSeed > 0 {
				w.log = os.Stderr
			}
			size := sim.Small
			if seed%13 == 4 {
				size = sim.Full
			}
			synctest.Test(t, func(t *testing.T) { runWhole(t, w, seed, size, &all) })
			if err := os.RemoveAll(w.dir); err != nil {
				t.Error(err)
			}
		})
	}
}

// tally counts what all seeds together did.
type tally struct {
	mu     sync.Mutex
	stats  sim.Stats
	faults map[string]int
	time   time.Duration // virtual
}

func (a *tally) add(s sim.Stats, took time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.stats, a.time = a.stats.Add(s), a.time+took
}

func (a *tally) fault(name string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.faults[name]++
}

// judge demands that what is to be survived has happened.
func (a *tally) judge(t *testing.T, seeds uint64) {
	t.Logf("%d seeds, %s of virtual time: %+v", seeds, a.time.Round(time.Second), a.stats)
	t.Logf("faults: %v", a.faults)
	if seeds < 100 {
		return
	}
	s := a.stats
	for name, n := range map[string]int{
		"failovers begun": s.Begun, "committed": s.Committed, "guests owned": s.Owned, "served": s.Served,
		"cancelled": s.Cancelled, "retargeted": s.Retargeted, "found diverged": s.Diverged, "crashes": s.Crashes,
	} {
		if n == 0 {
			t.Errorf("no %s in %d seeds", name, seeds)
		}
	}
	if len(a.faults) < len(mainFaults)+len(smallFaults) {
		t.Errorf("only %d kinds of faults in %d seeds, want %d: %v", len(a.faults), seeds, len(mainFaults)+len(smallFaults), a.faults)
	}
}

// stateDir is where the nodes keep their logs: in memory if there is such a
// place, so that no seed waits for a disk.
func stateDir(t *testing.T) string {
	dir, err := os.MkdirTemp("/dev/shm", "wwwd-bubble-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func runWhole(t *testing.T, w *wholeNet, seed uint64, size sim.Size, all *tally) {
	w.open(t, seed, size)
	defer w.close()
	n := &nemesis{wholeNet: w, r: w.seed.Stream("nemesis"), size: size, lost: map[failover.SiteID]bool{}, seed: seed, all: all}
	err := n.run()
	all.add(w.ground.Stats(), time.Since(sim.Epoch))
	if err == nil {
		return
	}
	account := w.ground.Account()
	t.Errorf("seed %d at %s: %v\nreplay: go test ./cluster -run TestWholeAgents -bubble.seed=%d -v\nlast events:\n%s",
		seed, time.Since(sim.Epoch), err, seed, strings.Join(account, "\n"))
}

func (n *nemesis) run() error {
	if err := n.form(); err != nil {
		return fmt.Errorf("form the group: %w", err)
	}
	time.Sleep(wholeWarm - time.Since(sim.Epoch))
	if err := n.ground.Settled(nil); err != nil {
		return fmt.Errorf("before any fault: %w", err)
	}
	n.plan()
	if err := n.until(wholeHeal); err != nil {
		return err
	}
	n.heal()
	n.at(0, n.person)
	if err := n.until(wholeHeal + wholePatience); err != nil {
		return err
	}
	if n.found != "" {
		// Given up, and found again: what was begun there is to be removed.
		n.ground.Revive(n.found)
		delete(n.lost, n.found)
		if err := n.until(time.Since(sim.Epoch) + wholePatience); err != nil {
			return err
		}
	}
	return n.ground.End()
}

// until lets time pass up to the end of a phase, and no longer than everything
// is as it must be in the last one.
func (n *nemesis) until(end time.Duration) error {
	settled := 0
	for time.Since(sim.Epoch) < end {
		time.Sleep(2 * time.Second)
		if err := n.ground.Err(); err != nil {
			return err
		}
		if end == wholeHeal {
			continue
		}
		if n.ground.Settled(n.lost) != nil {
			settled = 0
		} else if settled++; settled > 5 {
			return nil
		}
	}
	if end == wholeHeal {
		return nil
	}
	return fmt.Errorf("not settled %s after the last fault: %w", wholePatience, n.ground.Settled(n.lost))
}

// form makes a group of the agents, and has a person declare the network.
func (n *nemesis) form() error {
	ctx, cancel := context.WithTimeout(n.ctx, time.Minute)
	defer cancel()
	sites := n.ground.Sites()
	first := n.agents[sites[0]].life.Load().node
	if err := first.Bootstrap(ctx, 1); err != nil {
		return err
	}
	for _, site := range sites[1:] {
		a := n.agents[site]
		if err := first.AddMember(ctx, site, a.life.Load().node.ServerID(), a.addr, cluster.Voter); err != nil {
			return err
		}
	}
	_, err := first.Propose(failover.WithActor(ctx, "p-operator"), failover.ApplyNetwork{Spec: n.ground.Spec()})
	return err
}

func (n *nemesis) between(low, high time.Duration) time.Duration {
	return low + time.Duration(n.r.Int64N(int64(high-low)))
}

func (n *nemesis) pick() *wholeAgent {
	sites := n.ground.Sites()
	return n.agents[sites[n.r.IntN(len(sites))]]
}

// at has something happen a while after now, beside everything else.
func (n *nemesis) at(in time.Duration, do func(ctx context.Context)) {
	n.wg.Go(func() {
		if sleep(n.ctx, in) == nil {
			do(n.ctx)
		}
	})
}
