package probes_test

import (
	"context"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/network"
	"github.com/raoull/worldwidewelsh/probes"
)

// question is one probe that was made.
type question struct {
	name string
	kind probes.Kind
	at   time.Duration
}

// street lives through probes on virtual time: an answer takes 40 ms, silence
// the whole second.
type street struct {
	set    *probes.Set
	now    time.Time
	free   map[*probes.Prober]time.Time
	answer func(t probes.Target, at time.Duration) failover.Seen
	asked  []question
	rtt    func(t probes.Target) time.Duration // of answers; nil: 40 ms
	doubts bool                                // call Doubt as the driver does; answer is then asked twice
}

func (s *street) took(t probes.Target) time.Duration {
	if s.rtt == nil {
		return 40 * time.Millisecond
	}
	return s.rtt(t)
}

func newStreet(seed uint64, targets []probes.Target) *street {
	s := &street{now: began, free: map[*probes.Prober]time.Time{}}
	s.answer = func(probes.Target, time.Duration) failover.Seen { return u }
	s.set = probes.NewSet(probes.SetConfig{
		Probe: s.probe, Start: began, Rest: probes.DefaultRest,
		Rand: func(name string) *rand.Rand {
			h := seed
			for _, b := range []byte(name) {
				h = h*1099511628211 + uint64(b)
			}
			return rand.New(rand.NewPCG(seed, h))
		},
	})
	s.set.Update(targets, began)
	return s
}

func (s *street) probe(_ context.Context, t probes.Target) probes.Result {
	at := s.now.Sub(began)
	s.asked = append(s.asked, question{t.Name, t.Kind, at})
	r := probes.Result{Seen: s.answer(t, at), Note: string(t.Kind)}
	if r.Seen.Alive() {
		r.RTT = s.took(t)
	}
	return r
}

// until lives on, calling each prober when it asks for it and is free.
func (s *street) until(end time.Duration) {
	for {
		var first *probes.Prober
		var due time.Time
		for _, p := range s.set.Steppers() {
			at := p.Next()
			if f := s.free[p]; f.After(at) {
				at = f
			}
			if first == nil || at.Before(due) {
				first, due = p, at
			}
		}
		if due.After(began.Add(end)) {
			s.now = began.Add(end)
			return
		}
		if due.After(s.now) {
			s.now = due
		}
		took := time.Duration(0)
		if s.doubts {
			took = s.took(first.Target())
			if s.answer(first.Target(), s.now.Sub(began)) == d {
				took = time.Second
			}
			if patience := first.Patience(); took > patience {
				first.Doubt(s.now.Add(patience))
			}
		}
		first.Step(context.Background(), s.now)
		if took == 0 {
			took = s.took(first.Target())
			if first.Last().Seen == d {
				took = time.Second
			}
		}
		s.free[first] = s.now.Add(took)
	}
}

// times returns when a target was asked, from a time on.
func (s *street) times(name string, from time.Duration) []time.Duration {
	var out []time.Duration
	for _, q := range s.asked {
		if q.name == name && q.at >= from {
			out = append(out, q.at)
		}
	}
	return out
}

func (s *street) seen(name string) failover.Observation {
	for _, o := range s.set.Observations(s.now) {
		if o.Target == name {
			return o
		}
	}
	return failover.Observation{}
}

// site is what is probed of a brique with two hosts.
func site(id network.SiteID) []probes.Target {
	out := []probes.Target{}
	for _, n := range []string{"agent", "router", "pve:a", "pbs:a", "pve:b", "dropbear:b", "dns"} {
		out = append(out, probes.Target{Site: id, Name: n, Path: failover.PathMesh, Kind: probes.KindTLS})
	}
	for _, n := range []string{"entry", "name:wiki"} {
		out = append(out, probes.Target{Site: id, Name: n, Path: failover.PathPublic, Kind: probes.KindTLS})
	}
	return out
}

// booted answers as a site does whose hosts have all booted.
func booted(t probes.Target, _ time.Duration) failover.Seen {
	if t.Name == "dropbear:b" {
		return d
	}
	return u
}

func TestAtRestOnlyPrimariesAreAskedEachSecond(t *testing.T) {
	s := newStreet(1, site("moulin"))
	s.answer = booted
	s.until(1020 * time.Second)
	for _, name := range []string{"agent", "entry", "router", "pve:a", "pbs:a", "pve:b", "dropbear:b", "dns", "name:wiki"} {
		got, low, high := len(s.times(name, 20*time.Second)), 60, 75
		if name == "agent" || name == "entry" {
			got, low, high = len(s.times(name, 20*time.Second)), 960, 1040
		}
		if got < low || got > high {
			t.Errorf("%s: %d probes in 1000 s, want %d to %d", name, got, low, high)
		}
	}
}

func TestWithoutAnEntryTheRouterIsAskedEachSecond(t *testing.T) {
	s := newStreet(1, slices.DeleteFunc(site("temoin"), func(t probes.Target) bool { return t.Path == failover.PathPublic }))
	s.until(120 * time.Second)
	if n := len(s.times("router", 20*time.Second)); n < 95 {
		t.Errorf("router asked %d times in 100 s", n)
	}
}

