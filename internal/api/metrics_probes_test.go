package api_test

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/api"
)

func probeMetrics(t *testing.T) (*prometheus.Registry, *api.ProbeMetrics) {
	t.Helper()
	reg := prometheus.NewPedanticRegistry()
	m, err := api.NewProbeMetrics(reg)
	if err != nil {
		t.Fatal(err)
	}
	return reg, m
}

func TestProbeMetrics(t *testing.T) {
	reg, m := probeMetrics(t)
	now := time.Unix(1_800_000_000, 0)
	agent := api.ProbeSample{
		Site: "quai", Target: "agent", Probe: "agent", Path: failover.PathMesh, Seen: failover.SeenUp,
		Took: 20 * time.Millisecond, RTT: 18 * time.Millisecond,
	}
	lost := agent
	lost.Seen, lost.Took, lost.RTT = failover.SeenDown, time.Second, 0
	unknown := lost
	unknown.Seen = failover.SeenUnknown
	for i, p := range []api.ProbeSample{lost, agent, agent, agent, unknown} {
		m.Probed(p, now.Add(time.Duration(i)*time.Second))
	}
	entry := api.ProbeSample{Site: "quai", Target: "entry", Probe: "tls", Path: failover.PathPublic, Seen: failover.SeenUp, Took: time.Millisecond}
	m.Probed(entry, now)
	entry.Probe, entry.Seen = "knock", failover.SeenRefused
	m.Probed(entry, now)
	m.Probed(api.ProbeSample{Site: "quai", Target: "closed:203.0.113.7:22", Probe: "knock", Seen: failover.SeenUp}, now)
	m.Packets(7)
	m.Packets(3)
	compare(t, reg, `
# HELP wwwd_mesh_loss_ratio Share of probes of a peer's agent over the mesh without an answer, of five minutes.
# TYPE wwwd_mesh_loss_ratio gauge
wwwd_mesh_loss_ratio{peer="quai"} 0.25
# HELP wwwd_mesh_rtt_seconds Time until the agent of a peer answered over the mesh, the last time it did.
# TYPE wwwd_mesh_rtt_seconds gauge
wwwd_mesh_rtt_seconds{peer="quai"} 0.018
# HELP wwwd_probe_packets_total Packets sent and received by probes, estimated; its rate is packets per second.
# TYPE wwwd_probe_packets_total counter
wwwd_probe_packets_total 10
# HELP wwwd_probe_success 1 when the target answered its last probe as expected.
# TYPE wwwd_probe_success gauge
wwwd_probe_success{probe="agent",site="quai",target="agent"} 1
wwwd_probe_success{probe="tls",site="quai",target="entry"} 0
# HELP wwwd_probes_total Probes made, by what was seen: up, refused, down, unknown.
# TYPE wwwd_probes_total counter
wwwd_probes_total{probe="agent",seen="down"} 1
wwwd_probes_total{probe="agent",seen="unknown"} 1
wwwd_probes_total{probe="agent",seen="up"} 3
wwwd_probes_total{probe="knock",seen="refused"} 1
wwwd_probes_total{probe="knock",seen="up"} 1
wwwd_probes_total{probe="tls",seen="up"} 1
`)
	if n, err := testutil.GatherAndCount(reg, "wwwd_probe_duration_seconds"); err != nil || n != 3 {
		t.Errorf("%d series of durations, %v; want agent, tls and knock", n, err)
	}
	// Five minutes later the old loss is forgotten.
	m.Probed(agent, now.Add(6*time.Minute))
	compare(t, reg, `
# HELP wwwd_mesh_loss_ratio Share of probes of a peer's agent over the mesh without an answer, of five minutes.
# TYPE wwwd_mesh_loss_ratio gauge
wwwd_mesh_loss_ratio{peer="quai"} 0
`)
	ahead := agent
	ahead.Ahead = -1500 * time.Millisecond
	m.Probed(ahead, now.Add(6*time.Minute))
	m.Probed(agent, now.Add(6*time.Minute)) // an older agent, that tells no time, takes nothing back
	compare(t, reg, `
# HELP wwwd_clock_offset_seconds By how much the clock of a peer's machine is ahead of this one's, the last time it told.
# TYPE wwwd_clock_offset_seconds gauge
wwwd_clock_offset_seconds{peer="quai"} -1.5
`)
	m.Forget("quai", "agent")
	m.Forget("quai", "entry")
	if n, err := testutil.GatherAndCount(reg, "wwwd_probe_success", "wwwd_mesh_rtt_seconds", "wwwd_mesh_loss_ratio", "wwwd_clock_offset_seconds"); err != nil || n != 0 {
		t.Errorf("%d series of targets that are gone, %v", n, err)
	}
}

