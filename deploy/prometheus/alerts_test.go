// Package prometheus_test checks the alerts: with promtool, and against the
// metrics that the agents really export.
package prometheus_test

import (
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/raoull/worldwidewelsh/internal/api"
)

const rulesFile = "alerts.yaml"

// testFiles hold the unit tests of the rules: those that end within hours, and those
// that last for days and are evaluated less often.
var testFiles = []string{"alerts_test.yaml", "alerts_days_test.yaml"}

type rule struct {
	Alert       string            `yaml:"alert"`
	Expr        string            `yaml:"expr"`
	For         string            `yaml:"for"`
	Labels      map[string]string `yaml:"labels"`
	Annotations map[string]string `yaml:"annotations"`
}

func readRules(t *testing.T) []rule {
	t.Helper()
	b, err := os.ReadFile(rulesFile)
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Groups []struct {
			Name  string `yaml:"name"`
			Rules []rule `yaml:"rules"`
		} `yaml:"groups"`
	}
	if err := yaml.UnmarshalWithOptions(b, &file, yaml.Strict()); err != nil {
		t.Fatalf("read %s: %v", rulesFile, err)
	}
	var out []rule
	for _, g := range file.Groups {
		out = append(out, g.Rules...)
	}
	if len(out) == 0 {
		t.Fatalf("%s holds no rule", rulesFile)
	}
	return out
}

// promtool runs Prometheus' own checker. Its absence skips the test, but not
// where everything has to be checked.
func promtool(t *testing.T, args ...string) {
	t.Helper()
	path, err := exec.LookPath("promtool")
	switch {
	case err == nil:
	case os.Getenv("CI") == "true":
		t.Fatal("promtool is not installed, and CI=true demands it")
	default:
		t.Skip("promtool is not installed (Debian: prometheus)")
	}
	out, err := exec.CommandContext(t.Context(), path, args...).CombinedOutput()
	if err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

func TestPromtoolAcceptsTheRules(t *testing.T) { promtool(t, "check", "rules", rulesFile) }

func TestRulesFireAndHold(t *testing.T) {
	for _, file := range testFiles {
		t.Run(file, func(t *testing.T) { promtool(t, "test", "rules", file) })
	}
}

// collected keeps the one collector that an agent registers.
type collected struct {
	prometheus.Registerer
	c []prometheus.Collector
}

func (r *collected) Register(c prometheus.Collector) error {
	r.c = append(r.c, c)
	return nil
}

// exported returns the labels of every metric that an agent describes, by name.
func exported(t *testing.T) map[string][]string {
	t.Helper()
	var reg collected
	if err := api.RegisterMetrics(&reg, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := api.NewReloadMetrics(&reg, time.Time{}); err != nil {
		t.Fatal(err)
	}
	if err := api.RegisterChannels(&reg, nil); err != nil {
		t.Fatal(err)
	}
	if err := api.RegisterDoctor(&reg, nil, nil); err != nil {
		t.Fatal(err)
	}
	for _, register := range []func() error{
		func() error { _, err := api.NewProbeMetrics(&reg); return err },
		func() error { _, err := api.NewRaftMetrics(&reg, nil); return err },
		func() error { _, err := api.NewCallMetrics(&reg); return err },
	} {
		if err := register(); err != nil {
			t.Fatal(err)
		}
	}
	ch := make(chan *prometheus.Desc, 256)
	for _, c := range reg.c {
		c.Describe(ch)
	}
	close(ch)
	// Desc tells what it is only as text.
	text := regexp.MustCompile(`fqName: "([a-z_]+)".*variableLabels: \{([a-z,_]*)\}`)
	out := map[string][]string{}
	for d := range ch {
		m := text.FindStringSubmatch(d.String())
		if m == nil {
			t.Fatalf("description %s is not understood", d)
		}
		out[m[1]] = strings.Split(m[2], ",")
	}
	return out
}

// TestRulesUseExportedMetrics finds the alert that could never fire: on a
// metric, or a label of it, that no agent exports.
func TestRulesUseExportedMetrics(t *testing.T) {
	metrics := exported(t)
	if len(metrics) == 0 {
		t.Fatal("the agent describes no metric")
	}
	uses := regexp.MustCompile(`\b(wwwd_[a-z_]+)(\{[^}]*\})?`)
	selects := regexp.MustCompile(`([a-z_]+)\s*(?:=~|!~|!=|=)\s*"`)
	for _, r := range readRules(t) {
		for _, use := range uses.FindAllStringSubmatch(r.Expr, -1) {
			labels, ok := metrics[use[1]]
			if !ok {
				t.Errorf("%s uses %s, which no agent exports", r.Alert, use[1])
				continue
			}
			for _, sel := range selects.FindAllStringSubmatch(use[2], -1) {
				if !slices.Contains(labels, sel[1]) {
					t.Errorf("%s selects %s by %q; its labels are %v", r.Alert, use[1], sel[1], labels)
				}
			}
		}
	}
}

// runbook is where runbook_url leads. Forges make the anchor of a heading of its letters in lower case.
const runbook = "https://github.com/raoull/worldwidewelsh/blob/main/docs/runbook.md"

func TestRulesTellWhatToDo(t *testing.T) {
	severities := []string{"critical", "warning", "info", "none"}
	template := regexp.MustCompile(`\{\{\s*\$labels\.([a-z_]+)\s*\}\}`)
	for _, r := range readRules(t) {
		if got := r.Labels["severity"]; !slices.Contains(severities, got) {
			t.Errorf("%s has severity %q, want one of %v", r.Alert, got, severities)
		}
		summary, description := r.Annotations["summary"], r.Annotations["description"]
		if summary == "" || strings.Contains(summary, "\n") {
			t.Errorf("%s has summary %q, want one line", r.Alert, summary)
		}
		for _, want := range []string{"By itself:", "Next", "wwwctl"} {
			if !strings.Contains(description, want) {
				t.Errorf("%s: the description lacks %q: it tells what wwwd does by itself and what to type next", r.Alert, want)
			}
		}
		if got, want := r.Annotations["runbook_url"], runbook+"#"+strings.ToLower(r.Alert); got != want {
			t.Errorf("%s: runbook_url %q, want %q", r.Alert, got, want)
		}
		for _, m := range template.FindAllStringSubmatch(summary+description, -1) {
			if !resultHas(r.Expr, m[1]) {
				t.Errorf("%s: the text uses the label %s, which the expression drops", r.Alert, m[1])
			}
		}
	}
}

// resultHas says whether the alert bears a label: the first aggregation keeps
// it, or there is none and the series of one agent is the alert.
func resultHas(expr, label string) bool {
	by := regexp.MustCompile(`(?:max|min|count) by \(([^)]*)\)`).FindStringSubmatch(expr)
	if by == nil {
		return label == "instance" || label == "job"
	}
	return slices.Contains(strings.Split(strings.ReplaceAll(by[1], " ", ""), ","), label)
}

// TestEveryRuleIsTried demands that the unit tests name each alert.
func TestEveryRuleIsTried(t *testing.T) {
	var b []byte
	for _, file := range testFiles {
		more, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		b = append(b, more...)
	}
	for _, r := range readRules(t) {
		fires := strings.Contains(string(b), `ALERTS{alertname="`+r.Alert+`", alertstate="firing"`) ||
			strings.Contains(string(b), "alertname: "+r.Alert)
		if !fires {
			t.Errorf("no case of %v shows %s firing", testFiles, r.Alert)
		}
	}
}
