package dnsctl

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// copyOf is what one primary was last seen to hold at the names that are ours.
type copyOf struct {
	token    Token // of the decision that it carries
	bare     bool  // it carries none
	records  []Record
	occupied map[string]bool
	absent   map[string]bool // names at which nothing was
	names    []string        // that were looked at
}

// covers says whether every name of a goal has been looked at.
func (c *copyOf) covers(g Goal) bool {
	return c != nil && !slices.ContainsFunc(g.known(), func(n string) bool { return !slices.Contains(c.names, n) })
}

// writer brings one primary to a goal: look at what stands there, unless that is known, then update under the fence. One
// exchange per step.
type writer struct {
	ex     Exchanger
	server string
	goal   Goal

	known   *copyOf
	looking *survey
	looks   int // surveys begun
	update  *Updater
	changes Changes
	err     error
	ended   bool
}

// newWriter begins; known is what an earlier writer learnt of this primary, nil for nothing.
func newWriter(ex Exchanger, server string, g Goal, known *copyOf) *writer {
	w := &writer{ex: ex, server: server, goal: g, known: known}
	if !known.covers(g) {
		w.look()
	}
	return w
}

func (w *writer) look() {
	w.known, w.update, w.looking = nil, nil, newSurvey(w.ex, w.server, w.goal)
	w.looks++
}

// maxLooks is how often a writer looks at all names: a server that shows its updates a moment later shows another decision
// at the end of a look than at its beginning.
const maxLooks = 4

// settles says whether the next step is not worth its exchange yet, since the server lags behind itself.
func (w *writer) settles(now time.Time) bool { return w.update != nil && now.Before(w.update.Until()) }

// Step makes the next exchange and says whether the work has ended.
func (w *writer) Step(ctx context.Context, now time.Time) bool {
	switch {
	case w.ended:
	case w.looking != nil:
		if !w.looking.Step(ctx) {
			return false
		}
		w.known, w.err = w.looking.result()
		w.looking = nil
		if w.err != nil {
			w.ended = true
			return true
		}
		return w.begin()
	case w.update == nil:
		if w.begin() {
			return true
		}
		return w.Step(ctx, now)
	default:
		if !w.update.Step(ctx, now) {
			return false
		}
		if err := w.update.Err(); errors.Is(err, ErrMoved) && w.looks > 0 && w.looks < maxLooks {
			w.look()
			return false
		}
		w.conclude(w.update.Err())
	}
	return w.ended
}

// begin works out the changes; it makes no exchange.
func (w *writer) begin() bool {
	w.changes = w.goal.changes(w.known.records, w.known.occupied)
	for i, c := range w.changes.Create {
		w.changes.Create[i].Fresh = w.known.absent[c.Name]
	}
	w.update, w.err = NewUpdater(w.ex, w.server, w.goal.Apex(), w.goal.Token, w.changes.All())
	if w.ended = w.err != nil; !w.ended {
		w.update.basis, w.update.bare = w.known.token, w.known.bare
	}
	return w.ended
}

func (w *writer) conclude(err error) {
	w.ended, w.err = true, err
	switch {
	case err == nil:
		next := &copyOf{token: w.goal.Token, occupied: w.known.occupied, names: w.known.names}
		changed, gone := map[setKey]bool{}, []Record(nil)
		for _, c := range w.changes.All() {
			changed[setKey{c.Name, c.Type}] = changed[setKey{c.Name, c.Type}] || !c.Partial
			next.records = append(next.records, c.After...)
			if c.Partial {
				gone = append(gone, c.Before...)
			}
		}
		for _, r := range w.known.records {
			if !changed[setKey{r.Name, r.Type}] && !slices.Contains(gone, r) {
				next.records = append(next.records, r)
			}
		}
		w.known = next
		w.err = w.refused()
	default:
		w.known = nil // whatever it was, what was known did not help
	}
}

// refused tells what the guard held back: the server will not converge to it.
func (w *writer) refused() error {
	if len(w.changes.Refused) == 0 {
		return nil
	}
	r := w.changes.Refused[0]
	return fmt.Errorf("%s %s is left alone (%s)", r.Name, r.Type, r.Reason)
}

// survey reads what a primary holds at the names of a goal, one question per step: the fence first, since what follows
// from the rest may only be written while that stands; then the declared types, and where a CNAME is desired and none
// stands, what would keep it out.
type survey struct {
	ex     Exchanger
	server string
	goal   Goal
	asks   []ask
	out    copyOf
	err    error

	asked, signed bool // whether the server signs the zone
}

type ask struct {
	name  string
	rtype uint16
	ours  bool // its records are wanted, not only whether there are any
	fence bool // it is the fence
}

