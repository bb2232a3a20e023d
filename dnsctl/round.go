package dnsctl

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// round brings the servers of one zone to its goal and asks each what it says:
// first the primaries are updated and the secondaries told, then all are
// verified. A server that does not answer at once waits at the end of the line,
// so that a dead one delays the others by firstTimeout at most.
type round struct {
	p      *Publisher
	goal   Goal
	memory *zoneMemory
	part   int // where the names begin that this round asks for, of those that have not moved

	line    []errand
	current *errand
	results map[string]bool
	notes   map[string]string
	mayLag  bool // nothing is wrong but that a server is behind
	settles bool // a primary does not show yet what it accepted: the next round goes on there
}

// errand is what is to be done at one server.
type errand struct {
	kind   errandKind
	server netip.AddrPort
	patient,
	answered bool
	write  *writer
	verify *Verifier
}

type errandKind uint8

const (
	toWrite errandKind = iota
	toTell
	toVerify
)

func newRound(p *Publisher, g Goal, z *zoneMemory, now time.Time) *round {
	r := &round{p: p, goal: g, memory: z, part: z.part, results: map[string]bool{}, mayLag: true}
	z.part += maxVerified / 4
	for _, a := range g.Primaries {
		w, c := z.writes[a], z.copies[a]
		switch {
		case c != nil && c.token == g.Token: // written, and nothing has been seen to be wrong since
		case w != nil && w.changed == g.Token.Index && now.Before(w.until):
			r.note(a, w.err)
		default:
			r.line = append(r.line, errand{kind: toWrite, server: a, write: z.settling[a]})
		}
	}
	z.settling = map[netip.AddrPort]*writer{}
	if g.Embedded {
		for _, a := range g.Secondaries {
			if t := z.told[a]; t == nil || t.changed != g.Token.Index || t.err != nil && !now.Before(t.until) {
				r.line = append(r.line, errand{kind: toTell, server: a})
			}
		}
	}
	for _, a := range g.Servers() {
		r.line = append(r.line, errand{kind: toVerify, server: a})
	}
	return r
}

func (r *round) note(a netip.AddrPort, err error) {
	if err == nil {
		return
	}
	if r.notes == nil {
		r.notes = map[string]string{}
	}
	if r.notes[a.String()] == "" {
		r.notes[a.String()] = err.Error()
	}
}

// abandon gives the round up. What a primary holds whose update is under way is not known any more.
func (r *round) abandon() {
	if r.current != nil && r.current.kind == toWrite {
		delete(r.memory.copies, r.current.server)
	}
}

// good says whether every server that answered is in sync, and there is one.
func (r *round) good() bool {
	for _, ok := range r.results {
		if !ok {
			return false
		}
	}
	return len(r.results) > 0
}

// rest is how long the zone may be left alone after this round.
func (r *round) rest() time.Duration {
	switch {
	case !r.good():
		return verifyRetry
	case len(r.notes) > 0:
		return absentRetry
	}
	return verifyEvery
}

