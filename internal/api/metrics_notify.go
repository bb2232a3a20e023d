package api

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// ChannelSample is how one way of telling people goes.
type ChannelSample struct {
	Channel  string
	Waiting  int            // messages
	Failures int            // attempts in a row
	Success  time.Time      // of the last message that was taken
	Results  map[string]int // of messages and attempts since the start
}

// Telling is how this agent's ways of telling people go.
type Telling struct {
	Channels []ChannelSample
	Pings    map[string]time.Time // when each dead man's switch was last called; zero: never
}

type tellingCollector struct {
	read                                   func() Telling
	total, success, waiting, failures, pin *prometheus.Desc
}

// RegisterChannels registers a collector of them; read is called at each scrape.
func RegisterChannels(reg prometheus.Registerer, read func() Telling) error {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("wwwd_"+name, help, labels, nil)
	}
	c := tellingCollector{
		read:     read,
		total:    desc("notifications_total", "Messages to people by what became of them: sent, expired, superseded, dropped, elsewhere; failed counts attempts.", "channel", "result"),
		success:  desc("notification_last_success_timestamp_seconds", "When a channel last took a message, since this agent started; 0 when it did not.", "channel"),
		waiting:  desc("notification_queue_length", "Messages that wait for a channel, those held back by quiet hours included.", "channel"),
		failures: desc("notification_failures", "Attempts of a channel that failed in a row; 0 after a success.", "channel"),
		pin:      desc("deadman_last_ping_timestamp_seconds", "When a dead man's switch outside was last called and answered; 0 when it was not.", "target"),
	}
	if err := reg.Register(c); err != nil {
		return fmt.Errorf("register metrics of channels: %w", err)
	}
	return nil
}

// Describe implements prometheus.Collector.
func (c tellingCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.total, c.success, c.waiting, c.failures, c.pin} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c tellingCollector) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, label string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, label)
	}
	t := c.read()
	for _, s := range t.Channels {
		for result, n := range s.Results {
			ch <- prometheus.MustNewConstMetric(c.total, prometheus.CounterValue, float64(n), s.Channel, result)
		}
		gauge(c.success, unixSeconds(s.Success), s.Channel)
		gauge(c.waiting, float64(s.Waiting), s.Channel)
		gauge(c.failures, float64(s.Failures), s.Channel)
	}
	for name, at := range t.Pings {
		gauge(c.pin, unixSeconds(at), name)
	}
}
