package api

import (
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Call outcomes that are no answer.
const noAnswer = "none"

// CallMetrics count what this agent asks of the machines beside it: pve, pbs, dns, router.
// Safe for concurrent use.
type CallMetrics struct {
	total *prometheus.CounterVec
	took  *prometheus.HistogramVec
}

// NewCallMetrics registers them.
func NewCallMetrics(reg prometheus.Registerer) (*CallMetrics, error) {
	m := &CallMetrics{
		total: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "wwwd_api_requests_total",
			Help: "Requests of this agent to pve, pbs, dns and router, by the status or response code of the answer; none without one.",
		}, []string{"backend", "code"}),
		took: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "wwwd_api_request_duration_seconds", Help: "How long they took, unanswered ones included.",
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}, []string{"backend"}),
	}
	for _, c := range []prometheus.Collector{m.total, m.took} {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("register metrics of calls: %w", err)
		}
	}
	return m, nil
}

// Called counts one; no code: no answer.
func (m *CallMetrics) Called(backend, code string, took time.Duration) {
	if code == "" {
		code = noAnswer
	}
	m.total.WithLabelValues(backend, code).Inc()
	m.took.WithLabelValues(backend).Observe(took.Seconds())
}

// Counted returns a transport that counts what goes through next, until its head is answered.
func (m *CallMetrics) Counted(backend string, next http.RoundTripper) http.RoundTripper {
	return countedTransport{m, backend, next}
}

type countedTransport struct {
	metrics *CallMetrics
	backend string
	next    http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (t countedTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	began := time.Now()
	resp, err := t.next.RoundTrip(r)
	code := ""
	if err == nil {
		code = strconv.Itoa(resp.StatusCode)
	}
	t.metrics.Called(t.backend, code, time.Since(began))
	return resp, err
}
