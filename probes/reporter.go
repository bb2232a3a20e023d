package probes

import (
	"slices"
	"strings"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/network"
)

// Rates of reporting (design section 5).
const (
	coalesce    = 250 * time.Millisecond // from the first change until its report, for company
	refreshDown = 5 * time.Second        // while something is silent
	refreshIdle = time.Minute            // otherwise
	retryAfter  = time.Second            // after a proposal that failed
)

// dropbearPrefix begins the names of targets that are silent on every host that
// has booted: there silence is no news.
const dropbearPrefix = "dropbear:"

// ReporterConfig is what does not change while the process runs.
type ReporterConfig struct {
	Observer network.SiteID
	Boot     string // random for each start of the process
	Version  string
}

// Inputs are what a report is made of, and what decides when.
type Inputs struct {
	Observations []failover.Observation
	Unwell       []string
	Exposed      []failover.Exposure
	// Term of the leader that State counts by: its reports must be of its own term.
	Term uint64
	// Levels of silence of a site at which something happens, ascending; nil: none. It is asked at every
	// look: keep what the function Levels returned until the declared network changes.
	Levels func(network.SiteID) []time.Duration
	// Suspicion says that somebody suspects something: then every observer
	// refreshes quickly, since its word may be the one that contradicts.
	Suspicion bool
	// ReturnAfter is how long a target that was silent must be seen to be back.
	ReturnAfter time.Duration
}

// Levels returns the durations of silence of a site at which a level is
// reached for some guest of it, or for the site itself, ascending.
func Levels(spec *network.Spec, site network.SiteID, every time.Duration) []time.Duration {
	var out []time.Duration
	add := func(p network.Policy) {
		out = append(out, time.Duration(p.SuspectMisses)*every, p.PrepareA.D(), p.Alert.D(), p.PrepareB.D())
	}
	add(spec.Policy)
	if spec.Policy.SuspectMisses > 0 {
		// A cause other than loss is named, and a lone sighting alarmed, at once and not at the next refresh.
		out = append(out, failover.SettledAfter(spec.Policy), failover.LoneSightingAfter, failover.UselessPrepareB)
	}
	out = append(out, spec.Policy.Commit.D())
	if spec.Sites[site].Dual() {
		out = append(out, spec.Policy.CommitDual.D())
	}
	for _, g := range spec.GuestIDs() {
		if spec.Home(g) == site {
			add(spec.PolicyOf(g))
			out = append(out, spec.CommitDelay(g))
		}
	}
	out = slices.DeleteFunc(out, func(d time.Duration) bool { return d <= 0 })
	slices.Sort(out)
	return slices.Compact(out)
}

// key names an observation within one observer's report.
type key struct {
	site   network.SiteID
	target string
	path   failover.Path
}

func sameTarget(a, b failover.Observation) bool { return keyOf(a) == keyOf(b) }

func keyOf(o failover.Observation) key { return key{o.Site, o.Target, o.Path} }

// Reporter decides when a Report must be proposed. It is a pure fold: Due and
// Next look, Build makes a report, Accepted and Failed say what became of it.
// Not safe for concurrent use.
type Reporter struct {
	config ReporterConfig
	seq    uint64

	accepted  bool // some report was, and the fields below speak of the newest
	at        time.Time
	term      uint64
	told      map[key]failover.Observation
	list      []failover.Observation // told, in the order of the report
	unwell    []string
	exposed   []failover.Exposure
	returning map[key]bool // were silent, and have not been seen for ReturnAfter yet

	changed   time.Time // when a change was first noticed, zero without one
	notBefore time.Time // after a failure
}

// NewReporter returns a Reporter that has reported nothing: a report is due.
func NewReporter(c ReporterConfig) *Reporter {
	return &Reporter{config: c, returning: map[key]bool{}}
}

// Due says whether a report must be proposed now: at the first call and at
// once in a new term; a quarter of a second after a change; when a silence
// reaches a level or a return its time; else to refresh.
func (r *Reporter) Due(now time.Time, in Inputs) bool {
	r.notice(now, in)
	return !r.Next(now, in).After(now)
}

// Next returns when a report is due if nothing changes until then.
func (r *Reporter) Next(now time.Time, in Inputs) time.Time {
	return latest(r.wanted(now, in), r.notBefore)
}

func (r *Reporter) wanted(now time.Time, in Inputs) time.Time {
	if !r.accepted || in.Term != r.term {
		return now
	}
	refresh := refreshIdle
	if in.Suspicion || slices.ContainsFunc(in.Observations, silent) {
		refresh = refreshDown
	}
	next := r.at.Add(refresh)
	if !r.changed.IsZero() {
		next = earliest(next, r.changed.Add(coalesce))
	}
	for _, o := range r.deciding(in.Observations) {
		if at, ok := r.crossing(now, o, in); ok {
			next = earliest(next, at)
		}
	}
	return next
}

