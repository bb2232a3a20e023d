package api

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/raoull/worldwidewelsh/failover"
)

// lossBuckets of a minute each are what wwwd_mesh_loss_ratio is made of.
const lossBuckets = 5

// ProbeSample is one probe that was made.
type ProbeSample struct {
	Site   failover.SiteID
	Target string // as in an observation
	Probe  string // the kind of question
	Path   failover.Path
	Seen   failover.Seen
	Took   time.Duration
	RTT    time.Duration // zero without an answer
	Ahead  time.Duration // the peer's clock minus this one's; zero: not told
}

// ProbeMetrics are this agent's own view (ux.md 4.3), counted as it probes: the
// shared view is read from State at each scrape. Safe for concurrent use.
type ProbeMetrics struct {
	total   *prometheus.CounterVec
	packets prometheus.Counter
	success *prometheus.GaugeVec
	took    *prometheus.HistogramVec
	rtt     *prometheus.GaugeVec
	loss    *prometheus.GaugeVec
	clock   *prometheus.GaugeVec

	mu     sync.Mutex // over memory only
	losses map[failover.SiteID]*lossRatio
	asked  map[targetKey]string // the last whole question
}

type targetKey struct {
	site   failover.SiteID
	target string
}

// NewProbeMetrics registers them.
func NewProbeMetrics(reg prometheus.Registerer) (*ProbeMetrics, error) {
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "wwwd_" + name, Help: help}, labels)
	}
	m := &ProbeMetrics{
		total: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "wwwd_probes_total", Help: "Probes made, by what was seen: up, refused, down, unknown.",
		}, []string{"probe", "seen"}),
		packets: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "wwwd_probe_packets_total", Help: "Packets sent and received by probes, estimated; its rate is packets per second.",
		}),
		success: gauge("probe_success", "1 when the target answered its last probe as expected.", "site", "target", "probe"),
		took: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "wwwd_probe_duration_seconds", Help: "Duration of probes.",
			Buckets: []float64{.005, .01, .025, .05, .1, .2, .4, .7, 1, 2},
		}, []string{"site", "probe"}),
		rtt:    gauge("mesh_rtt_seconds", "Time until the agent of a peer answered over the mesh, the last time it did.", "peer"),
		loss:   gauge("mesh_loss_ratio", "Share of probes of a peer's agent over the mesh without an answer, of five minutes.", "peer"),
		clock:  gauge("clock_offset_seconds", "By how much the clock of a peer's machine is ahead of this one's, the last time it told.", "peer"),
		losses: map[failover.SiteID]*lossRatio{},
		asked:  map[targetKey]string{},
	}
	for _, c := range []prometheus.Collector{m.total, m.packets, m.success, m.took, m.rtt, m.loss, m.clock} {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("register metrics of probes: %w", err)
		}
	}
	return m, nil
}

// Packets counts packets; n is not negative.
func (m *ProbeMetrics) Packets(n int) { m.packets.Add(float64(n)) }

// Probed counts a probe that ended at a time.
func (m *ProbeMetrics) Probed(p ProbeSample, now time.Time) {
	m.total.WithLabelValues(p.Probe, string(p.Seen)).Inc()
	if p.Seen == failover.SeenUnknown {
		return // not tried: nothing was measured
	}
	if strings.HasPrefix(p.Target, "closed:") {
		return // there success is silence; what is open is told by the shared view
	}
	site := string(p.Site)
	m.took.WithLabelValues(site, p.Probe).Observe(p.Took.Seconds())
	m.mu.Lock()
	defer m.mu.Unlock()
	// A knock stands for the question that was asked before it.
	key := targetKey{p.Site, p.Target}
	if p.Probe != "knock" || m.asked[key] == "" {
		m.asked[key] = p.Probe
	}
	m.success.WithLabelValues(site, p.Target, m.asked[key]).Set(truth(p.Seen == failover.SeenUp))
	if p.Target != "agent" || p.Path != failover.PathMesh {
		return
	}
	if p.Seen.Alive() {
		m.rtt.WithLabelValues(site).Set(p.RTT.Seconds())
	}
	if p.Ahead != 0 {
		m.clock.WithLabelValues(site).Set(p.Ahead.Seconds())
	}
	l := m.losses[p.Site]
	if l == nil {
		l = &lossRatio{}
		m.losses[p.Site] = l
	}
	m.loss.WithLabelValues(site).Set(l.add(now, !p.Seen.Alive()))
}

