package api

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/doctor"
)

type doctorCollector struct {
	backend     Backend
	facts       func() *doctor.Facts
	unprotected *prometheus.Desc
}

// RegisterDoctor registers a collector of what this agent's doctor last read of its own site's
// machines; facts is called at each scrape. Without a look, or where a list is not whole,
// nothing is told: zero would say that all is declared.
func RegisterDoctor(reg prometheus.Registerer, b Backend, facts func() *doctor.Facts) error {
	c := doctorCollector{b, facts, prometheus.NewDesc("wwwd_unprotected_guests",
		"Guests on the PVEs of the agent's own site that the network does not declare, as its doctor last saw them.", []string{"site"}, nil)}
	if err := reg.Register(c); err != nil {
		return fmt.Errorf("register metrics of the doctor: %w", err)
	}
	return nil
}

// Describe implements prometheus.Collector.
func (c doctorCollector) Describe(ch chan<- *prometheus.Desc) { ch <- c.unprotected }

// Collect implements prometheus.Collector.
func (c doctorCollector) Collect(ch chan<- prometheus.Metric) {
	s, local, facts := c.backend.State(), c.backend.Local(), c.facts()
	if s.Network == nil || facts == nil {
		return
	}
	n, known := doctor.Undeclared(doctor.Input{State: s, Local: failover.LocalView{Site: local.Site}, Facts: facts, Now: c.backend.Now()})
	if known {
		ch <- prometheus.MustNewConstMetric(c.unprotected, prometheus.GaugeValue, float64(n), string(local.Site))
	}
}