func newSurvey(ex Exchanger, server string, g Goal) *survey {
	s := &survey{ex: ex, server: server, goal: g}
	s.out.occupied, s.out.absent, s.out.names = map[string]bool{}, map[string]bool{}, g.known()
	for _, name := range g.names() {
		for _, t := range g.Owned[name] {
			if t != "CNAME" || !slices.Contains(g.Owned[name], "A") { // a CNAME shows in the answer for A
				s.asks = append(s.asks, ask{name: name, rtype: codecs[t].code, ours: true})
			}
		}
	}
	for set := range sets(g.Former) {
		s.asks = append(s.asks, ask{name: set[0].Name, rtype: codecs[set[0].Type].code, ours: true})
	}
	if len(s.asks) > 0 {
		s.asks = slices.Insert(s.asks, 0, ask{name: fenceName(g.Apex()), rtype: dns.TypeTXT, fence: true})
	}
	return s
}

// Step asks the next question.
func (s *survey) Step(ctx context.Context) bool {
	if len(s.asks) == 0 {
		return true
	}
	a := s.asks[0]
	s.asks = s.asks[1:]
	q := new(dns.Msg)
	q.SetQuestion(a.name, a.rtype)
	q.Id, q.RecursionDesired = 0, false
	q.SetEdns0(udpSize, false)
	reply, err := s.ex.Exchange(ctx, s.server, q)
	if err == nil {
		err = answerFault(reply)
	}
	if err != nil {
		s.asks, s.err = nil, fmt.Errorf("look at %s %s: %w", a.name, dns.TypeToString[a.rtype], err)
		return true
	}
	if a.fence {
		s.takeFence(a, reply)
	} else {
		s.take(a, reply)
	}
	if len(s.asks) == 0 && !s.asked && len(s.addresses()) > 0 {
		s.asked = true
		s.asks = []ask{{name: s.goal.Apex(), rtype: dns.TypeDNSKEY}}
	}
	return len(s.asks) == 0
}

// answerFault says why an answer is not the zone's own.
func answerFault(reply *dns.Msg) error {
	switch {
	case reply.Rcode == dns.RcodeRefused || reply.Rcode == dns.RcodeNotAuth:
		return fmt.Errorf("answered %s: %w", rcodeText(reply.Rcode), ErrRefused)
	case reply.Rcode != dns.RcodeSuccess && reply.Rcode != dns.RcodeNameError:
		return fmt.Errorf("answered %s", rcodeText(reply.Rcode))
	case !reply.Authoritative || reply.Truncated:
		return errors.New("answered without authority or in part")
	}
	return nil
}

// takeFence notes the decision that the zone carries. One that is not understood ends the update, which reads it again.
func (s *survey) takeFence(a ask, reply *dns.Msg) {
	fence, err := fenceOf(reply, a.name)
	if err != nil {
		return
	}
	if s.out.bare = fence == nil; !s.out.bare {
		if held, bad := parseFence(strings.Join(fence.Txt, "")); bad == nil {
			s.out.token = held
		}
	}
}

// take notes one answer, and asks for what would keep a CNAME out where one is desired and none stands.
func (s *survey) take(a ask, reply *dns.Msg) {
	if a.rtype == dns.TypeDNSKEY {
		s.signed = len(reply.Answer) > 0
		return
	}
	if !a.ours {
		for _, rr := range reply.Answer {
			found := dns.CanonicalName(rr.Header().Name) == a.name && rr.Header().Rrtype == a.rtype
			s.out.occupied[a.name] = s.out.occupied[a.name] || found
		}
		return
	}
	none := reply.Rcode == dns.RcodeNameError && len(reply.Answer) == 0
	switch {
	case none:
		s.out.absent[a.name] = true // nothing is in the way
	case s.note(a, reply): // a CNAME: nothing else stands there
		s.asks = slices.DeleteFunc(s.asks, func(o ask) bool { return o.name == a.name })
	case a.rtype == dns.TypeA && s.wantsAlias(a.name):
		for _, t := range occupants() {
			s.asks = append(s.asks, ask{name: a.name, rtype: t})
		}
	}
}

func (s *survey) wantsAlias(name string) bool {
	want := s.goal.at(name)
	return len(want) == 1 && want[0].Type == "CNAME"
}

// note keeps the records of an answer that stand at the name asked for, not those behind a CNAME, and says whether one is
// a CNAME.
func (s *survey) note(a ask, reply *dns.Msg) (alias bool) {
	for _, rr := range reply.Answer {
		if dns.CanonicalName(rr.Header().Name) != a.name {
			continue
		}
		r, err := FromRR(rr)
		if err == nil && !slices.Contains(s.out.records, r) {
			s.out.records = append(s.out.records, r)
		}
		alias = alias || rr.Header().Rrtype == dns.TypeCNAME
	}
	return alias
}

func (s *survey) result() (*copyOf, error) {
	if s.err != nil {
		return nil, s.err
	}
	if s.signed {
		for _, name := range s.addresses() {
			s.out.occupied[name] = true
		}
	}
	return &s.out, nil
}

// addresses are the names where a CNAME is desired and addresses stand. Where the server signs they stay addresses: a Knot
// that signs would remove them and then ignore the CNAME, since the name's NSEC is in its way until the update ends.
func (s *survey) addresses() []string {
	var out []string
	for _, r := range s.out.records {
		if (r.Type == "A" || r.Type == "AAAA") && s.wantsAlias(r.Name) {
			out = append(out, r.Name)
		}
	}
	return out
}
