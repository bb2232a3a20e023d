package failover_test

import (
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/network"
)

// The makespan of a failover: from the decision to the last guest served, when nothing is lost
// or fails. The targets are simulated, what they do next is Runnable's choice, what the leader
// does Decide's.

// disk is what a target can do: so many bytes per second, shared by its restores, of which a
// single one gets alone bytes per second at most.
type disk struct{ whole, alone int64 }

// bootTime is from the start of a guest until it answers its check.
const bootTime = 20 * time.Second

// mass is a network of one lost site with guests, and targets that hold replicas of all of them.
func mass(t testing.TB, guests, targets, parallel int, seed uint64) *failover.State {
	g := rand.New(rand.NewPCG(seed, uint64(guests)))
	spec := network.Spec{
		Network: "mass", Sites: map[network.SiteID]network.Site{"lost": brique("lost", 1)},
		Structures: map[network.StructureID]network.Structure{
			"all": {Home: "lost", VLAN: 120, Mode: network.ModeAuto, OffSite: network.OffSite{Policy: network.ConsentAllowed, Consent: "2026-01-01"}},
		},
		Guests: map[network.GuestID]network.Guest{},
	}
	size := map[network.GuestID]int64{}
	for i := range guests {
		id := network.GuestID(fmt.Sprintf("guest-%03d", i))
		guest := network.Guest{ID: 100 + i, Structure: "all", Host: "pve-lost", Priority: 1 + g.IntN(3)}
		if i > 0 && g.IntN(5) == 0 {
			guest.After = []network.GuestID{network.GuestID(fmt.Sprintf("guest-%03d", g.IntN(i)))}
		}
		spec.Guests[id] = guest
		size[id] = int64(4+g.IntN(60)) * gib
	}
	s := failover.NewState()
	for i := range targets {
		name := network.SiteID(fmt.Sprintf("target-%d", i))
		site := brique(name, i+2)
		for h, host := range site.Hosts {
			if host.Restore != nil {
				r := *host.Restore
				r.Parallel = parallel
				host.Restore = &r
				site.Hosts[h] = host
			}
		}
		spec.Sites[name] = site
	}
	must := func(c failover.Command) {
		t.Helper()
		if err := s.Apply(failover.Stamp{Index: s.Index + 1, Term: 1, At: start}, c); err != nil {
			t.Fatal(err)
		}
	}
	must(failover.Bootstrap{Network: "mass", Generation: 1})
	must(failover.BeginTerm{Leader: "target-0"})
	for id := range spec.Sites {
		must(member(id, true))
	}
	must(failover.ApplyNetwork{Spec: spec.WithDefaults()})
	for id := range spec.Sites {
		if id == "lost" {
			continue
		}
		r := failover.Readiness{Site: id, MemoryFree: 2048 * gib, StorageFree: 1 << 50, Points: map[failover.GuestID][]failover.RestorePoint{}}
		for g := range spec.Guests {
			r.Points[g] = []failover.RestorePoint{restorePoint(g, start.Add(-time.Hour), size[g])}
		}
		must(failover.ReportReadiness{Ready: r})
	}
	return s
}

// massRun carries a failover out on virtual time.
type massRun struct {
	t    testing.TB
	s    *failover.State
	now  time.Time
	disk disk
	left map[failover.Token]int64     // bytes of the restores that run
	due  map[failover.Token]time.Time // end of the checks that run
	// What was seen on the way.
	first, last time.Time // first restore begun, last guest served
	most        map[failover.SiteID]int
}

func (m *massRun) must(c failover.Command) {
	m.t.Helper()
	if err := m.s.Apply(failover.Stamp{Index: m.s.Index + 1, Term: 1, At: m.now}, c); err != nil {
		m.t.Fatalf("%T: %v", c, err)
	}
}

// run fails the lost site over by a person's word and returns from the decision to the last guest
// that serves.
func (m *massRun) run() time.Duration {
	plan := failover.PlanFor(m.s, failover.Loss{Site: "lost", ByHand: true}, m.now)
	m.must(failover.BeginOp{Kind: failover.KindFailover, Domain: "site:lost", Plan: plan, Forced: true})
	m.left, m.due, m.most = map[failover.Token]int64{}, map[failover.Token]time.Time{}, map[failover.SiteID]int{}
	for range 100 * len(m.s.Guests) {
		// What an agent waits for of another's work, such as a check, the leader answers to.
		for m.works(); m.leads(); m.works() {
		}
		if m.s.Ops[m.opID()].Phase.Ended() {
			return m.last.Sub(start)
		}
		m.pass()
	}
	m.t.Fatal("the failover does not end")
	return 0
}

// leads does what the leader would do, and says whether it did something.
func (m *massRun) leads() bool {
	d := failover.Decide(m.s, m.now)
	for _, c := range d.Commands {
		if _, serves := c.(failover.Serve); serves {
			m.last = m.now
		}
		m.must(c)
	}
	return len(d.Commands) > 0
}