// deciding picks the observations whose duration a verdict waits for: those
// that return, and of the silent ones the shortest of each site and of each
// host. The others reach a level a moment before them and change nothing; a
// report for each would be a dozen per level.
func (r *Reporter) deciding(all []failover.Observation) []failover.Observation {
	var domains []silence
	var out []failover.Observation
	for i, o := range all {
		switch {
		case silent(o):
			domains = shorter(domains, all, i, silence{site: o.Site})
			if kind, host, ok := strings.Cut(o.Target, ":"); ok && (kind == "pve" || kind == "pbs") {
				domains = shorter(domains, all, i, silence{site: o.Site, host: host})
			}
		case len(r.returning) > 0 && r.returning[keyOf(o)]:
			out = append(out, o)
		}
	}
	for _, d := range domains {
		out = append(out, all[d.shortest])
	}
	return out
}

// silence is the shortest that is observed of a site or, with its name, of a host.
type silence struct {
	site     network.SiteID
	host     string
	shortest int // which observation
}

// shorter takes an observation of a domain in, in place of a longer one.
func shorter(domains []silence, all []failover.Observation, i int, of silence) []silence {
	of.shortest = i
	n := slices.IndexFunc(domains, func(d silence) bool { return d.site == of.site && d.host == of.host })
	if n < 0 {
		return append(domains, of)
	}
	if all[i].For < all[domains[n].shortest].For {
		domains[n] = of
	}
	return domains
}

// notice remembers when what is seen first differed from what was told, and
// forgets it when it is as told again.
func (r *Reporter) notice(now time.Time, in Inputs) {
	switch {
	case !r.differs(in):
		r.changed = time.Time{}
	case r.changed.IsZero():
		r.changed = now
	}
}

func (r *Reporter) differs(in Inputs) bool {
	if len(in.Observations) != len(r.told) || !slices.Equal(in.Unwell, r.unwell) || !slices.Equal(in.Exposed, r.exposed) {
		return true
	}
	for i, o := range in.Observations {
		told, ok := r.list[i], true
		if keyOf(told) != keyOf(o) { // the targets are not what they were
			told, ok = r.told[keyOf(o)]
		}
		if !ok || told.Seen != o.Seen || told.Certificate != o.Certificate {
			return true
		}
	}
	return false
}

// crossing returns when an observation reaches the next duration that matters
// and was not told yet; in the past if it has.
func (r *Reporter) crossing(now time.Time, o failover.Observation, in Inputs) (time.Time, bool) {
	told := r.told[keyOf(o)]
	switch {
	case silent(o):
		known := time.Duration(0)
		if silent(told) {
			known = told.For
		}
		if o.For < known {
			known = 0 // another silence: between two reports the target was seen
		}
		for _, level := range levelsOf(in, o.Site) {
			if level > known {
				return now.Add(level - o.For), true
			}
		}
	case o.Seen.Alive() && r.returning[keyOf(o)]:
		return now.Add(in.ReturnAfter - o.For), true
	}
	return time.Time{}, false
}

func levelsOf(in Inputs, site network.SiteID) []time.Duration {
	if in.Levels == nil {
		return nil
	}
	return in.Levels(site)
}

// silent says whether an observation is of a silence that means something: not
// that of a tunnel, which no verdict waits for.
func silent(o failover.Observation) bool {
	return o.Seen == failover.SeenDown && !strings.HasPrefix(o.Target, dropbearPrefix) && o.Path != failover.PathTunnel
}

// Build makes a report of the inputs, with a number above all before it: one
// whose outcome is unknown is never repeated but followed.
func (r *Reporter) Build(in Inputs) failover.Report {
	r.seq++
	return failover.Report{
		Observer: r.config.Observer, Boot: r.config.Boot, Seq: r.seq, Version: r.config.Version,
		Unwell: slices.Clone(in.Unwell), Observations: slices.Clone(in.Observations),
		Exposed: slices.Clone(in.Exposed), Reads: newerThanFirst(failover.CommandVersion),
	}
}

// newerThanFirst leaves out what the first release reads anyway.
func newerThanFirst(version int) int {
	if version <= 1 {
		return 0
	}
	return version
}

// Accepted takes note that a report has entered the log in a term.
func (r *Reporter) Accepted(now time.Time, report failover.Report, in Inputs) {
	r.accepted, r.at, r.term = true, now, in.Term
	r.unwell, r.exposed = report.Unwell, report.Exposed
	r.changed, r.notBefore = time.Time{}, time.Time{}
	if len(r.told) == 0 || !slices.EqualFunc(r.list, report.Observations, sameTarget) {
		r.told = make(map[key]failover.Observation, len(report.Observations))
	}
	r.list = report.Observations
	returning := map[key]bool{}
	for _, o := range report.Observations {
		k := keyOf(o)
		r.told[k] = o
		switch {
		case silent(o):
			returning[k] = true
		case o.Seen.Alive() && o.For >= in.ReturnAfter:
		case r.returning[k]:
			returning[k] = true
		}
	}
	r.returning = returning
}

// Failed takes note that a proposal failed or that its outcome is unknown.
func (r *Reporter) Failed(now time.Time) { r.notBefore = now.Add(retryAfter) }

func earliest(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
