package grafana_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/api"
	"github.com/raoull/worldwidewelsh/internal/api/apitest"
	"github.com/raoull/worldwidewelsh/internal/doctor"
)

// program finds one of the system. Its absence skips the test, but not where everything has
// to be checked.
func program(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	switch {
	case err == nil:
	case os.Getenv("CI") == "true":
		t.Fatalf("%s is not installed, and CI=true demands it", name)
	default:
		t.Skipf("%s is not installed (Debian: prometheus)", name)
	}
	return path
}

// start runs a program until the test ends, and has its output in a file.
func start(t *testing.T, log string, args ...string) {
	t.Helper()
	out, err := os.Create(log)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait() // that it was asked to end is no failure
		_ = out.Close()
	})
}

// eventually polls until f succeeds: a process offers nothing to wait on.
func eventually(t *testing.T, log string, f func() error) {
	t.Helper()
	timeout := time.After(60 * time.Second)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		err := f()
		if err == nil {
			return
		}
		select {
		case <-timeout:
			b, _ := os.ReadFile(log)
			t.Fatalf("%v\n%s", err, b)
		case <-tick.C:
		}
	}
}

// prometheusOf is a real one that scrapes targets every second, once it has done so often
// enough for rates.
func prometheusOf(t *testing.T, targets []string) string {
	t.Helper()
	path, dir := program(t, "prometheus"), t.TempDir()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	conf, err := json.Marshal(map[string]any{
		"global":         map[string]string{"scrape_interval": "1s"},
		"scrape_configs": []any{map[string]any{"job_name": "wwwd", "static_configs": []any{map[string]any{"targets": targets}}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "prometheus.yml") // JSON is YAML
	if err := os.WriteFile(file, conf, 0o600); err != nil {
		t.Fatal(err)
	}
	log := filepath.Join(dir, "log")
	start(t, log, path, "--config.file="+file, "--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+at)
	base := "http://" + at
	eventually(t, log, func() error {
		got, err := query(t.Context(), base, fmt.Sprintf("count(sum_over_time(up[1m]) >= 3) == %d", len(targets)))
		if err == nil && len(got) == 0 {
			err = errors.New("not every agent was scraped three times yet")
		}
		return err
	})
	return base
}

// query evaluates an expression now and returns the values.
func query(ctx context.Context, base, expr string) ([]string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/api/v1/query?"+url.Values{"query": {expr}}.Encode(), http.NoBody)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var answer struct {
		Status, Error string
		Data          struct {
			Result []struct{ Value [2]any }
		}
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return nil, err
	}
	if answer.Status != "success" {
		return nil, errors.New(answer.Error)
	}
	out := []string{}
	for _, r := range answer.Data.Result {
		out = append(out, fmt.Sprint(r.Value[1]))
	}
	return out, nil
}

// evaluate asks for every expression. Each must be understood, and give something unless
// there is nothing to show for it here.
func evaluate(t *testing.T, base string, silent ...string) {
	t.Helper()
	for place, expr := range expressions(t) {
		got, err := query(t.Context(), base, expr)
		if err == nil && len(got) == 0 && !slices.Contains(silent, place) {
			err = errors.New("gives nothing")
		}
		if err != nil {
			t.Errorf("%s: %s\n%v", place, expr, err)
		}
	}
}

// TestEveryPanelShowsALoss: an agent in the middle of a failover, with everything that can be
// wrong at once, has something to show in every panel.
func TestEveryPanelShowsALoss(t *testing.T) {
	program(t, "prometheus")
	b, err := apitest.New()
	if err != nil {
		t.Fatal(err)
	}
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	probes, err := api.NewProbeMetrics(reg)
	err = errors.Join(err, api.RegisterMetrics(reg, b), api.RegisterChannels(reg, func() api.Telling {
		return api.Telling{Channels: []api.ChannelSample{{Channel: "sms", Waiting: 1, Failures: 3, Results: map[string]int{"failed": 3}}}}
	}))
	raft, raftErr := api.NewRaftMetrics(reg, func() api.RaftSample { return api.RaftSample{} })
	calls, callsErr := api.NewCallMetrics(reg)
	err = errors.Join(err, raftErr, callsErr, api.RegisterDoctor(reg, b, func() *doctor.Facts {
		return &doctor.Facts{
			Permissions: map[string]map[string]bool{"/vms": {"VM.Audit": true}},
			Residents:   map[doctor.Kind][]doctor.Resident{"vm": {{Kind: "vm", ID: 555}}},
		}
	}))
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		now := time.Now()
		probes.Probed(api.ProbeSample{Site: "quai", Target: "agent", Probe: "agent", Path: failover.PathMesh, Seen: failover.SeenUp, Took: time.Millisecond, RTT: time.Millisecond, Ahead: time.Second}, now)
		probes.Packets(2)
		raft.Applied(time.Millisecond)
		calls.Called("pve", "200", time.Millisecond)
		promhttp.HandlerFor(reg, promhttp.HandlerOpts{}).ServeHTTP(w, r)
	}))
	defer server.Close()
	base := prometheusOf(t, []string{strings.TrimPrefix(server.URL, "http://")})
	s := b.State()
	exposed := apitest.Report(s.Network, "quai", 9, map[failover.SiteID]time.Duration{"moulin": 6 * time.Minute})
	exposed.Exposed = []failover.Exposure{{Site: "fabrique", Address: netip.MustParseAddrPort("198.51.100.17:22")}}
	loss := failover.BeginOp{Kind: failover.KindFailover, Domain: "site:moulin", Plan: failover.PlanFor(s, failover.Loss{Site: "moulin"}, b.Now())}
	err = errors.Join(b.Apply(loss), cancelled(b), b.Lose(), b.Apply(
		exposed,
		failover.Assess{Domain: "site:quai", Cause: failover.CauseMeshDown, Held: failover.Reason{Code: failover.CodeMeshDown}},
		loss,
	))
	for _, site := range []failover.SiteID{"fabrique", "quai"} {
		ready := s.Readiness[site].Ready
		ready.Points = maps.Clone(ready.Points)
		delete(ready.Points, "nuage") // and so it could not be failed over
		err = errors.Join(err, b.Apply(failover.ReportReadiness{Ready: ready}))
	}
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "", func() error {
		got, err := query(t.Context(), base, `changes(wwwd_operation_in_progress{kind="failover", site="moulin"}[1m]) > 0`)
		if err == nil && len(got) == 0 {
			err = errors.New("the operation is not scraped yet")
		}
		return err
	})
	evaluate(
		t, base, "Guests whose service answers A", // no guest of this network has a check
		"How long operations took B", "Until a structure is taken over A", // nothing was restored, and a guest has no copy left
	)
}