func TestTunnelMetrics(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	at := time.Unix(1_800_000_000, 0)
	works := api.TunnelPeer{Peer: "quai", Reader: "router", Interface: "wg-ww", State: "works", Handshake: 90 * time.Second, At: at, Rx: 10, Tx: 20}
	never := api.TunnelPeer{Peer: "halle", Reader: "router", Interface: "wg-ww", State: "frozen", Handshake: -1, At: at, Tx: 5}
	if err := api.RegisterTunnels(reg, func() []api.TunnelPeer { return []api.TunnelPeer{works, never, never} }); err != nil {
		t.Fatal(err)
	}
	compare(t, reg, `
# HELP wwwd_wireguard_last_handshake_timestamp_seconds Last handshake with a WireGuard peer; 0 when there was none. Its age alone says nothing.
# TYPE wwwd_wireguard_last_handshake_timestamp_seconds gauge
wwwd_wireguard_last_handshake_timestamp_seconds{interface="wg-ww",peer="halle",reader="router"} 0
wwwd_wireguard_last_handshake_timestamp_seconds{interface="wg-ww",peer="quai",reader="router"} 1.79999991e+09
# HELP wwwd_wireguard_receive_bytes_total Bytes received from a WireGuard peer.
# TYPE wwwd_wireguard_receive_bytes_total counter
wwwd_wireguard_receive_bytes_total{interface="wg-ww",peer="halle",reader="router"} 0
wwwd_wireguard_receive_bytes_total{interface="wg-ww",peer="quai",reader="router"} 10
# HELP wwwd_wireguard_state What the byte counters say of a tunnel, 1 for the current state.
# TYPE wwwd_wireguard_state gauge
wwwd_wireguard_state{interface="wg-ww",peer="halle",reader="router",state="fresh"} 0
wwwd_wireguard_state{interface="wg-ww",peer="halle",reader="router",state="frozen"} 1
wwwd_wireguard_state{interface="wg-ww",peer="halle",reader="router",state="idle"} 0
wwwd_wireguard_state{interface="wg-ww",peer="halle",reader="router",state="works"} 0
wwwd_wireguard_state{interface="wg-ww",peer="quai",reader="router",state="fresh"} 0
wwwd_wireguard_state{interface="wg-ww",peer="quai",reader="router",state="frozen"} 0
wwwd_wireguard_state{interface="wg-ww",peer="quai",reader="router",state="idle"} 0
wwwd_wireguard_state{interface="wg-ww",peer="quai",reader="router",state="works"} 1
`)
}

func TestProbeMetricsLint(t *testing.T) {
	reg, m := probeMetrics(t)
	m.Probed(api.ProbeSample{Site: "q", Target: "agent", Probe: "agent", Path: failover.PathMesh, Seen: failover.SeenUp, RTT: 1}, time.Unix(1, 0))
	if err := api.RegisterTunnels(reg, func() []api.TunnelPeer { return []api.TunnelPeer{{Peer: "q"}} }); err != nil {
		t.Fatal(err)
	}
	problems, err := testutil.GatherAndLint(reg)
	if err != nil || len(problems) > 0 {
		t.Errorf("%v %v", problems, err)
	}
	if _, err := api.NewProbeMetrics(reg); err == nil || !strings.Contains(err.Error(), "register") {
		t.Errorf("registered twice: %v", err)
	}
}
