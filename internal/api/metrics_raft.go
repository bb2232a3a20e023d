package api

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/raoull/worldwidewelsh/failover"
)

// RaftSample is what an agent's Raft knows beyond State.
type RaftSample struct {
	Snapshot time.Time                     // the newest; zero: none yet
	Heard    map[failover.SiteID]time.Time // peers that this agent listens to; zero: never heard
}

// RaftMetrics are those of this agent's Raft. Safe for concurrent use.
type RaftMetrics struct {
	read           func() RaftSample
	applied        prometheus.Histogram
	snapshot, peer *prometheus.Desc
}

// NewRaftMetrics registers them; read is called at each scrape.
func NewRaftMetrics(reg prometheus.Registerer, read func() RaftSample) (*RaftMetrics, error) {
	m := &RaftMetrics{
		read: read,
		applied: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "wwwd_raft_apply_duration_seconds", Help: "From the proposal of a log entry until it was applied, at the agent that led.",
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5},
		}),
		snapshot: prometheus.NewDesc("wwwd_raft_snapshot_last_timestamp_seconds", "When this agent last wrote a snapshot of the log; 0 when it has none.", nil, nil),
		peer: prometheus.NewDesc("wwwd_raft_peer_last_contact_timestamp_seconds",
			"When a peer was last heard by Raft, 0 for never: a leader hears all of them, a follower its leader.", []string{"peer"}, nil),
	}
	if err := reg.Register(m); err != nil {
		return nil, fmt.Errorf("register metrics of Raft: %w", err)
	}
	return m, nil
}

// Applied counts an entry.
func (m *RaftMetrics) Applied(took time.Duration) { m.applied.Observe(took.Seconds()) }

// Describe implements prometheus.Collector.
func (m *RaftMetrics) Describe(ch chan<- *prometheus.Desc) {
	m.applied.Describe(ch)
	ch <- m.snapshot
	ch <- m.peer
}

// Collect implements prometheus.Collector.
func (m *RaftMetrics) Collect(ch chan<- prometheus.Metric) {
	m.applied.Collect(ch)
	s := m.read()
	ch <- prometheus.MustNewConstMetric(m.snapshot, prometheus.GaugeValue, unixSeconds(s.Snapshot))
	for site, at := range s.Heard {
		ch <- prometheus.MustNewConstMetric(m.peer, prometheus.GaugeValue, unixSeconds(at), string(site))
	}
}
