package detectbench

import (
	"fmt"
	"io"
	"math"
	"time"
)

// expected are the regrets per site-year of the reference (section 5.3), by
// delay and line. Its single lines count, unlike its column of two uplinks,
// the stalls and reboots that a single responder cannot tell from an outage;
// avoidable are these, of which a site with several responders has none.
var expected = map[time.Duration]struct {
	table     [lineKinds]float64
	avoidable float64
}{
	15 * time.Second:  {[lineKinds]float64{45, 92, 156, 1.9}, 9},
	30 * time.Second:  {[lineKinds]float64{34, 66, 96, 1.5}, 4.8},
	60 * time.Second:  {[lineKinds]float64{20, 39, 58, 0.9}, 3.0},
	90 * time.Second:  {[lineKinds]float64{12, 24, 35, 0.52}, 2.1},
	120 * time.Second: {[lineKinds]float64{6.4, 13.7, 19.7, 0.26}, 1.5},
	180 * time.Second: {[lineKinds]float64{4.2, 9.7, 14.1, 0.19}, 0.6},
	300 * time.Second: {[lineKinds]float64{2.1, 5.2, 7.8, 0.11}, 0},
}

// Regret is the measured number of regretted failovers per site-year.
func (t *Tally) Regret(d time.Duration, l Line) float64 {
	return float64(t.Commits[delayIndex(d)][l].Regret) / t.Homes[delayIndex(d)][l]
}

// Expected is what the reference's table makes of a site with several
// responders; false where it says nothing.
func Expected(d time.Duration, l Line) (float64, bool) {
	e, ok := expected[d]
	if !ok {
		return 0, false
	}
	if l == Dual {
		return e.table[l], true
	}
	return e.table[l] - e.avoidable, true
}

// printer remembers the first error of a writer.
type printer struct {
	w   io.Writer
	err error
}

func (p *printer) line(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format+"\n", args...)
	}
}

// Print writes the tables, and as its last line the summary.
func (t *Tally) Print(w io.Writer) error {
	p := &printer{w: w}
	years := 0.0
	for _, y := range t.Years {
		years += y
	}
	t.printDelays(p)
	t.printRegret(p)
	t.printLatency(p)
	t.printLevels(p)
	t.printRivals(p)
	for _, n := range t.Notes {
		p.line("%s", n)
	}
	p.line("detection: %.0f site-years, %d wrong failovers, suspect p50 %.0f s p99 %.0f s",
		years, t.WrongAtDefaults(), math.Ceil(t.Suspect.Quantile(0.5)), math.Ceil(t.Suspect.Quantile(0.99)))
	return p.err
}

func (t *Tally) printDelays(p *printer) {
	p.line("failovers, by commit delay: wrong / regretted per site-year (fibre, ADSL, LTE: one uplink; fibre+LTE: two)")
	p.line("%8s  %16s  %16s  %16s  %16s", "delay", Fibre, ADSL, LTE, Dual)
	for i, d := range delays {
		cells := [lineKinds]any{}
		for l := range lineKinds {
			cells[l] = "-"
			if t.Homes[delayIndex(d)][l] > 0 {
				cells[l] = fmt.Sprintf("%d / %.3f", t.Commits[i][l].Wrong, t.Regret(d, l))
			}
		}
		p.line("%8s  %16s  %16s  %16s  %16s", append([]any{d}, cells[:]...)...)
	}
	p.line("")
}

func (t *Tally) printRegret(p *printer) {
	p.line("regret against the reference's table 5.3: ratio to the table / to the table less the stalls and reboots of a single responder")
	p.line("%8s  %16s  %16s  %16s  %16s", "delay", Fibre, ADSL, LTE, Dual)
	for _, d := range delays {
		if _, ok := expected[d]; !ok {
			continue
		}
		cells := [lineKinds]any{}
		for l := range lineKinds {
			cells[l] = "-"
			if want, ok := Expected(d, l); ok && t.Homes[delayIndex(d)][l] > 0 {
				cells[l] = fmt.Sprintf("%.2f / %.2f", t.Regret(d, l)/expected[d].table[l], t.Regret(d, l)/want)
			}
		}
		p.line("%8s  %16s  %16s  %16s  %16s", append([]any{d}, cells[:]...)...)
	}
	p.line("")
}

func (t *Tally) printLatency(p *printer) {
	p.line("true losses (only this site cut off, for %v or longer), from the loss:", trueLoss)
	row := func(name string, h *Histogram, base float64) {
		p.line("%28s  p50 %6.2f s  p90 %6.2f s  p99 %6.2f s  of %d", name,
			base+h.Quantile(0.5), base+h.Quantile(0.9), base+h.Quantile(0.99), h.Count)
	}
	row("suspected", &t.Suspect, 0)
	row("of these, the leader lost", &t.SuspectLeader, 0)
	for i, d := range delays {
		row(fmt.Sprintf("committed, delay %v", d), &t.CommitAt[i], d.Seconds())
	}
	p.line("true losses of sites with guests: %d, committed at the default delay %d; with another site cut off too (left to people, or later): %d; never suspected: %d",
		t.Losses, t.LossesCommitted, t.MassLosses, t.Unseen)
	p.line("")
}

func (t *Tally) printLevels(p *printer) {
	p.line("what ended by itself, per site-year, at the defaults")
	p.line("%14s  %12s  %20s", "line", "suspicions", "useless preparations")
	for l := range lineKinds {
		if homes := t.Homes[delayIndex(defaultDelay(l))][l]; homes > 0 {
			p.line("%14s  %12.1f  %20.2f", l, float64(t.Suspicions[l])/t.Years[l], float64(t.Useless[l])/homes)
		}
	}
	p.line("changes of leader %d, calls of Decide %d, of its commands refused %d", t.Elections, t.Decisions, t.Refused)
	p.line("")
}

func (t *Tally) printRivals(p *printer) {
	p.line("other detectors on the same traces, per site-year: wrong / regretted; latency of true losses")
	p.line("%30s  %14s  %14s  %14s  %14s  %s", "", Fibre, ADSL, LTE, Dual, "p50, p99")
	for k := range rivalKinds {
		r := &t.Rivals[k]
		cells := [lineKinds]any{}
		for l := range lineKinds {
			cells[l] = "-"
			if r.Homes[l] > 0 {
				cells[l] = fmt.Sprintf("%.1f / %.1f", float64(r.Judged[l].Wrong)/r.Homes[l], float64(r.Judged[l].Regret)/r.Homes[l])
			}
		}
		p.line("%30s  %14s  %14s  %14s  %14s  %.0f s, %.0f s",
			append(append([]any{k}, cells[:]...), r.At.Quantile(0.5), r.At.Quantile(0.99))...)
	}
	p.line("")
}
