package detectbench

import (
	"fmt"
	"strings"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
)

// Ledger knows the truth and judges what the code under test does.
type Ledger struct {
	Tally   *Tally
	policy  Policy
	place   *Place
	truth   Truth
	effects field // of the cluster that is lived through
	weight  int   // how many such clusters it stands for

	losses    [sites][]loss
	suspected [sites]bool
	prepared  map[failover.OpID]bool // operation → its default guest was admitted
	previous  int                    // leader before the present one
	leader    int
}

// loss is a true loss and what became of it.
type loss struct {
	Episode
	alone     bool
	suspected bool
	committed bool
}

// NewLedger counts into a tally of its own.
func NewLedger(place *Place, p Policy, years float64) *Ledger {
	l := &Ledger{Tally: &Tally{Networks: 1}, policy: p, place: place, prepared: map[failover.OpID]bool{}}
	for s, line := range place.Lines {
		if !l.hasty() {
			l.Tally.Years[line] += years
		}
		for _, d := range p.Delays {
			if s < briques {
				l.Tally.Homes[delayIndex(d)][line] += years
			}
		}
	}
	return l
}

func (l *Ledger) hasty() bool { return l.policy.Name == "hasty" }

// cluster learns the truth of what will be lived through.
func (l *Ledger) cluster(f field, c Cluster) {
	l.effects, l.weight = f, max(1, c.weight)
	l.truth.learn(f, c)
	for s := range sites {
		for _, e := range l.truth[s] {
			known := len(l.losses[s])
			if e.length() < trueLoss.Milliseconds() || known > 0 && l.losses[s][known-1].From >= e.From {
				continue
			}
			alone := l.truth.alone(s, e.From) && l.truth.alone(s, e.From+15*second) && l.truth.alone(s, e.From+defaultDelay(l.place.Lines[s]).Milliseconds())
			l.losses[s] = append(l.losses[s], loss{Episode: e, alone: alone})
		}
	}
}

// command is told of every applied command but the reports.
func (l *Ledger) command(w *World, t int64, c failover.Command) {
	switch c := c.(type) {
	case failover.BeginTerm:
		l.previous, l.leader = l.leader, siteIndex(c.Leader)
		l.Tally.Elections++
	case failover.Assess:
		l.assess(w, t, c)
	case failover.BeginOp:
		l.prepared[failover.OpID(fmt.Sprintf("op-%d", w.state.Index))] = false
	case failover.ResumeOp:
		l.prepared[c.Op] = false
	case failover.CommitOp:
		l.commit(w, t, c)
	case failover.CancelOp:
		s := siteIndex(w.state.Ops[c.Op].Plan.Loss.Site)
		if !l.prepared[c.Op] && !l.hasty() {
			l.Tally.Useless[l.place.Lines[s]] += l.weight
		}
		delete(l.prepared, c.Op)
	}
}

// lossAt returns the true loss that a moment lies in.
func (l *Ledger) lossAt(s int, t int64) *loss {
	if n := len(l.losses[s]); n > 0 {
		if last := &l.losses[s][n-1]; last.From <= t && t < last.To {
			return last
		}
	}
	return nil
}

func (l *Ledger) assess(w *World, t int64, c failover.Assess) {
	name, ok := strings.CutPrefix(string(c.Domain), "site:")
	if !ok {
		return
	}
	s := siteIndex(failover.SiteID(name))
	is := c.Level >= failover.LevelSuspect
	begins := is && !l.suspected[s]
	l.suspected[s] = is
	if !begins || l.hasty() {
		return
	}
	loss := l.lossAt(s, t)
	switch {
	case loss == nil:
		l.Tally.Suspicions[l.place.Lines[s]] += l.weight
	case !loss.suspected:
		loss.suspected = true
		if loss.alone {
			l.Tally.Suspect.add(t - loss.From)
			if w.termAt > loss.From && l.previous == s {
				l.Tally.SuspectLeader.add(t - loss.From)
			}
		}
	}
}

func (l *Ledger) commit(w *World, t int64, c failover.CommitOp) {
	op := w.state.Ops[c.Op]
	s := siteIndex(op.Plan.Loss.Site)
	line := l.place.Lines[s]
	for _, g := range c.Guests {
		delay := l.place.Delays[g]
		if delay == defaultDelay(line) {
			l.prepared[c.Op] = true
		}
		j := &l.Tally.Commits[delayIndex(delay)][line]
		why := l.mistake(s, t, delay, c.Votes)
		e, _ := l.truth.at(s, t-3*second)
		switch {
		case why != "":
			j.Wrong += l.weight
			l.note("wrong: %s of %s (%s) committed at %s: %s", g, siteNames[s], line, time.Duration(t)*time.Millisecond, why)
		case e.length() < trueLoss.Milliseconds():
			j.Regret += l.weight
		default:
			j.Right += l.weight
			l.committed(s, t, delay, line)
		}
	}
}

func (l *Ledger) committed(s int, t int64, delay time.Duration, line Line) {
	loss := l.lossAt(s, t)
	if loss == nil || !loss.alone {
		return
	}
	l.Tally.CommitAt[delayIndex(delay)].add(t - loss.From - delay.Milliseconds())
	if delay == defaultDelay(line) && !loss.committed {
		loss.committed = true
	}
}

// mistake says what is wrong with a failover in truth, "" if nothing: the site
// must have been cut off from every healthy observer for the whole delay (up
// to the seconds that news takes), and a majority of the votes be healthy ones.
func (l *Ledger) mistake(s int, t int64, delay time.Duration, votes []failover.Vote) string {
	e, cut := l.truth.at(s, t-3*second)
	if !cut {
		return "the site serves"
	}
	if e.From > t-delay.Milliseconds()+second {
		return fmt.Sprintf("the site was cut off for %s only", time.Duration(t-e.From)*time.Millisecond)
	}
	sound := 0
	for _, v := range votes {
		if v.Dark && len(v.Unwell) == 0 && l.effects.healthy(siteIndex(v.Observer), t-second) {
			sound++
		}
	}
	if sound <= sites/2 {
		return fmt.Sprintf("%d healthy votes", sound)
	}
	return ""
}

func (l *Ledger) note(format string, args ...any) {
	const most = 20
	if len(l.Tally.Notes) < most {
		l.Tally.Notes = append(l.Tally.Notes, fmt.Sprintf("network %d, %s: ", l.place.Number, l.policy.Name)+fmt.Sprintf(format, args...))
	}
}

// Close counts the true losses.
func (l *Ledger) Close() *Tally {
	if l.hasty() {
		return l.Tally
	}
	for s := range sites {
		for _, loss := range l.losses[s] {
			if loss.alone && !loss.suspected {
				l.Tally.Unseen++
			}
			switch {
			case s >= briques:
			case !loss.alone:
				l.Tally.MassLosses++
			default:
				l.Tally.Losses++
				if loss.committed {
					l.Tally.LossesCommitted++
					continue
				}
				l.note("%s (%s), lost from %v to %v, was not failed over at its default delay", siteNames[s], l.place.Lines[s],
					time.Duration(loss.From)*time.Millisecond, time.Duration(loss.To)*time.Millisecond)
			}
		}
	}
	return l.Tally
}