// step makes one exchange; false: nothing is left to do.
func (r *round) step(ctx context.Context, now time.Time) bool {
	if r.current == nil {
		if len(r.line) == 0 {
			return false
		}
		e := r.line[0]
		r.line = r.line[1:]
		r.current = &e
		if !r.open(r.current, now) {
			r.current = nil
			return true
		}
	}
	timeout := verifyTimeout
	switch e := r.current; {
	case e.kind == toWrite && e.answered:
		timeout = updateTimeout
	case !e.answered && !e.patient && r.othersWait():
		timeout = firstTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if r.do(ctx, now) {
		r.current = nil
	}
	return true
}

// othersWait says whether another server waits for its turn.
func (r *round) othersWait() bool {
	return slices.ContainsFunc(r.line, func(e errand) bool { return e.server != r.current.server && !e.patient })
}

// open prepares an errand; false: it cannot be run.
func (r *round) open(e *errand, now time.Time) bool {
	switch e.kind {
	case toWrite:
		if e.write != nil { // begun in the round before
			return true
		}
		ex, err := r.p.Exchange, error(nil)
		if r.p.Sign != nil {
			ex, err = r.p.Sign(r.goal.Key)
		}
		if err != nil {
			r.failed(e.server, err, now)
			return false
		}
		e.write = newWriter(ex, e.server.String(), r.goal, r.memory.copies[e.server])
	case toVerify:
		e.verify = newGoalVerifier(r.p.Exchange, e.server.String(), r.goal, r.names())
	}
	return true
}

// names are those asked for: first the ones that moved.
func (r *round) names() []string {
	all := slices.Concat(r.goal.Moved, r.goal.Still)
	if !r.goal.Embedded {
		for _, n := range r.goal.names() {
			if !slices.Contains(all, n) {
				all = append(all, n)
			}
		}
	}
	if len(all) <= maxVerified {
		return all
	}
	// What has moved is asked for each time, of the rest another part in each round.
	moved := min(len(r.goal.Moved), maxVerified*3/4)
	rest := all[moved:]
	first := r.part % len(rest)
	turned := slices.Concat(rest[first:], rest[:first])
	return slices.Concat(all[:moved], turned[:maxVerified-moved])
}

// do makes one exchange of the current errand and says whether that was the last.
func (r *round) do(ctx context.Context, now time.Time) bool {
	e := r.current
	switch e.kind {
	case toWrite:
		done := e.write.Step(ctx, now)
		if !done && e.write.settles(now) {
			return r.settle(e)
		}
		return done && r.written(e, now) || r.asked(e, done)
	case toTell:
		r.told(e, Notify(ctx, r.p.Exchange, e.server.String(), r.goal.zone), now)
		return true
	default:
		done := e.verify.Step(ctx)
		return done && r.verified(e) || r.asked(e, done)
	}
}

// asked notes that a server has answered; it passes done on.
func (r *round) asked(e *errand, done bool) bool {
	e.answered = true
	return done
}

// again puts an errand whose first question was not answered to the end of the line.
func (r *round) again(e *errand, err error) bool {
	if e.answered || e.patient || statusOf(err) != Silent || !r.othersWait() {
		return false
	}
	r.line = append(r.line, errand{kind: e.kind, server: e.server, patient: true})
	// What else was to be done there comes after it.
	i := slices.IndexFunc(r.line, func(o errand) bool { return o.server == e.server && !o.patient })
	if i >= 0 {
		later := r.line[i]
		r.line = append(slices.Delete(r.line, i, i+1), errand{kind: later.kind, server: later.server, patient: true})
	}
	return true
}

// settle leaves a primary alone for now that takes its time; the others do not wait for it.
func (r *round) settle(e *errand) bool {
	delete(r.memory.copies, e.server)
	r.memory.settling[e.server] = e.write
	r.settles = true
	r.line = slices.DeleteFunc(r.line, func(o errand) bool { return o.server == e.server })
	return true
}

func (r *round) written(e *errand, now time.Time) bool {
	err := e.write.err
	if err != nil && r.again(e, err) {
		return true
	}
	if e.write.known != nil {
		r.memory.copies[e.server] = e.write.known
	} else {
		delete(r.memory.copies, e.server)
	}
	if err == nil {
		delete(r.memory.writes, e.server)
		r.p.Logger.Info("zone updated", "zone", r.goal.Zone, "server", e.server, "token", r.goal.Token, "changes", len(e.write.changes.All()))
		return true
	}
	if isNetwork(err) { // what else was to be done there can wait, too
		r.line = slices.DeleteFunc(r.line, func(o errand) bool { return o.server == e.server })
	}
	r.failed(e.server, err, now)
	return true
}

// isNetwork says whether an exchange failed on the way, so that the server has said nothing.
func isNetwork(err error) bool {
	_, ok := errors.AsType[net.Error](err)
	return ok || errors.Is(err, ErrNoServer) || statusOf(err) == Silent
}

const unreached = "not reached"

func notReached(s Status) error { return fmt.Errorf(unreached+" (%s)", s) }

// WasUnreached says whether a note in State is of a server that was not reached at that time: an answer refutes it.
func WasUnreached(note string) bool { return strings.HasPrefix(note, unreached) }

// failed notes a failed update and when to try again: at once where what stood
// there was not what was thought, else later and later.
func (r *round) failed(server netip.AddrPort, err error, now time.Time) {
	w := r.memory.writes[server]
	if w == nil || w.changed != r.goal.Token.Index {
		w = &backoff{changed: r.goal.Token.Index}
		r.memory.writes[server] = w
	}
	w.times++
	w.err, w.until = err, now.Add(min(writeRetry<<min(w.times-1, 5), writeMost))
	if isNetwork(err) { // its words would name another port each time
		w.err, w.until = notReached(statusOf(err)), now.Add(min(writeRetry<<min(w.times-1, 5), absentRetry))
	}
	if w.times == 1 && (errors.Is(err, ErrOccupied) || errors.Is(err, ErrIneffective) || errors.Is(err, ErrMoved)) {
		w.until = now
	}
	r.note(server, w.err)
	r.mayLag = r.mayLag && statusOf(err) == Silent
	r.p.countFailure(r.goal.Zone)
	r.p.Logger.Warn("zone not updated", "zone", r.goal.Zone, "server", server, "token", r.goal.Token, "err", err)
}

func (r *round) told(e *errand, err error, now time.Time) {
	t := r.memory.told[e.server]
	if t == nil || t.changed != r.goal.Token.Index {
		t = &backoff{changed: r.goal.Token.Index}
		r.memory.told[e.server] = t
	}
	t.times++
	t.err, t.until = err, now.Add(NotifyDelay(t.times))
	if err != nil {
		r.p.Logger.Debug("secondary not told", "zone", r.goal.Zone, "server", e.server, "err", err)
	}
}

// verified notes one server's result. One that cannot be reached is left out of
// the results: it converges when it comes back.
func (r *round) verified(e *errand) bool {
	res := e.verify.Result()
	if res.Status == Silent && r.again(e, context.DeadlineExceeded) {
		return true
	}
	name := e.server.String()
	writing := r.memory.writes[e.server]
	switch res.Status {
	case InSync:
		// An update that failed while the records are right has not put our fence there: the next stale writer could win.
		r.results[name] = writing == nil || writing.changed != r.goal.Token.Index
	case Silent, Unreachable:
		r.p.Logger.Debug("DNS server not reached", "server", name, "why", res.Err)
		r.note(e.server, notReached(res.Status))
	default:
		r.results[name] = false
		r.note(e.server, errors.New(res.Why()))
		// What was known of a primary is not so any more; a secondary is told again.
		delete(r.memory.copies, e.server)
		if t := r.memory.told[e.server]; t != nil && t.err == nil {
			t.err = errBehind
		}
		r.mayLag = r.mayLag && res.Status == Differs
		r.p.Logger.Debug("DNS server out of sync", "server", name, "zone", r.goal.Zone, "status", res.Status, "why", res.Why())
	}
	return true
}

// errBehind is why a secondary is told again.
var errBehind = errors.New("told, and still behind")

// Why says in one line what is wrong with a server.
func (r Result) Why() string {
	text := r.Err
	add := func(what string, records []Record) {
		if len(records) > 0 {
			if text != "" {
				text += "; "
			}
			text += what + " " + records[0].Name + " " + records[0].Type + " " + records[0].Data
			if n := len(records) - 1; n > 0 {
				text += fmt.Sprintf(" and %d more", n)
			}
		}
	}
	add("lacks", r.Missing)
	add("still has", r.Extra)
	if text == "" && !r.InSync {
		text = string(r.Status)
	}
	return text
}