// Forget drops the series of a target that is probed no more.
func (m *ProbeMetrics) Forget(site failover.SiteID, target string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.asked, targetKey{site, target})
	m.success.DeletePartialMatch(prometheus.Labels{"site": string(site), "target": target})
	if target != "agent" {
		return
	}
	m.rtt.DeleteLabelValues(string(site))
	m.loss.DeleteLabelValues(string(site))
	m.clock.DeleteLabelValues(string(site))
	delete(m.losses, site)
}

// lossRatio counts probes by the minute.
type lossRatio struct {
	minute int64 // of the newest bucket
	all    [lossBuckets]int
	lost   [lossBuckets]int
}

func (l *lossRatio) add(now time.Time, lost bool) float64 {
	minute := now.Unix() / 60
	for step := max(l.minute+1, minute-lossBuckets+1); step <= minute; step++ {
		l.all[step%lossBuckets], l.lost[step%lossBuckets] = 0, 0
	}
	l.minute = max(l.minute, minute)
	i := l.minute % lossBuckets
	l.all[i]++
	if lost {
		l.lost[i]++
	}
	all, missed := 0, 0
	for i := range l.all {
		all, missed = all+l.all[i], missed+l.lost[i]
	}
	return float64(missed) / float64(all)
}

// TunnelPeer is one WireGuard peer as it was last read.
type TunnelPeer struct {
	Peer      string // the site, or the peer's name where no site is known
	Reader    string // "agent": this machine's interface; "router"
	Interface string
	State     string        // works, frozen, idle, fresh
	Handshake time.Duration // ago, at the time of reading; negative: never
	At        time.Time     // of the reading
	Rx, Tx    uint64
}

// tunnelStates are the values of the label state.
var tunnelStates = []string{"works", "frozen", "idle", "fresh"}

type tunnelCollector struct {
	peers                    func() []TunnelPeer
	rx, tx, handshake, state *prometheus.Desc
}

// RegisterTunnels registers a collector of what WireGuard counts; peers is
// called at each scrape and calls nobody.
func RegisterTunnels(reg prometheus.Registerer, peers func() []TunnelPeer) error {
	desc := func(name, help string, more ...string) *prometheus.Desc {
		return prometheus.NewDesc("wwwd_wireguard_"+name, help, append([]string{"peer", "reader", "interface"}, more...), nil)
	}
	c := tunnelCollector{
		peers:     peers,
		rx:        desc("receive_bytes_total", "Bytes received from a WireGuard peer."),
		tx:        desc("transmit_bytes_total", "Bytes sent to a WireGuard peer."),
		handshake: desc("last_handshake_timestamp_seconds", "Last handshake with a WireGuard peer; 0 when there was none. Its age alone says nothing."),
		state:     desc("state", "What the byte counters say of a tunnel, 1 for the current state.", "state"),
	}
	if err := reg.Register(c); err != nil {
		return fmt.Errorf("register metrics of tunnels: %w", err)
	}
	return nil
}

// Describe implements prometheus.Collector.
func (c tunnelCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.rx, c.tx, c.handshake, c.state} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c tunnelCollector) Collect(ch chan<- prometheus.Metric) {
	seen := map[[3]string]bool{}
	for _, p := range c.peers() {
		labels := [3]string{p.Peer, p.Reader, p.Interface}
		if seen[labels] {
			continue // two peers of one name would fail the whole scrape
		}
		seen[labels] = true
		send := func(d *prometheus.Desc, kind prometheus.ValueType, v float64, more ...string) {
			ch <- prometheus.MustNewConstMetric(d, kind, v, append(labels[:], more...)...)
		}
		send(c.rx, prometheus.CounterValue, float64(p.Rx))
		send(c.tx, prometheus.CounterValue, float64(p.Tx))
		handshake := 0.0
		if p.Handshake >= 0 {
			handshake = unixSeconds(p.At.Add(-p.Handshake))
		}
		send(c.handshake, prometheus.GaugeValue, handshake)
		for _, s := range tunnelStates {
			send(c.state, prometheus.GaugeValue, truth(s == p.State), s)
		}
	}
}
