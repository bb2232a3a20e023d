package api_test

import (
	"bytes"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/api"
	"github.com/raoull/worldwidewelsh/internal/api/apitest"
	"github.com/raoull/worldwidewelsh/internal/doctor"
)

func TestMetricsOfRaft(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	m, err := api.NewRaftMetrics(reg, func() api.RaftSample {
		return api.RaftSample{
			Snapshot: time.Unix(1_800_000_000, 0),
			Heard:    map[failover.SiteID]time.Time{"quai": time.Unix(1_800_000_060, 0), "moulin": {}},
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	m.Applied(20 * time.Millisecond)
	m.Applied(7 * time.Second)
	compare(t, reg, `
# HELP wwwd_raft_apply_duration_seconds From the proposal of a log entry until it was applied, at the agent that led.
# TYPE wwwd_raft_apply_duration_seconds histogram
wwwd_raft_apply_duration_seconds_bucket{le="0.005"} 0
wwwd_raft_apply_duration_seconds_bucket{le="0.01"} 0
wwwd_raft_apply_duration_seconds_bucket{le="0.025"} 1
wwwd_raft_apply_duration_seconds_bucket{le="0.05"} 1
wwwd_raft_apply_duration_seconds_bucket{le="0.1"} 1
wwwd_raft_apply_duration_seconds_bucket{le="0.25"} 1
wwwd_raft_apply_duration_seconds_bucket{le="0.5"} 1
wwwd_raft_apply_duration_seconds_bucket{le="1"} 1
wwwd_raft_apply_duration_seconds_bucket{le="2.5"} 1
wwwd_raft_apply_duration_seconds_bucket{le="5"} 1
wwwd_raft_apply_duration_seconds_bucket{le="+Inf"} 2
wwwd_raft_apply_duration_seconds_sum 7.02
wwwd_raft_apply_duration_seconds_count 2
# HELP wwwd_raft_peer_last_contact_timestamp_seconds When a peer was last heard by Raft, 0 for never: a leader hears all of them, a follower its leader.
# TYPE wwwd_raft_peer_last_contact_timestamp_seconds gauge
wwwd_raft_peer_last_contact_timestamp_seconds{peer="moulin"} 0
wwwd_raft_peer_last_contact_timestamp_seconds{peer="quai"} 1.80000006e+09
# HELP wwwd_raft_snapshot_last_timestamp_seconds When this agent last wrote a snapshot of the log; 0 when it has none.
# TYPE wwwd_raft_snapshot_last_timestamp_seconds gauge
wwwd_raft_snapshot_last_timestamp_seconds 1.8e+09
`)
}

type transportFunc func(*http.Request) (*http.Response, error)

func (f transportFunc) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestMetricsOfCalls(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	m, err := api.NewCallMetrics(reg)
	if err != nil {
		t.Fatal(err)
	}
	broken := errors.New("refused")
	for _, answer := range []struct {
		status int
		err    error
	}{{200, nil}, {200, nil}, {596, nil}, {0, broken}} {
		next := transportFunc(func(*http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: answer.status}, answer.err
		})
		resp, err := m.Counted("pve", next).RoundTrip(httptest.NewRequest(http.MethodGet, "https://pve", http.NoBody))
		if !errors.Is(err, answer.err) || resp.StatusCode != answer.status {
			t.Errorf("got %v, %v, want what went in", resp, err)
		}
	}
	m.Called("dns", "NOERROR", time.Millisecond)
	compare(t, reg, `
# HELP wwwd_api_requests_total Requests of this agent to pve, pbs, dns and router, by the status or response code of the answer; none without one.
# TYPE wwwd_api_requests_total counter
wwwd_api_requests_total{backend="dns",code="NOERROR"} 1
wwwd_api_requests_total{backend="pve",code="200"} 2
wwwd_api_requests_total{backend="pve",code="596"} 1
wwwd_api_requests_total{backend="pve",code="none"} 1
`)
}

// TestMetricsOfTheDoctor: undeclared guests are counted where a list was read whole, and only there.
func TestMetricsOfTheDoctor(t *testing.T) {
	b := newBackend(t) // the agent of fabrique
	var facts *doctor.Facts
	reg := prometheus.NewPedanticRegistry()
	if err := api.RegisterDoctor(reg, b, func() *doctor.Facts { return facts }); err != nil {
		t.Fatal(err)
	}
	const head = `
# HELP wwwd_unprotected_guests Guests on the PVEs of the agent's own site that the network does not declare, as its doctor last saw them.
# TYPE wwwd_unprotected_guests gauge
`
	whole := func(f doctor.Facts) *doctor.Facts {
		f.Permissions = map[string]map[string]bool{"/vms": {"VM.Audit": true}}
		return &f
	}
	strange := map[doctor.Kind][]doctor.Resident{"vm": {{Kind: "vm", ID: 555}, {Kind: "vm", ID: 556, Template: true}}, "ct": {}}
	for what, c := range map[string]struct {
		facts *doctor.Facts
		want  string
	}{
		"no round yet":     {nil, ""},
		"no access":        {&doctor.Facts{Access: "no token"}, ""},
		"a list was cut":   {&doctor.Facts{Permissions: map[string]map[string]bool{"/vms": {}}, Residents: strange}, ""},
		"a list was lost":  {whole(doctor.Facts{Failed: []doctor.Failure{{Category: doctor.Guests, Why: "timeout"}}}), ""},
		"all are declared": {whole(doctor.Facts{Residents: map[doctor.Kind][]doctor.Resident{"vm": {}, "ct": {}}}), "wwwd_unprotected_guests{site=\"fabrique\"} 0\n"},
		"one is not":       {whole(doctor.Facts{Residents: strange}), "wwwd_unprotected_guests{site=\"fabrique\"} 1\n"},
	} {
		t.Run(what, func(t *testing.T) {
			facts = c.facts
			compare(t, reg, head+c.want)
		})
	}
}

// TestHealthTellsTheTime: other agents compare their clocks with it.
func TestHealthTellsTheTime(t *testing.T) {
	h := api.NewHandler(api.Options{Backend: newBackend(t), Log: quiet()})
	req := httptest.NewRequest(http.MethodGet, "/v1/health", http.NoBody)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, req.WithContext(api.WithActor(req.Context(), api.Actor{Kind: api.ActorAgent, Name: "quai"})))
	at, err := time.Parse(time.RFC3339Nano, w.Header().Get(api.TimeHeader))
	if err != nil || time.Since(at).Abs() > time.Minute || w.Code != http.StatusOK {
		t.Errorf("%d, %s, %v", w.Code, at, err)
	}
}

// TestPromtoolAcceptsTheMetrics holds all that an agent exports of its own against Prometheus'
// own conventions.
func TestPromtoolAcceptsTheMetrics(t *testing.T) {
	path, err := exec.LookPath("promtool")
	switch {
	case err == nil:
	case os.Getenv("CI") == "true":
		t.Fatal("promtool is not installed, and CI=true demands it")
	default:
		t.Skip("promtool is not installed (Debian: prometheus)")
	}
	b := newBackend(t)
	if err := b.Lose(); err != nil {
		t.Fatal(err)
	}
	reg := metricsOf(t, b)
	everyMetric(t, reg, b)
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	for _, f := range families {
		if _, err := expfmt.MetricFamilyToText(&text, f); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), path, "check", "metrics")
	cmd.Stdin = &text
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("promtool check metrics: %v\n%s", err, out)
	}
	if len(families) < 50 {
		t.Errorf("%d metrics: too few to be all of them", len(families))
	}
}

