package api

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// ReloadMetrics tell whether the agent's file could be read the last time.
type ReloadMetrics struct{ ok, at prometheus.Gauge }

// NewReloadMetrics registers them; the agent has just read its file.
func NewReloadMetrics(reg prometheus.Registerer, now time.Time) (*ReloadMetrics, error) {
	m := &ReloadMetrics{
		ok: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "wwwd_config_last_reload_successful", Help: "1 when the agent's file was good at the last start or reload.",
		}),
		at: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "wwwd_config_last_reload_success_timestamp_seconds", Help: "When the agent's file was last read and taken over.",
		}),
	}
	m.Reloaded(true, now)
	for _, c := range []prometheus.Collector{m.ok, m.at} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// Reloaded records one attempt.
func (m *ReloadMetrics) Reloaded(ok bool, now time.Time) {
	if !ok {
		m.ok.Set(0)
		return
	}
	m.ok.Set(1)
	m.at.Set(float64(now.Unix()))
}
