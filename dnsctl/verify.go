package dnsctl

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"

	"github.com/miekg/dns"
)

// Status is how one server stands to what is desired.
type Status string

// The states of a server.
const (
	// Unchecked: not all questions have been asked yet.
	Unchecked Status = "unchecked"
	// InSync: the serial is not older than the desired one and every set of records asked for is equal.
	InSync Status = "in-sync"
	// Differs: the server answers with an older serial or other records.
	Differs Status = "differs"
	// Refusing: the server answers REFUSED or NOTAUTH: it does not serve the zone, or not to us.
	Refusing Status = "refusing"
	// Failing: the server answers, but with an error, without authority or with something malformed.
	Failing Status = "failing"
	// Silent: no answer in time. A lost site gives silence.
	Silent Status = "silent"
	// Unreachable: the question could not be sent, or was refused: the address may live, the service does not.
	Unreachable Status = "unreachable"
)

// Result is what verification found at one server.
type Result struct {
	Server string
	Status Status
	InSync bool
	// Serial of the zone at the server, when it answered.
	Serial uint32
	// Missing are desired records that the server does not give, Extra those it gives at the same names beside them.
	Missing, Extra []Record
	// Absent are names for which records are desired and the server says NXDOMAIN.
	Absent []string
	// WrongTTL are right records as the server gives them, with another TTL than desired. They do not count as a difference.
	WrongTTL []Record
	// Err says in words why Status is none of InSync and Differs, or which serial is older.
	Err string
}

// Verifier compares one server with a desired zone, one question per step.
type Verifier struct {
	ex     Exchanger
	zone   Zone
	checks []check
	next   int
	result Result
}

// check is one question and the answer that is desired.
type check struct {
	name, rtype string
	want        []Record
	// flat is what is as good as the desired CNAME: the addresses that it leads to, where other data keeps a CNAME out.
	flat []Record
	// gone are records that may not stand there any more; what else does is not looked at.
	gone []Record
}

// NewVerifier prepares the questions: the SOA, then the desired sets at each name. At a name without a desired CNAME, A
// and AAAA are asked in any case, since an address of a lost site that was left behind is as wrong as a missing one.
// The serial is not compared when the desired one is 0 (the server keeps its own). The zone must be valid.
func NewVerifier(ex Exchanger, server string, want Zone, names []string) (*Verifier, error) {
	zone, err := want.Canonical()
	if err != nil {
		return nil, fmt.Errorf("verify %s: %w", server, err)
	}
	v := &Verifier{ex: ex, zone: zone, result: Result{Server: server, Status: Unchecked}}
	v.checks = []check{{name: zone.Name, rtype: "SOA"}}
	done := make(map[string]bool, len(names))
	for _, n := range names {
		name, err := canonicalName(n)
		if err == nil && !inZone(name, zone.Name) {
			err = fmt.Errorf("name %q is outside zone %s", n, zone.Name)
		}
		if err != nil {
			return nil, fmt.Errorf("verify %s: %w", server, err)
		}
		if !done[name] {
			done[name] = true
			v.checks = append(v.checks, checksFor(name, zone.at(name))...)
		}
	}
	return v, nil
}

// newGoalVerifier compares a server with a goal at some of its names. At a zone of the agents' own this is NewVerifier;
// elsewhere only what is ours is asked for, and the serial is the server's affair.
func newGoalVerifier(ex Exchanger, server string, g Goal, names []string) *Verifier {
	v := &Verifier{ex: ex, zone: Zone{Name: g.Apex(), Serial: g.Serial}, result: Result{Server: server, Status: Unchecked}}
	v.checks = []check{{name: g.Apex(), rtype: "SOA"}}
	for _, name := range names {
		if g.Embedded {
			v.checks = append(v.checks, checksFor(name, g.at(name))...)
			continue
		}
		v.checks = append(v.checks, g.checks(name)...)
	}
	for set := range sets(g.Former) {
		v.checks = append(v.checks, check{name: set[0].Name, rtype: set[0].Type, gone: set})
	}
	return v
}

// checks are the questions about a name that is ours in somebody else's zone. A name for which nothing is desired is left
// as it is, and so not asked for.
func (g Goal) checks(name string) []check {
	var out []check
	want := g.at(name)
	if len(want) == 0 {
		return nil
	}
	ofType := func(records []Record, rtype string) []Record {
		return slices.DeleteFunc(slices.Clone(records), func(r Record) bool { return r.Type != rtype })
	}
	if alias := ofType(want, "CNAME"); len(alias) > 0 && slices.Contains(g.Owned[name], "A") {
		flat := g.flat(name)
		for _, t := range []string{"A", "AAAA"} {
			c := check{name: name, rtype: t, want: alias}
			if len(flat) > 0 { // else nothing but the CNAME will do
				c.flat = append([]Record{}, ofType(flat, t)...)
			}
			out = append(out, c)
		}
		return out
	}
	for _, t := range g.Owned[name] {
		out = append(out, check{name: name, rtype: t, want: ofType(want, t)})
	}
	return out
}

func checksFor(name string, records []Record) []check {
	var out []check
	for set := range sets(records) {
		out = append(out, check{name: name, rtype: set[0].Type, want: set})
	}
	for _, t := range []string{"A", "AAAA"} {
		has := func(c check) bool { return c.rtype == t || c.rtype == "CNAME" }
		if !slices.ContainsFunc(out, has) {
			out = append(out, check{name: name, rtype: t})
		}
	}
	return out
}