// cancelled ends every operation that runs.
func cancelled(b *apitest.Backend) error {
	for id, op := range b.State().Ops {
		if !op.Phase.Ended() {
			return b.Apply(failover.CancelOp{Op: id}, failover.EndOp{Op: id})
		}
	}
	return nil
}

// TestEveryPanelInTheLab: the same of a whole network of real agents that is well.
func TestEveryPanelInTheLab(t *testing.T) {
	bin := os.Getenv("WWW_BIN")
	if testing.Short() || os.Getenv("WWW_E2E") != "1" || bin == "" {
		t.Skip("starts a network: make e2e, or set WWW_E2E=1 and WWW_BIN")
	}
	program(t, "prometheus")
	dir := filepath.Join(t.TempDir(), "lab")
	log := filepath.Join(t.TempDir(), "log")
	start(t, log, filepath.Join(bin, "wwwlab"), "up", "--sites", "3", "--dir", dir)
	eventually(t, log, func() error {
		f, err := os.Open(log)
		if err != nil {
			return err
		}
		defer f.Close()
		for lines := bufio.NewScanner(f); lines.Scan(); {
			if strings.HasPrefix(lines.Text(), "The network is up") {
				return nil
			}
		}
		return errors.New("the network is not up yet")
	})
	base := prometheusOf(t, metricsOf(t, dir))
	evaluate(
		t, base, "Guests whose service answers A", "Copies and what was agreed B", // the lab declares neither check nor max_loss
		"Held back A", "Open ports A", "annotation Operations", // nothing is wrong
		"How long operations took A", "How long operations took B", "Until a structure is taken over A", // nothing was restored
		"Backups that a verification has read A",                                                               // and nothing verified
		"Guests that are not ready, by reason A", "Messages that wait A", "Channels that fail A", "Messages A", // and nobody is told
	)
}

// metricsOf returns where the agents of a lab serve Prometheus.
func metricsOf(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*", "wwwd.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		var conf struct {
			Listen struct {
				Metrics string `yaml:"metrics"`
			} `yaml:"listen"`
		}
		b, err := io.ReadAll(f)
		if err = errors.Join(err, f.Close(), yaml.Unmarshal(b, &conf)); err != nil {
			t.Fatal(err)
		}
		out = append(out, conf.Listen.Metrics)
	}
	if len(out) != 3 {
		t.Fatalf("agents at %v, want three", out)
	}
	return out
}