// works lets every agent of a target do all of its part.
func (m *massRun) works() {
	for _, site := range m.s.Network.SiteIDs() {
		for before := uint64(0); before != m.s.Index && site != "lost"; {
			before = m.s.Index
			m.work(site)
		}
	}
}

func (m *massRun) opID() failover.OpID {
	for id := range m.s.Ops {
		return id
	}
	return ""
}

// work moves the steps of a site's agent. What takes no time is done as soon as it is claimed.
func (m *massRun) work(site failover.SiteID) {
	for _, token := range failover.Runnable(m.s, site, m.now) {
		step, _, _ := m.s.Ops[token.Op].Guests[token.Guest].Current()
		moved := failover.StepMoved{Token: token, Attempt: step.Attempt, To: failover.StatusDone}
		if step.Status == failover.StatusPending {
			moved.Attempt++
			claim := moved
			claim.To = failover.StatusRunning
			m.must(claim)
			switch token.Step {
			case failover.StepRestore:
				m.left[token] = m.s.Ops[token.Op].Guests[token.Guest].Assignment.Point.Size
				if m.first.IsZero() {
					m.first = m.now
				}
			case failover.StepCheck:
				m.due[token] = m.now.Add(bootTime)
			}
		}
		if m.left[token] > 0 || m.now.Before(m.due[token]) {
			continue
		}
		delete(m.left, token)
		delete(m.due, token)
		m.must(moved)
	}
}

// pass goes to the next end of a restore or a boot.
func (m *massRun) pass() {
	running := map[failover.SiteID]int{}
	at := func(t failover.Token) failover.SiteID { return m.s.Ops[t.Op].Guests[t.Guest].Assignment.Target }
	for token := range m.left {
		running[at(token)]++
	}
	rate := func(t failover.Token) float64 {
		return float64(min(m.disk.alone, m.disk.whole/int64(running[at(t)])))
	}
	next := 24 * time.Hour
	for token, left := range m.left {
		next = min(next, time.Duration(float64(left)/rate(token)*float64(time.Second))+time.Millisecond)
	}
	for _, due := range m.due {
		next = min(next, due.Sub(m.now))
	}
	m.now = m.now.Add(next)
	for site, n := range running {
		m.most[site] = max(m.most[site], n)
	}
	for token := range m.left {
		m.left[token] -= int64(rate(token) * next.Seconds())
	}
}

// bound is what no schedule can beat: all bytes over all targets, the longest guest, the longest
// chain of guests that wait for each other; each with the boots that cannot be hidden. Of few
// guests, which cannot be cut to fill every target evenly, it is the best division there is.
func bound(s *failover.State, d disk, targets, parallel int) time.Duration {
	var sizes []int64
	var bytes int64
	depth := map[failover.GuestID]int{}
	deepest := 0
	for _, g := range s.Network.GuestIDs() {
		size := s.Readiness["target-0"].Ready.Points[g][0].Size
		bytes += size
		sizes = append(sizes, size)
		depth[g] = 1
		for _, dep := range s.Network.Guests[g].After { // they have smaller names
			depth[g] = max(depth[g], depth[dep]+1)
		}
		deepest = max(deepest, depth[g])
	}
	slices.Sort(sizes)
	slices.Reverse(sizes)
	seconds := func(bytes, rate int64) time.Duration {
		return time.Duration(float64(bytes) / float64(rate) * float64(time.Second))
	}
	whole := min(d.whole, d.alone*int64(parallel))
	least := max(seconds(bytes, whole*int64(targets)), seconds(sizes[0], min(d.whole, d.alone)))
	if len(sizes) <= 12 {
		if d.alone >= d.whole {
			least = seconds(fewest(sizes, make([]int64, targets), bytes), d.whole)
		} else {
			least = seconds(fewest(sizes, make([]int64, targets*parallel), bytes), d.alone)
		}
	}
	return max(least+bootTime, time.Duration(deepest)*bootTime)
}

// fewest divides sizes, largest first, among machines so that the fullest has as little as
// possible, and returns how much that is, or best if no division has less.
func fewest(sizes, machines []int64, best int64) int64 {
	if len(sizes) == 0 {
		return min(best, slices.Max(machines))
	}
	tried := map[int64]bool{}
	for i, has := range machines {
		if tried[has] || has+sizes[0] >= best {
			continue // another as full was tried, or it can become no better
		}
		tried[has] = true
		machines[i] += sizes[0]
		best = fewest(sizes[1:], machines, best)
		machines[i] = has
	}
	return best
}

// measures returns the ratio of a failover's makespan to what no schedule can beat.
func measures(t testing.TB, guests, targets, parallel int, d disk, seed uint64) (*massRun, time.Duration, float64) {
	m := &massRun{t: t, s: mass(t, guests, targets, parallel, seed), now: start, disk: d}
	took := m.run()
	return m, took, float64(took) / float64(bound(m.s, d, targets, parallel))
}