// Step asks the next question, under the context's deadline, and says whether that was the last. A server that fails
// to answer properly ends the verification: the caller begins a new one later.
func (v *Verifier) Step(ctx context.Context) (done bool) {
	if v.next >= len(v.checks) {
		return true
	}
	c := v.checks[v.next]
	q := new(dns.Msg)
	q.SetQuestion(c.name, codecs[c.rtype].code)
	q.Id, q.RecursionDesired = 0, false
	q.SetEdns0(udpSize, false)
	reply, err := v.ex.Exchange(ctx, v.result.Server, q)
	if err != nil {
		return v.end(statusOf(err), err.Error())
	}
	switch {
	case reply.Rcode == dns.RcodeRefused || reply.Rcode == dns.RcodeNotAuth:
		return v.end(Refusing, fmt.Sprintf("answered %s for %s %s", rcodeText(reply.Rcode), c.name, c.rtype))
	case reply.Rcode != dns.RcodeSuccess && reply.Rcode != dns.RcodeNameError:
		return v.end(Failing, fmt.Sprintf("answered %s for %s %s", rcodeText(reply.Rcode), c.name, c.rtype))
	case !reply.Authoritative:
		return v.end(Failing, fmt.Sprintf("answered for %s %s without authority", c.name, c.rtype))
	case reply.Truncated:
		return v.end(Failing, fmt.Sprintf("answer for %s %s is cut short", c.name, c.rtype))
	}
	if v.next == 0 {
		if !v.readSerial(reply) {
			return v.end(Failing, fmt.Sprintf("answered %s without an SOA for %s", rcodeText(reply.Rcode), c.name))
		}
	} else {
		v.compare(c, reply)
	}
	if v.next++; v.next < len(v.checks) {
		return false
	}
	return v.conclude()
}

// Result is what is known so far.
func (v *Verifier) Result() Result { return v.result }

// CheckServer runs a Verifier to its end. All questions share the context's deadline.
func CheckServer(ctx context.Context, ex Exchanger, server string, want Zone, names []string) (Result, error) {
	v, err := NewVerifier(ex, server, want, names)
	if err != nil {
		return Result{Server: server, Status: Unchecked}, err
	}
	for !v.Step(ctx) {
	}
	return v.Result(), nil
}

func (v *Verifier) readSerial(reply *dns.Msg) bool {
	for _, rr := range reply.Answer {
		if soa, ok := rr.(*dns.SOA); ok && dns.CanonicalName(soa.Hdr.Name) == v.zone.Name {
			v.result.Serial = soa.Serial
			return true
		}
	}
	return false
}

// answers returns the records of an answer at the name asked for; those of the chain behind a CNAME do not count.
func (c check) answers(reply *dns.Msg) []Record {
	var got []Record
	for _, rr := range reply.Answer {
		r, err := FromRR(rr)
		if err == nil && r.Name == c.name && (r.Type == c.rtype || r.Type == "CNAME") {
			got = append(got, r)
		}
	}
	return got
}

// isFlat says whether an answer is to be held against the addresses behind the CNAME. An empty one says nothing about the
// name where that type has none, and for AAAA the question for A has told.
func (c check) isFlat(got []Record) bool {
	alias := slices.ContainsFunc(got, func(r Record) bool { return r.Type == "CNAME" })
	return c.flat != nil && !alias && (len(got) > 0 || len(c.flat) == 0 || c.rtype == "AAAA")
}

// compare matches one answer with what is desired, by data.
func (v *Verifier) compare(c check, reply *dns.Msg) {
	got := c.answers(reply)
	if len(c.gone) > 0 {
		for _, g := range got {
			if isAmong(c.gone, g) && !slices.Contains(v.result.Extra, g) {
				v.result.Extra = append(v.result.Extra, g)
			}
		}
		return
	}
	if c.isFlat(got) {
		c.want = c.flat
	}
	if reply.Rcode == dns.RcodeNameError && len(got) == 0 && len(c.want) > 0 && !slices.Contains(v.result.Absent, c.name) {
		v.result.Absent = append(v.result.Absent, c.name)
	}
	same := func(a Record) func(Record) bool {
		return func(b Record) bool { return a.Type == b.Type && a.Data == b.Data }
	}
	for _, w := range c.want {
		if !slices.ContainsFunc(got, same(w)) {
			v.result.Missing = append(v.result.Missing, w)
		}
	}
	for _, g := range got {
		i := slices.IndexFunc(c.want, same(g))
		switch {
		case i < 0 && !slices.Contains(v.result.Extra, g):
			v.result.Extra = append(v.result.Extra, g)
		case i >= 0 && c.want[i].TTL != g.TTL:
			v.result.WrongTTL = append(v.result.WrongTTL, g)
		}
	}
}

func (v *Verifier) conclude() bool {
	r := &v.result
	if want := v.zone.Serial; want != 0 && SerialLess(r.Serial, want) {
		return v.end(Differs, fmt.Sprintf("serial %d is older than %d", r.Serial, want))
	}
	if len(r.Missing)+len(r.Extra) > 0 {
		if want := v.zone.Serial; want != 0 && SerialLess(want, r.Serial) {
			return v.end(Differs, fmt.Sprintf("serial %d is ahead of %d: unless this server signs, it has the zone from elsewhere, and takes ours with serial_after: %d", r.Serial, want, r.Serial))
		}
		return v.end(Differs, "")
	}
	r.InSync = true
	return v.end(InSync, "")
}

func (v *Verifier) end(s Status, why string) bool {
	v.next = len(v.checks)
	v.result.Status, v.result.Err = s, why
	return true
}

// statusOf tells silence from refusal: only the first is what a lost site gives.
func statusOf(err error) Status {
	timeout, ok := errors.AsType[net.Error](err)
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded),
		ok && timeout.Timeout():
		return Silent
	case errors.Is(err, context.Canceled):
		return Unchecked
	case errors.Is(err, ErrMalformed):
		return Failing
	default:
		return Unreachable
	}
}