// TestALossIsSeenAsFastAsEver: a whole site falls silent at a random time. All
// its windows must say so within seven seconds, and none may claim a silence
// that is longer than the truth.
func TestALossIsSeenAsFastAsEver(t *testing.T) {
	var took []time.Duration
	for seed := range uint64(300) {
		s := newStreet(seed, site("moulin"))
		s.doubts = true
		loss := 40*time.Second + time.Duration(seed*7919%15000)*time.Millisecond
		s.answer = func(t probes.Target, at time.Duration) failover.Seen {
			if at >= loss {
				return d
			}
			return booted(t, at)
		}
		s.until(loss)
		for at := loss; ; at += 50 * time.Millisecond {
			s.until(at)
			dark := true
			for _, o := range s.set.Observations(s.now) {
				dark = dark && o.Seen == d
				if o.Seen == d && o.Target != "dropbear:b" && o.For > at-loss {
					t.Fatalf("seed %d: %s silent for %s, truly for %s", seed, o.Target, o.For, at-loss)
				}
			}
			if dark {
				// A silence is known when the last of its probes has run out.
				took = append(took, at-loss+time.Second)
				break
			}
			if at > loss+10*time.Second {
				t.Fatalf("seed %d: not dark after 10 s: %+v", seed, s.set.Observations(s.now))
			}
		}
	}
	slices.Sort(took)
	p50, p99 := took[len(took)/2], took[len(took)*99/100]
	t.Logf("dark after p50 %s, p99 %s, at most %s", p50, p99, took[len(took)-1])
	if p50 > 6300*time.Millisecond || p99 > 7*time.Second {
		t.Errorf("dark after p50 %s, p99 %s", p50, p99)
	}
}

func TestOneMissAsksTheWholeSiteOnceAndItsNeighboursNever(t *testing.T) {
	s := newStreet(3, append(site("moulin"), site("quai")...))
	miss := time.Duration(0)
	s.answer = func(t probes.Target, at time.Duration) failover.Seen {
		if t.Site == "moulin" && t.Name == "agent" && at >= 60*time.Second && miss == 0 {
			miss = at
			return d
		}
		return booted(t, at)
	}
	s.until(59 * time.Second)
	before := len(s.asked)
	s.until(64 * time.Second)
	asked := map[string]int{}
	for _, q := range s.asked[before:] {
		asked[q.name]++
	}
	// Two sites are asked of; a neighbour's slow target may be due in these five seconds, and ours too.
	for _, name := range []string{"router", "pve:a", "pbs:a", "pve:b", "dns", "name:wiki"} {
		if n := asked[name]; n < 1 || n > 4 {
			t.Errorf("%s: asked %d times around one miss", name, n)
		}
		var volley bool
		for _, at := range s.times(name, miss) {
			volley = volley || at <= miss+probes.DoubtAfter+150*time.Millisecond
		}
		if !volley {
			t.Errorf("%s: not asked soon after the miss at %s: %v", name, miss, s.times(name, miss))
		}
	}
}

func TestFiveMissesTakeFiveIntervals(t *testing.T) {
	for seed := range uint64(50) {
		s := newStreet(seed, site("moulin"))
		s.answer = func(_ probes.Target, at time.Duration) failover.Seen {
			if at > 30*time.Second {
				return d
			}
			return u
		}
		s.until(40 * time.Second)
		for _, q := range []string{"agent", "entry", "pve:a", "name:wiki"} {
			at := s.times(q, 30*time.Second)
			if len(at) < 6 {
				t.Fatalf("seed %d: %s: asked %d times in 10 s of silence", seed, q, len(at))
			}
			for i := 1; i < len(at); i++ {
				if gap := at[i] - at[i-1]; gap < 900*time.Millisecond {
					t.Errorf("seed %d: %s: two misses %s apart", seed, q, gap)
				}
			}
		}
	}
}

func TestASlowTargetWakesItsSite(t *testing.T) {
	s := newStreet(5, site("moulin"))
	s.answer = func(t probes.Target, at time.Duration) failover.Seen {
		if t.Name == "pve:a" && at >= 60*time.Second {
			return d
		}
		return booted(t, at)
	}
	s.until(85 * time.Second)
	first := s.times("pve:a", 60*time.Second)[0]
	if first > 77*time.Second {
		t.Errorf("first missed at %s", first)
	}
	o := s.seen("pve:a")
	if truly := 85*time.Second - 60*time.Second; o.Seen != d || o.For > truly || o.For != 85*time.Second-first {
		t.Errorf("%s for %s, want silence since the first miss %s ago", o.Seen, o.For, 85*time.Second-first)
	}
	if n := len(s.times("pve:b", first+time.Second)); n < int((84*time.Second-first)/time.Second)-1 {
		t.Errorf("its neighbour was asked %d times in %s", n, 84*time.Second-first)
	}
}

