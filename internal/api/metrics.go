package api

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/raoull/worldwidewelsh/failover"
)

// planEvery is how old the evaluated plans ("if this site died now") may be:
// they are the only costly part of a scrape.
const planEvery = 30 * time.Second

// RegisterMetrics registers a collector that reads the agent's State at each
// scrape. Nothing is counted in between: what State forgets is remembered
// here from one scrape to the next (ended operations, changes of leader).
func RegisterMetrics(reg prometheus.Registerer, b Backend) error {
	if err := reg.Register(newCollector(b)); err != nil {
		return fmt.Errorf("register metrics: %w", err)
	}
	return nil
}

type collector struct {
	backend Backend
	d       map[string]*prometheus.Desc

	mu      sync.Mutex // over pure computation only
	changes changes
	config  configHash
	plans   plans
}

// changes are the counters, and up to which log entry they have counted.
type changes struct {
	index   uint64
	leaders float64
	ended   map[endedKey]float64
	took    durations
}

type endedKey struct {
	kind   failover.OpKind
	site   failover.SiteID
	result string
}

type configHash struct {
	version uint64
	hash    string
}

func newCollector(b Backend) *collector {
	return &collector{backend: b, d: descriptors(), changes: changes{ended: map[endedKey]float64{}, took: durations{}}}
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range c.d {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	s, now := c.backend.State(), c.backend.Now()
	v := scrape{
		d: c.d, ch: ch, s: s, now: now, node: c.backend.Node(),
		st: failover.Explain(s, c.backend.Local(), now),
	}
	counted, hash, evaluated := c.advance(s, now)
	v.agent(hash)
	v.raft()
	v.counter("raft_leader_changes_total", counted.leaders)
	v.automation()
	if s.Network == nil {
		return
	}
	v.sites()
	views := failover.ExplainGuests(s, now)
	v.guests(views)
	v.warm(views)
	v.services()
	v.certificates()
	v.operations(counted.ended)
	v.durations(counted.took)
	v.dns()
	v.plans(evaluated)
}

// advance brings the remembered part up to date and returns a copy of it.
func (c *collector) advance(s *failover.State, now time.Time) (changes, string, plans) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.Index > c.changes.index {
		c.changes.count(s)
	}
	if s.Network != nil && (c.config.hash == "" || c.config.version != s.NetworkVersion) {
		b, _ := json.Marshal(s.Network) // plain values: cannot fail
		sum := sha256.Sum256(b)
		c.config = configHash{s.NetworkVersion, hex.EncodeToString(sum[:6])}
	}
	if s.Network != nil && (c.plans.sites == nil || now.Sub(c.plans.at) >= planEvery || c.plans.index != s.NetworkVersion) {
		c.plans = evaluate(s, now)
	}
	out := c.changes
	out.ended = make(map[endedKey]float64, len(c.changes.ended))
	for k, n := range c.changes.ended {
		out.ended[k] = n
	}
	out.took = c.changes.took.clone()
	return out, c.config.hash, c.plans
}

func (c *changes) count(s *failover.State) {
	for _, e := range s.Events {
		if e.Stamp.Index > c.index && e.Reason.Code == failover.CodeNewLeader {
			c.leaders++
		}
	}
	for _, op := range s.Ops {
		if op.Phase.Ended() && op.Ended.Index > c.index {
			c.ended[endedKey{op.Kind, op.Plan.Loss.Site, resultOf(op)}]++
			c.took.operation(op)
		}
	}
	c.index = s.Index
}

// resultOf sums an ended operation up: ok, partial, failed or cancelled.
func resultOf(op failover.Operation) string {
	switch op.Phase {
	case failover.OpDone:
		return "ok"
	case failover.OpCancelled:
		return "cancelled"
	}
	for _, run := range op.Guests {
		if run.Served.Index != 0 {
			return "partial"
		}
	}
	return "failed"
}

// scrape is one reading.
type scrape struct {
	d    map[string]*prometheus.Desc
	ch   chan<- prometheus.Metric
	s    *failover.State
	st   failover.Status
	node Node
	now  time.Time
}

func (v scrape) gauge(name string, value float64, labels ...string) {
	v.ch <- prometheus.MustNewConstMetric(v.d[name], prometheus.GaugeValue, value, labels...)
}

func (v scrape) counter(name string, value float64, labels ...string) {
	v.ch <- prometheus.MustNewConstMetric(v.d[name], prometheus.CounterValue, value, labels...)
}

// oneOf writes one series per possible state, 1 for the one that holds.
func (v scrape) oneOf(name, current string, all []string, labels ...string) {
	for _, state := range all {
		v.gauge(name, truth(state == current), append(slices.Clone(labels), state)...)
	}
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func unixSeconds(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMilli()) / 1000
}

func (v scrape) agent(hash string) {
	v.gauge("build_info", 1, v.st.Local.Version, v.node.Revision, runtime.Version())
	if hash != "" {
		v.gauge("config_info", 1, hash)
	}
	v.gauge("state_age_seconds", v.st.Local.LastContact.Seconds())
}

func (v scrape) raft() {
	v.oneOf("raft_state", v.node.Role, []string{"leader", "follower", "candidate"})
	v.gauge("raft_has_leader", truth(v.st.Local.HasLeader))
	v.gauge("raft_term", float64(v.node.Term))
	v.gauge("raft_commit_index", float64(v.node.Commit))
	v.gauge("raft_applied_index", float64(v.node.Applied))
	voters := 0
	for _, m := range v.s.Members {
		if m.Voter {
			voters++
		}
	}
	v.gauge("raft_peers", float64(voters), "voter")
	v.gauge("raft_peers", float64(len(v.s.Members)-voters), "nonvoter")
	v.gauge("raft_quorum_margin", float64(v.st.Quorum.Present-v.st.Quorum.Needed))
}

func (v scrape) automation() {
	v.gauge("automation_armed", truth(v.st.Armed))
	expires := 0.0
	for _, p := range v.st.Pauses {
		switch {
		case p.Site != "":
		case p.Until.IsZero():
			expires = math.Inf(1)
		default:
			expires = unixSeconds(p.Until)
		}
	}
	v.gauge("pause_expires_timestamp_seconds", expires)
}

func (v scrape) dns() {
	for _, z := range v.st.Zones {
		for server, ok := range z.Servers {
			v.gauge("dns_in_sync", truth(ok), z.Zone, server)
		}
		v.gauge("dns_last_change_timestamp_seconds", unixSeconds(z.Since), z.Zone)
	}
	for _, id := range v.s.Network.GuestIDs() {
		for _, name := range v.s.Network.Guests[id].Names {
			zone := v.s.Network.ZoneOf(name)
			v.gauge("dns_record_ttl_seconds", v.s.Network.Zones[zone].TTL.D().Seconds(), zone, name)
		}
	}
	v.gauge("dns_held_names", float64(len(v.s.Holds)))
}
