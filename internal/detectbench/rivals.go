package detectbench

import (
	"math"

	"github.com/raoull/worldwidewelsh/failover"
)

// Rival is another program's way to decide that a site is lost. Each folds the
// same probes of the same traces, of the site's agent, once a second.
type Rival int

// Rivals.
const (
	// FixedTimeout: one observer, 120 s without an answer (PegaProx; most scripts).
	FixedTimeout Rival = iota
	// Quorum: three of five see 30 s of silence, and act at once (Redis Sentinel at its defaults).
	Quorum
	// Suspicion: memberlist on its LAN settings; any member that declares another dead acts.
	Suspicion
	// PhiAccrual: one observer, phi 8, 1000 intervals, deviation at least 0.5 s.
	PhiAccrual
	rivalKinds
)

func (r Rival) String() string {
	return [...]string{"one observer, 120 s", "quorum of 30 s, no hold-down", "memberlist suspicion", "phi-accrual 8"}[r]
}

// RivalTally counts what one rival would have done.
type RivalTally struct {
	Homes  [lineKinds]float64 // years
	Judged [lineKinds]Judged
	At     Histogram // from the true loss to the decision
}

func (r *RivalTally) merge(o *RivalTally) {
	for l := range lineKinds {
		r.Homes[l] += o.Homes[l]
		r.Judged[l].merge(o.Judged[l])
	}
	r.At.merge(&o.At)
}

// sightings is one second of one site: what each other agent's probe met.
type sightings struct {
	tried, missed [sites]bool
	together      [sites]uint8 // whom each agent can talk to, itself included, as bits
}

// rivals are the detectors that watch one site.
type rivals struct {
	site    int
	silent  [sites]int // seconds, per observer
	suspect [sites]int // seconds that an observer has suspected the site
	fired   [rivalKinds]bool
	phi     accrual
}

// step folds one second and says who decides now that the site is lost.
func (r *rivals) step(n int64, s sightings) (fires [rivalKinds]bool) {
	quorum := 0
	for o := range sites {
		switch {
		case o == r.site || !s.tried[o]:
			// Nobody looked. What was silent stays so.
		case s.missed[o]:
			r.silent[o]++
		default:
			r.silent[o] = 0
		}
		if o != r.site && r.silent[o] >= 30 && ones(s.together[o]) > sites/2 {
			quorum++
		}
	}
	one := (r.site + 1) % sites
	now := [rivalKinds]bool{
		FixedTimeout: r.silent[one] >= 120,
		Quorum:       quorum > sites/2,
		Suspicion:    r.suspicion(s),
		PhiAccrual:   s.tried[one] && r.phi.step(n, s.missed[one]),
	}
	for k := range rivalKinds {
		fires[k] = now[k] && !r.fired[k]
		r.fired[k] = now[k]
	}
	return fires
}

func ones(b uint8) (n int) {
	for ; b != 0; b &= b - 1 {
		n++
	}
	return n
}

// suspicion is memberlist's: a member whose own probe and those of all it can
// ask fail suspects; the site refutes when anybody among them reaches it; the
// timeout shrinks from 24 s to 4 s with two independent confirmations (n = 5,
// multiplier 4, 6 times as a maximum; failover.md 2a).
func (r *rivals) suspicion(s sightings) bool {
	dead := false
	for o := range sites {
		if o == r.site || !s.tried[o] {
			continue
		}
		confirm, refuted := -1, false // itself is no confirmation
		for k := range sites {
			if k == r.site || s.together[o]>>k&1 == 0 || !s.tried[k] {
				continue
			}
			if s.missed[k] {
				confirm++
			} else {
				refuted = true
			}
		}
		if refuted {
			r.suspect[o] = 0
			continue
		}
		r.suspect[o]++
		timeout := 24 - math.Log(float64(confirm+1))/math.Log(3)*20
		dead = dead || float64(r.suspect[o]) >= math.Max(4, timeout)
	}
	return dead
}

// accrual is the phi-accrual detector with a window of the last 1000 intervals
// between answers; those of a second are not kept one by one.
type accrual struct {
	last int64 // answer
	long []interval
}

type interval struct{ at, length int64 }

