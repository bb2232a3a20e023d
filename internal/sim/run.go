package sim

import (
	"fmt"
	"io"
	"reflect"
	"strings"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/network"
)

// Options say what is simulated. The zero value of each field is sensible.
type Options struct {
	Seed     uint64
	Scenario Scenario
	Timing   Timing
	Mode     network.Mode   // of every structure; default auto
	Places   Size           // of the network
	Leader   network.SiteID // who wins the elections when it can; "": anybody
	Log      LogFaults
	Verbose  io.Writer // gets every line of the trace
	Calls    bool      // the trace tells reads from Proxmox, too
	// Without are the numbers of planned items to leave out (see Planned).
	Without map[int]bool
	// OneBackup: of what the guests hold at the beginning only one is made.
	OneBackup bool
	// ReadyEvery is how often targets read what they could restore; default 30 s.
	ReadyEvery time.Duration
	// HostMemory is what every target of restores has; default 16 GiB, room for all.
	HostMemory int64
	// FirstMemory is what the first guest of every site has; default 512 MiB, as the others.
	FirstMemory int64
	Strict      bool           // no probe is left out whose answer is known
	Warm        bool           // every other guest that moves is kept warm
	Live        string         // VMs are restored live: LiveWaits, LiveBold
	RestoreRate int64          // bytes/s at each target; default restoreRate
	Homeward    bool           // guests can come home (see WayHome)
	Spoilt      float64        // how often a copy that has just become its guest's cannot be started
	Alone       bool           // one structure's guests are stopped while their site is cut off
	Jobs        BadJobs        // sync jobs of a site that are configured badly; zero: none
	Primaries   int            // servers of their own that take updates of the zone, with a secondary; 0: the agents serve it
	Window      network.Window // in which guests of some structures come home by themselves; zero: never
	Chatter     time.Duration  // how often a running guest writes a line by itself; default 30 s
	Writing     time.Duration  // how often each guest's users write; default writeEvery
	Apart       bool           // each PBS has disks of its own: what is corrupt at one site is not at the others
	layout      []place        // the network, instead of Places
}

// Size of the simulated network.
type Size int

// Full is the network of the demo: five sites, ten guests. Small is three sites
// and one guest that moves, for runs by the hundred; in SmallCT it is a
// container.
const (
	Full Size = iota
	Small
	SmallCT
)

// Scenario is what happens in a run.
type Scenario struct {
	Name string
	// Prepare changes the options before the world is made; optional.
	Prepare func(*Options)
	// Plan schedules the faults; the network is healthy from Warm on.
	Plan func(*World)
	// Heal is when all faults end; zero: never.
	Heal time.Duration
	// Until is when the run ends.
	Until time.Duration
	// Check says what must be so at the end, besides the invariants.
	Check func(*World) error
}

// Warm is when every agent has reported and every target has told what it could
// restore: scenarios begin then.
const Warm = time.Minute

// Stats counts what a run did: entries of the log, calls to Proxmox, crashes of
// agents, and what became of the guests and operations.
type Stats struct {
	Entries, Calls, Crashes, Leaders, Incidents, Restless    int
	Begun, Committed, Owned, Served                          int
	Cancelled, Resumed, Retried, Retargeted, Stuck, Diverged int
}

// Add returns the sum of two.
func (s Stats) Add(o Stats) Stats {
	sum(&s, o)
	return s
}

// sum adds the counts of a struct of numbers to those of another one.
func sum[T any](to *T, o T) {
	a, b := reflect.ValueOf(to).Elem(), reflect.ValueOf(o)
	for i := range a.NumField() {
		a.Field(i).SetInt(a.Field(i).Int() + b.Field(i).Int())
	}
}

// Missing names the counts that are zero.
func (s Stats) Missing() []string {
	var out []string
	for v, i := reflect.ValueOf(s), 0; i < v.NumField(); i++ {
		if v.Field(i).Int() == 0 && v.Type().Field(i).Name != "Restless" {
			out = append(out, v.Type().Field(i).Name)
		}
	}
	return out
}

// restless takes note of an incident after which the network came to no rest.
func (s *Stats) restless(string) { s.Restless++ }

// count takes note of an entry that took effect.
func (s *Stats) count(c failover.Command) {
	switch c.(type) {
	case failover.BeginTerm:
		s.Leaders++
	case failover.BeginOp:
		s.Begun++
	case failover.CommitOp, failover.Approve:
		s.Committed++
	case failover.Own:
		s.Owned++
	case failover.Serve:
		s.Served++
	case failover.CancelOp:
		s.Cancelled++
	case failover.ResumeOp:
		s.Resumed++
	case failover.RetryStep:
		s.Retried++
	case failover.Retarget:
		s.Retargeted++
	case failover.Stick:
		s.Stuck++
	case failover.MarkDiverged:
		s.Diverged++
	}
}

// Result is the outcome of a run.
type Result struct {
	Seed      uint64
	Scenario  string
	Hash      string // of every event and every line of the trace
	Events    int
	Virtual   time.Duration
	Passed    time.Duration // of it, over which the network was at rest
	Violation error         // of an invariant or of the scenario's own check
	Trace     []string
	Plan      []Planned
	Stats     Stats
	Coverage  Coverage
	Account   Account // of what people have written
}

// Error tells a violation with all that is needed to look at it.
func (r Result) Error() string {
	if r.Violation == nil {
		return ""
	}
	return fmt.Sprintf("seed %d, scenario %s, at %.3f s: %v\nreplay: make sim SEED=%d SCENARIO=%q\nlast events:\n%s",
		r.Seed, r.Scenario, r.Virtual.Seconds(), r.Violation, r.Seed, r.Scenario, strings.Join(r.Trace, "\n"))
}

// Run simulates one scenario from one seed.
func Run(o Options) Result {
	if o.Timing == (Timing{}) {
		o.Timing = FastTiming()
	}
	if o.Mode == "" {
		o.Mode = network.ModeAuto
	}
	if o.ReadyEvery == 0 {
		o.ReadyEvery = 30 * time.Second
	}
	if o.HostMemory == 0 {
		o.HostMemory = hostMemory
	}
	if o.Scenario.Prepare != nil {
		o.Scenario.Prepare(&o)
	}
	r := Result{Seed: o.Seed, Scenario: o.Scenario.Name}
	w, err := newWorld(o)
	if err != nil {
		r.Violation = fmt.Errorf("make the world: %w", err)
		return r
	}
	w.boot()
	o.Scenario.Plan(w)
	if o.Scenario.Heal > 0 {
		w.loop.In(o.Scenario.Heal, "heal", w.healAll)
	}
	r.Violation = w.loop.Run(Epoch.Add(o.Scenario.Until))
	if r.Violation == nil {
		w.check.end()
		r.Violation = w.check.err
	}
	if r.Violation == nil && o.Scenario.Check != nil {
		r.Violation = o.Scenario.Check(w)
	}
	r.Hash, r.Events, r.Virtual = fmt.Sprintf("%016x", w.trace.hash), w.loop.Events(), w.loop.Since()-w.month
	r.Passed = w.loop.Skipped() - w.month
	r.Account = w.check.ledger.account()
	r.Trace, r.Stats, r.Plan, r.Coverage = w.trace.last, w.stats, w.plan, w.cover
	return r
}
