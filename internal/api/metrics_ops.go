package api

import (
	"maps"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/raoull/worldwidewelsh/failover"
)

// durations are histograms of what operations and their steps took, by kind; step "" stands for
// the whole operation.
type durations map[durationKey]histogram

type durationKey struct {
	kind failover.OpKind
	step failover.StepID
}

// histogram is one in the making: counts by upper bound, each with all below it.
type histogram struct {
	count   uint64
	sum     float64 // seconds
	buckets map[float64]uint64
}

// bounds reach from a start of a warm copy to a restore over a slow disk, in seconds.
func bounds() []float64 {
	return []float64{1, 5, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400}
}

func (d durations) observe(key durationKey, took time.Duration) {
	h := d[key]
	if h.buckets == nil {
		h.buckets = map[float64]uint64{}
	}
	seconds := max(0, took.Seconds())
	for _, bound := range bounds() {
		if seconds <= bound {
			h.buckets[bound]++
		} else {
			h.buckets[bound] += 0
		}
	}
	h.count++
	h.sum += seconds
	d[key] = h
}

// operation counts an ended operation, and those of its steps that were done.
func (d durations) operation(op failover.Operation) {
	d.observe(durationKey{op.Kind, ""}, op.Ended.At.Sub(op.Begun.At))
	for _, run := range op.Guests {
		for _, step := range run.Steps {
			if step.Status == failover.StatusDone && step.Begun.Index != 0 {
				d.observe(durationKey{op.Kind, step.ID}, step.Ended.At.Sub(step.Begun.At))
			}
		}
	}
}

func (d durations) clone() durations {
	out := durations{}
	for key, h := range d {
		h.buckets = maps.Clone(h.buckets)
		out[key] = h
	}
	return out
}

func (v scrape) durations(d durations) {
	for key, h := range d {
		name, labels := "operation_duration_seconds", []string{string(key.kind)}
		if key.step != "" {
			name, labels = "operation_step_duration_seconds", append(labels, string(key.step))
		}
		v.ch <- prometheus.MustNewConstHistogram(v.d[name], h.count, h.sum, h.buckets, labels...)
	}
}