const (
	accrualWindow = 1000
	accrualFloor  = 0.5 // seconds, of the deviation
	accrualLimit  = 8
)

// step folds the probe of one second; a silence before the first answer is none.
func (a *accrual) step(n int64, missed bool) bool {
	if !missed {
		if gap := n - a.last; a.last != 0 && gap > 1 && gap < 120 {
			a.long = append(a.long, interval{n, gap})
		}
		a.last = n
		return false
	}
	if a.last == 0 {
		a.last = n - 1
	}
	return a.phi(n) >= accrualLimit
}

// resume says that nothing was missed since: the detector is told of seconds
// in which something was wrong only.
func (a *accrual) resume(n int64) {
	a.last = n
	for len(a.long) > 0 && a.long[0].at < n-accrualWindow {
		a.long = a.long[1:]
	}
}

func (a *accrual) phi(n int64) float64 {
	sum, squares, count := 0.0, 0.0, float64(accrualWindow)
	for _, i := range a.long {
		if i.at < n-accrualWindow {
			continue
		}
		sum += float64(i.length) - 1
		squares += float64((i.length - 1) * (i.length - 1))
	}
	mean := 1 + sum/count
	deviation := math.Max(accrualFloor, math.Sqrt(math.Max(0, squares/count-(mean-1)*(mean-1))))
	// A probe's loss is known when its second is over.
	elapsed := float64(n-a.last) + 1
	later := 0.5 * math.Erfc((elapsed-mean)/(deviation*math.Sqrt2))
	return -math.Log10(math.Max(later, 1e-300))
}

// compare lets all rivals watch the homes of a network through its trace.
func compare(place *Place, trace Trace, seed uint64, years float64) (out [rivalKinds]RivalTally) {
	var truth Truth
	var watch [briques]rivals
	var eyes [sites][briques]*eye
	for o := range sites {
		for _, e := range newAgent(place, o, seed).eyes {
			if e.agent && e.site < briques {
				eyes[o][e.site] = e
			}
		}
	}
	for s := range watch {
		watch[s].site = s
		for k := range out {
			out[k].Homes[place.Lines[s]] += years
		}
	}
	for i, c := range trace.Clusters() {
		f := field{lines: &place.Lines, effects: c.Effects}
		truth.learn(f, c)
		for s := range watch {
			if !c.about(s) {
				continue
			}
			watch[s].silent, watch[s].suspect = [sites]int{}, [sites]int{}
			watch[s].phi.resume(c.From/second - 2)
			for n := c.From/second - 1; n <= c.To/second+30; n++ {
				fires := watch[s].step(n, f.sight(eyes, s, n, i))
				for k, fired := range fires {
					if fired {
						out[k].judge(&truth, s, place.Lines[s], (n+1)*second)
					}
				}
			}
		}
	}
	return out
}

// about says whether a cluster can change what anybody meets at a site.
func (c Cluster) about(s int) bool {
	for i := range c.Effects {
		for o := range sites {
			if o != s && c.Effects[i].about(o, s) {
				return true
			}
		}
	}
	return false
}

// sight gathers what all agents meet at a site in one second.
func (f field) sight(eyes [sites][briques]*eye, s int, n int64, cluster int) (out sightings) {
	for o := range sites {
		e := eyes[o][s]
		if o == s || e == nil || !f.running(o, n*second) {
			continue
		}
		seen, tried := f.ask(e, n, n*second+phaseOf(e, cluster))
		out.tried[o], out.missed[o] = tried, seen == failover.SeenDown
		out.together[o] = 1 << o
		if !out.missed[o] && tried {
			continue // whom it can talk to matters to those only that suspect
		}
		for k := range sites {
			if k != o && k != s && f.running(k, n*second) && f.meets(o, k, n*second) {
				out.together[o] |= 1 << k
			}
		}
	}
	return out
}

// judge counts a decision at a time by the truth half a second before.
func (r *RivalTally) judge(truth *Truth, s int, line Line, t int64) {
	e, cut := truth.at(s, t-second/2)
	j := &r.Judged[line]
	switch {
	case !cut:
		j.Wrong++
	case e.length() < trueLoss.Milliseconds():
		j.Regret++
	default:
		j.Right++
		r.At.add(t - e.From)
	}
}