// TestAnOldSilenceLetsItsSiteRest: a host that has been off for an hour keeps
// only itself awake.
func TestAnOldSilenceLetsItsSiteRest(t *testing.T) {
	s := newStreet(5, site("moulin"))
	s.doubts = true
	s.answer = func(t probes.Target, at time.Duration) failover.Seen {
		if t.Name == "pve:a" && at >= 60*time.Second {
			return d
		}
		return booted(t, at)
	}
	s.until(time.Hour)
	from := 50 * time.Minute
	if n := len(s.times("pve:b", from)); n > 70 {
		t.Errorf("pve:b: asked %d times in 10 min", n)
	}
	if n := len(s.times("pve:a", from)); n < 500 {
		t.Errorf("pve:a: asked %d times in 10 min", n)
	}
	if o := s.seen("pve:a"); o.Seen != d || o.For < 58*time.Minute {
		t.Errorf("pve:a: %s for %s", o.Seen, o.For)
	}
}

func TestSuspicionAsksTheSiteEachSecond(t *testing.T) {
	s := newStreet(9, append(site("moulin"), site("quai")...))
	s.answer = booted
	s.until(60 * time.Second)
	s.set.Suspect(map[network.SiteID]bool{"moulin": true}, s.now)
	n := len(s.asked)
	s.until(61 * time.Second)
	if asked := len(s.asked) - n; asked < 9+2 {
		t.Errorf("%d probes in the first second of a suspicion, want each of the 9 targets", asked)
	}
	s.until(80 * time.Second)
	n = len(s.asked)
	s.until(90 * time.Second)
	if asked := len(s.asked) - n; asked < 95 || asked > 135 {
		t.Errorf("%d probes in ten seconds of a suspicion, want about 8 × 10 of moulin, 30 of quai", asked)
	}
	s.set.Suspect(nil, s.now)
	s.until(120 * time.Second)
	n = len(s.asked)
	s.until(180 * time.Second)
	if asked := len(s.asked) - n; asked > 340 {
		t.Errorf("%d probes in a minute of rest after it", asked)
	}
}

// TestAStoppedObserverClaimsNoSilence: it was stopped amid misses, and knows
// nothing of the time between.
func TestAStoppedObserverClaimsNoSilence(t *testing.T) {
	s := newStreet(2, site("moulin"))
	s.answer = func(_ probes.Target, at time.Duration) failover.Seen {
		if at > 60*time.Second {
			return d
		}
		return u
	}
	s.until(63 * time.Second)
	s.now = began.Add(75 * time.Second)
	for _, p := range s.set.Steppers() {
		p.Step(context.Background(), s.now)
	}
	for _, o := range s.set.Observations(s.now) {
		if o.Seen == d {
			t.Errorf("%s: silent for %s, although nobody asked for 12 s of it", o.Target, o.For)
		}
	}
}

// TestKnocksStandForTheServiceForAWhile: between two whole questions a primary
// TLS target is only asked whether its address takes connections.
func TestKnocksStandForTheServiceForAWhile(t *testing.T) {
	s := newStreet(4, site("moulin"))
	s.until(120 * time.Second)
	count := map[probes.Kind]int{}
	for _, q := range s.asked {
		if q.name == "entry" && q.at >= 20*time.Second {
			count[q.kind]++
		}
	}
	if whole, knocks := count[probes.KindTLS], count[probes.KindKnock]; whole < 6 || whole > 8 || knocks < 80 {
		t.Errorf("in 100 s: %d whole questions, %d knocks", whole, knocks)
	}
	if o := s.seen("entry"); o.Seen != u || o.Note != string(probes.KindTLS) {
		t.Errorf("%+v, want up by what the service itself said", o)
	}
	// The service freezes, the kernel goes on taking connections for it.
	s.answer = func(t probes.Target, at time.Duration) failover.Seen {
		if t.Name == "entry" && t.Kind == probes.KindTLS {
			return d
		}
		return u
	}
	s.until(120*time.Second + probes.DefaultRest + 7*time.Second)
	if o := s.seen("entry"); o.Seen != d || o.For > 22*time.Second {
		t.Errorf("frozen: %s for %s", o.Seen, o.For)
	}
}

// TestASlowLineIsNoDoubt: handshakes that always take long, as over LTE, do not
// keep their site awake.
func TestASlowLineIsNoDoubt(t *testing.T) {
	s := newStreet(6, site("moulin"))
	s.answer, s.doubts = booted, true
	s.rtt = func(t probes.Target) time.Duration {
		if t.Kind == probes.KindKnock || t.Name == "agent" {
			return 150 * time.Millisecond
		}
		return 550 * time.Millisecond
	}
	s.until(520 * time.Second)
	for _, name := range []string{"router", "pve:a", "name:wiki"} {
		if n := len(s.times(name, 20*time.Second)); n > 60 {
			t.Errorf("%s: %d probes in 500 s, want about 35", name, n)
		}
	}
}