// kindsOfDisk: a pool that a few restores fill, and single restores that are slow by themselves.
var kindsOfDisk = map[string]disk{
	"shared": {whole: 200 << 20, alone: 200 << 20},
	"single": {whole: 1 << 40, alone: 100 << 20},
}

// overBound is how much later than the bound the last guest may serve.
const overBound = 1.10

// TestMakespan: the last guest serves at most a tenth later than any schedule could bring it
// about, no site ever restores more at once than it is declared to, and the first restore begins
// within the second of the decision.
func TestMakespan(t *testing.T) {
	for name, d := range kindsOfDisk {
		for _, targets := range []int{1, 2, 4} {
			for seed := range uint64(5) { // few guests are the harder to divide
				holdsMakespan(t, name, 10, targets, d, seed+1)
			}
			holdsMakespan(t, name, 50, targets, d, 1)
			if slow == 1 {
				holdsMakespan(t, name, 100, targets, d, 1)
			}
		}
	}
}

// TestMakespanOfManyGuests is TestMakespan for as many as may be lost at once. Each number of
// targets has one kind of disk: the processor has seconds to do with each.
func TestMakespanOfManyGuests(t *testing.T) {
	if slow != 1 {
		t.Skip("no goroutines here that the race detector could watch")
	}
	// Each entry copies the runs of its operation: much to be collected, and little that stays.
	defer debug.SetGCPercent(debug.SetGCPercent(400))
	for targets, name := range map[int]string{1: "shared", 2: "single", 4: "shared"} {
		holdsMakespan(t, name, 500, targets, kindsOfDisk[name], 1)
	}
}

func holdsMakespan(t *testing.T, name string, guests, targets int, d disk, seed uint64) {
	t.Helper()
	const parallel = 2
	m, took, ratio := measures(t, guests, targets, parallel, d, seed)
	t.Logf("%s, %d guests on %d targets: %s, %.3f of the bound", name, guests, targets, took.Round(time.Second), ratio)
	if ratio > overBound {
		t.Errorf("%s, %d guests on %d targets: %s is %.2f of the bound", name, guests, targets, took, ratio)
	}
	for site, n := range m.most {
		if n > parallel {
			t.Errorf("%s restores %d at once, want %d at most", site, n, parallel)
		}
	}
	if wait := m.first.Sub(start); wait > time.Second {
		t.Errorf("the first restore begins %s after the decision", wait)
	}
}

// TestStartsAreSpaced: a site that starts guests so far apart never starts two within that time, and
// another one starts them as soon as they are there.
func TestStartsAreSpaced(t *testing.T) {
	for _, every := range []time.Duration{0, time.Minute} {
		m := &massRun{t: t, s: mass(t, 12, 1, 4, 1), now: start, disk: disk{whole: 1 << 40, alone: 1 << 40}}
		site := m.s.Network.Sites["target-0"]
		for h, host := range site.Hosts {
			if host.Restore != nil {
				r := *host.Restore
				r.StartEvery = network.Duration(every)
				host.Restore = &r
				site.Hosts[h] = host
			}
		}
		m.run()
		var starts []time.Time
		for _, run := range m.s.Ops[m.opID()].Guests {
			st, _ := run.Step(failover.StepStart)
			starts = append(starts, st.Begun.At)
		}
		slices.SortFunc(starts, time.Time.Compare)
		least := time.Hour
		for i := range starts[1:] {
			least = min(least, starts[i+1].Sub(starts[i]))
		}
		if least < every || every == 0 && least > time.Second {
			t.Errorf("start_every %s: two starts lie %s apart", every, least)
		}
	}
}

// TestEstimates: restores fill the declared number of lanes in the order of the plan, each at the
// rate of past ones.
func TestEstimates(t *testing.T) {
	s := mass(t, 7, 1, 2, 1)
	r := s.Readiness["target-0"]
	r.Ready.Rate = gib
	s.Readiness["target-0"] = r
	lanes := []time.Duration{0, 0}
	for _, a := range failover.PlanFor(s, failover.Loss{Site: "lost"}, start).Assignments {
		first := 0
		if lanes[1] < lanes[0] {
			first = 1
		}
		lanes[first] += time.Duration(a.Point.Size/gib) * time.Second
		if a.Estimate != lanes[first] {
			t.Errorf("%s: restored after %s, want %s", a.Guest, a.Estimate, lanes[first])
		}
	}
}

// BenchmarkMakespan prints the table of docs/benchmarks.md: the worst of a few networks.
func BenchmarkMakespan(b *testing.B) {
	for name, d := range kindsOfDisk {
		for _, targets := range []int{1, 2, 4} {
			for _, guests := range []int{10, 50, 100, 500} {
				b.Run(fmt.Sprintf("%s/%d_targets/%d_guests", name, targets, guests), func(b *testing.B) {
					var ratios []float64
					for b.Loop() {
						_, _, ratio := measures(b, guests, targets, 2, d, uint64(len(ratios)+1))
						ratios = append(ratios, ratio)
					}
					b.ReportMetric(slices.Max(ratios), "of-bound")
				})
			}
		}
	}
}