// everyMetric registers what the agent counts beside State, each with a value.
func everyMetric(t *testing.T, reg prometheus.Registerer, b *apitest.Backend) {
	t.Helper()
	now := b.Now()
	must := func(errs ...error) {
		t.Helper()
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
	}
	raft, err := api.NewRaftMetrics(reg, func() api.RaftSample { return api.RaftSample{Heard: map[failover.SiteID]time.Time{"quai": now}} })
	must(err)
	raft.Applied(time.Second)
	calls, err := api.NewCallMetrics(reg)
	must(err)
	calls.Called("pve", "200", time.Second)
	probed, err := api.NewProbeMetrics(reg)
	must(err)
	probed.Packets(1)
	probed.Probed(api.ProbeSample{Site: "quai", Target: "agent", Probe: "agent", Path: failover.PathMesh, Seen: failover.SeenUp, RTT: 1, Ahead: 1}, now)
	_, err = api.NewReloadMetrics(reg, now)
	must(err, api.RegisterTunnels(reg, func() []api.TunnelPeer { return []api.TunnelPeer{{Peer: "quai", At: now}} }),
		api.RegisterChannels(reg, func() api.Telling {
			return api.Telling{Channels: []api.ChannelSample{{Channel: "mail", Results: map[string]int{"sent": 1}}}, Pings: map[string]time.Time{"outside": now}}
		}),
		api.RegisterDoctor(reg, b, func() *doctor.Facts { return nil }))
}
