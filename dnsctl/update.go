package dnsctl

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
)

var (
	// ErrFenced: the zone carries the token of a newer decision; this writer has to stop and look at its State again.
	ErrFenced = errors.New("a newer decision has been written")
	// ErrUncertain: an update was sent, no trustworthy answer came, and the fence could not be read: it may be applied.
	ErrUncertain = errors.New("outcome unknown")
	// ErrRefused: the server refuses the update by its policy or configuration; repeating it is of no use.
	ErrRefused = errors.New("refused by the server")
	// ErrIneffective: the server accepted the update, and the records are nevertheless not as desired (RFC 2136 section
	// 3.4.2 lets it ignore parts silently).
	ErrIneffective = errors.New("accepted without effect")
	// ErrOccupied: data of another type stands where a CNAME was to be added; nothing was written. A server would have
	// accepted the update, removed the addresses and ignored the CNAME.
	ErrOccupied = errors.New("other records stand where a CNAME is to be added")
	// ErrMoved: another decision was written since the changes were worked out: they have to be worked out anew.
	ErrMoved = errors.New("the zone was written in between")
	// ErrForeign: the zone's fence was written by another network, or by nobody who is known here.
	ErrForeign = errors.New("somebody else's zone")
)

// Token orders the writers of a zone: the generation of the log, then the index of the last entry that changed the zone.
type Token struct {
	// Network owns the zone: two networks must not take turns in one. Empty: not stated.
	Network           string
	Generation, Index uint64
}

// Compare orders tokens; the generation comes first, so that a rebuilt log out-ranks the lost one.
func (t Token) Compare(o Token) int {
	return cmp.Or(cmp.Compare(t.Generation, o.Generation), cmp.Compare(t.Index, o.Index))
}

// String is the token as ui and logs show it.
func (t Token) String() string { return fmt.Sprintf("%d-%d", t.Generation, t.Index) }

// fenceName is the owner of the record that every writer compares and swaps. The SOA serial cannot serve: Knot, BIND
// with inline signing and PowerDNS each break its comparison (dns reference, section 1).
func fenceName(zone string) string { return "_ww-fence." + zone }

func (t Token) fence() string {
	owner := ""
	if t.Network != "" {
		owner = "net=" + t.Network + " "
	}
	return fmt.Sprintf("ww1 %sgen=%d idx=%d", owner, t.Generation, t.Index)
}

func parseFence(text string) (Token, error) {
	var t Token
	rest, ours := strings.CutPrefix(text, "ww1 ")
	if owner, more, ok := strings.Cut(rest, " "); ok && strings.HasPrefix(owner, "net=") {
		t.Network, rest = strings.TrimPrefix(owner, "net="), more
	}
	if _, err := fmt.Sscanf(rest, "gen=%d idx=%d", &t.Generation, &t.Index); err != nil || !ours || t.fence() != text {
		return Token{}, fmt.Errorf("read fence: %q is not understood: somebody else's record stands there: %w", text, ErrForeign)
	}
	return t, nil
}

// occupants are the types that would make a server ignore a CNAME silently (RFC 2136 section 3.4.2.2). Those of DNSSEC
// may stand beside it.
func occupants() []uint16 {
	return []uint16{
		dns.TypeTXT, dns.TypeMX, dns.TypeSRV, dns.TypeCAA, dns.TypeNS, dns.TypeDS, dns.TypeHTTPS, dns.TypeSVCB, dns.TypeTLSA,
		dns.TypeSSHFP,
	}
}

// addsAlias says whether a change puts a CNAME where none stands.
func (c Change) addsAlias() bool { return c.Type == "CNAME" && len(c.Before) == 0 && len(c.After) > 0 }

// makesWayFor says whether another change puts a CNAME where this one's set stood.
func (c Change) makesWayFor(o Change) bool { return o.Name == c.Name && o.addsAlias() }

// turnsAlias says whether a change gives a CNAME another target or TTL. It is only added then, since that replaces the old
// one (RFC 2136 section 3.4.2.2). A Knot that signs ignores it after a removal: the name's NSEC is in the way then, and the
// name would be gone.
func (c Change) turnsAlias() bool {
	return c.Type == "CNAME" && len(c.Before) == 1 && len(c.After) == 1
}

// updateMessage is the one atomic UPDATE (RFC 2136) of a decision: if the fence still is as read (nil: absent), it and
// the changed sets are replaced. All removals precede all insertions, since several records make up one set.
func updateMessage(zone string, token Token, fence *dns.TXT, changes []Change) (*dns.Msg, error) {
	owner := fenceName(zone)
	next, err := Record{Name: owner, Type: "TXT", Data: TXTData(token.fence())}.RR()
	if err != nil {
		return nil, err
	}
	m := new(dns.Msg)
	m.SetUpdate(zone)
	m.Id = 0
	if fence == nil {
		m.RRsetNotUsed([]dns.RR{next})
	} else {
		m.Used([]dns.RR{dns.Copy(fence)}) // Used changes the record it is given
	}
	for _, c := range changes {
		if !c.addsAlias() {
			continue
		}
		if c.Fresh {
			m.NameNotUsed([]dns.RR{&dns.ANY{Hdr: dns.RR_Header{Name: c.Name}}})
			continue
		}
		for _, t := range occupants() {
			m.RRsetNotUsed([]dns.RR{&dns.ANY{Hdr: dns.RR_Header{Name: c.Name, Rrtype: t}}})
		}
	}
	m.RemoveRRset([]dns.RR{next})
	inserts := []dns.RR{next}
	for _, c := range changes {
		if c.Partial {
			for _, r := range c.Before {
				rr, err := r.RR()
				if err != nil {
					return nil, err
				}
				m.Remove([]dns.RR{rr})
			}
			continue
		}
		if !c.turnsAlias() {
			m.RemoveRRset([]dns.RR{&dns.ANY{Hdr: dns.RR_Header{Name: c.Name, Rrtype: codecs[c.Type].code}}})
		}
		for _, r := range c.After {
			rr, err := r.RR()
			if err != nil {
				return nil, err
			}
			inserts = append(inserts, rr)
		}
	}
	for _, rr := range inserts {
		m.Insert([]dns.RR{dns.Copy(rr)})
	}
	m.Compress = true // many records of few names: a third of the size
	if n := m.Len(); n > maxUpdate {
		return nil, fmt.Errorf("an update of %d bytes for %d sets of records does not fit one message: split the zone", n, len(changes))
	}
	return m, nil
}

type updatePhase uint8

const (
	reading updatePhase = iota
	writing
	verifying
	ended
)

const (
	// maxWrites bounds how often one Updater writes: each lost race means that a writer with another token won it.
	maxWrites = 16
	// maxUpdate leaves room for the signature in a message over TCP.
	maxUpdate = dns.MaxMsgSize - 512
	// maxLost bounds how often it writes into silence, each of which costs the caller a deadline.
	maxLost = 3
	// settleWithin is how long a server may show something older than it holds: BIND with inline signing takes updates
	// into the unsigned zone and serves the signed one, which follows some tenths of a second later, more under load.
	settleWithin = 5 * time.Second
	settleRetry  = 100 * time.Millisecond // between two looks at it
)

// Updater brings the changes of one decision to one primary: read the fence, write under it, verify; one exchange per
// step. It knows nothing of signatures: the exchanger signs.
type Updater struct {
	ex      Exchanger
	server  string
	zone    string
	token   Token
	changes []Change

	basis Token // of the decision that the changes start from; zero: not known
	bare  bool  // they start from a zone that carries none

	phase    updatePhase
	fence    *dns.TXT
	writes   int
	lost     int
	sent     bool  // an update went out and its outcome is not known
	lostTo   int   // rcode of the prerequisite by which the last update failed; 0: it did not
	ours     bool  // the fence that was read last carries our token
	accepted bool  // an update was applied, so that our fence stands there or a newer one
	denied   error // an update was answered, but with no signature that would make the answer sure
	verify   *Verifier
	err      error

	until   time.Time // before which another look is of no use
	settled time.Time // when patience with a view that lags ends; zero: none has
}

// NewUpdater checks the changes: known types, names within the zone, canonical records that belong to their set.
func NewUpdater(ex Exchanger, server, zone string, token Token, changes []Change) (*Updater, error) {
	name, err := canonicalName(zone)
	if err != nil {
		return nil, fmt.Errorf("update zone: %w", err)
	}
	for _, c := range changes {
		_, known := codecs[c.Type]
		if owner, err := canonicalName(c.Name); err != nil || owner != c.Name || !inZone(c.Name, name) || !known {
			return nil, fmt.Errorf("update zone %s: change %q is not of a known type and within the zone", name, c)
		}
		for _, r := range c.After {
			if canon, err := r.Canonical(); err != nil || canon != r || r.Name != c.Name || r.Type != c.Type {
				return nil, fmt.Errorf("update zone %s: record %q does not belong to the change of %s %s", name, r, c.Name, c.Type)
			}
		}
	}
	return &Updater{ex: ex, server: server, zone: name, token: token, changes: slices.Clone(changes)}, nil
}

// Step makes the next exchange under the context's deadline and says whether the work has ended; then Err tells how.
// While it has not, the next step is to be made at Until.
func (u *Updater) Step(ctx context.Context, now time.Time) (done bool) {
	switch u.phase {
	case reading:
		u.read(ctx, now)
	case writing:
		u.write(ctx)
	case verifying:
		if u.verify.Step(ctx) {
			u.judge(now)
		}
	}
	return u.phase == ended
}

// Until is when the next step is worth its exchange: in the past, but for a server that shows less than it holds.
func (u *Updater) Until() time.Time { return u.until }

// lags has the fence looked at again a little later, and ends the work with err if that was done for long enough.
func (u *Updater) lags(now time.Time, err error) {
	if u.settled.IsZero() {
		u.settled = now.Add(settleWithin)
	}
	if !now.Before(u.settled) {
		u.end(err)
		return
	}
	u.phase, u.until = reading, now.Add(settleRetry)
}

// Err is nil once the records are verified at the server, and before the end; else it wraps ErrFenced, ErrUncertain,
// ErrRefused, ErrIneffective or the failed exchange.
func (u *Updater) Err() error { return u.err }

// Serial is the zone's serial at the server when it was verified, else 0.
func (u *Updater) Serial() uint32 {
	if u.verify == nil {
		return 0
	}
	return u.verify.Result().Serial
}

func (u *Updater) end(err error) {
	u.phase = ended
	if err != nil {
		u.err = fmt.Errorf("update zone %s at %s: %w", u.zone, u.server, err)
	}
}

// read looks at the fence at the primary itself and decides what follows.
func (u *Updater) read(ctx context.Context, now time.Time) {
	q := new(dns.Msg)
	q.SetQuestion(fenceName(u.zone), dns.TypeTXT)
	q.Id, q.RecursionDesired = 0, false
	reply, err := u.ex.Exchange(ctx, u.server, q)
	if err != nil {
		if u.sent {
			err = fmt.Errorf("%w: %w", ErrUncertain, err)
		}
		u.end(err)
		return
	}
	fence, err := fenceOf(reply, fenceName(u.zone))
	if err != nil {
		u.end(err)
		return
	}
	order, err := u.weigh(fence)
	if err != nil {
		u.end(err)
		return
	}
	switch same := sameFence(u.fence, fence); {
	case same && u.lostTo != 0:
		u.lostToNobody(now)
		return
	case !same && !u.accepted:
		u.settled = time.Time{} // it moves, and each of its moves can cost a write, which are counted
	}
	u.sent, u.lostTo, u.fence, u.ours = false, 0, fence, order == 0
	u.accepted = u.accepted || order == 0 && u.writes > 0
	switch {
	case u.denied != nil && order != 0:
		u.end(fmt.Errorf("%w: %w", ErrRefused, u.denied))
	case order == 0: // written before, by us or by a leader with the same State: only look
		u.startVerifying()
	case u.accepted:
		u.lags(now, u.ineffective())
	default:
		u.phase = writing
	}
}

// lostToNobody judges an update that failed by its prerequisites while the fence looks as before: either it was another
// prerequisite, or what is shown is older than what the server compared with.
func (u *Updater) lostToNobody(now time.Time) {
	// A record in the way gives YXDOMAIN or YXRRSET; so does a fence that is there already, if none was seen.
	occupied := u.lostTo != dns.RcodeNXRrset && slices.ContainsFunc(u.changes, Change.addsAlias)
	switch {
	case occupied && (u.fence != nil || u.lostTo == dns.RcodeYXDomain):
		u.end(ErrOccupied)
	case occupied:
		u.lags(now, ErrOccupied)
	default:
		u.lags(now, fmt.Errorf("gave up after %d updates: the server shows another fence than it compares with", u.writes))
	}
}

// weigh compares the fence that stands there with our token; a newer one, or somebody else's, ends the work.
func (u *Updater) weigh(fence *dns.TXT) (order int, err error) {
	if fence == nil {
		if u.basis != (Token{}) {
			return 0, fmt.Errorf("zone has no decision, not %s: %w", u.basis, ErrMoved)
		}
		return -1, nil
	}
	held, err := parseFence(strings.Join(fence.Txt, ""))
	if err != nil {
		return 0, err
	}
	if held.Network != "" && u.token.Network != "" && held.Network != u.token.Network {
		return 0, fmt.Errorf("the fence is of network %q: %w", held.Network, ErrForeign)
	}
	order = held.Compare(u.token)
	switch {
	case order > 0:
		return 0, fmt.Errorf("token %s, zone has %s: %w", u.token, held, ErrFenced)
	case order < 0 && u.basis != (Token{}) && held.Compare(u.basis) != 0:
		return 0, fmt.Errorf("zone has %s, not %s: %w", held, u.basis, ErrMoved)
	case order < 0 && u.bare:
		return 0, fmt.Errorf("zone has %s, and had none: %w", held, ErrMoved)
	}
	return order, nil
}

// fenceOf returns the fence record of an answer, nil where the server says with authority that there is none.
func fenceOf(reply *dns.Msg, owner string) (*dns.TXT, error) {
	switch {
	case reply.Rcode == dns.RcodeRefused || reply.Rcode == dns.RcodeNotAuth:
		return nil, fmt.Errorf("read fence: answered %s: %w", rcodeText(reply.Rcode), ErrRefused)
	case reply.Rcode != dns.RcodeSuccess && reply.Rcode != dns.RcodeNameError:
		return nil, fmt.Errorf("read fence: answered %s", rcodeText(reply.Rcode))
	case !reply.Authoritative:
		return nil, errors.New("read fence: answered without authority: this is no primary of the zone")
	}
	var fence *dns.TXT
	for _, rr := range reply.Answer {
		txt, ok := rr.(*dns.TXT)
		if !ok || dns.CanonicalName(txt.Hdr.Name) != owner || fence != nil {
			return nil, errors.New("read fence: more than one record stands there")
		}
		fence = txt
	}
	return fence, nil
}

func sameFence(a, b *dns.TXT) bool {
	return a == b || a != nil && b != nil && slices.Equal(a.Txt, b.Txt)
}

func (u *Updater) write(ctx context.Context) {
	if u.writes++; u.writes > maxWrites || u.lost >= maxLost {
		u.end(fmt.Errorf("gave up after %d updates, %d of them without an answer", u.writes-1, u.lost))
		return
	}
	m, err := updateMessage(u.zone, u.token, u.fence, u.changes)
	if err != nil {
		u.end(err)
		return
	}
	reply, err := u.ex.Exchange(ctx, u.server, m)
	if err != nil { // it may have been applied: only the fence can tell
		u.phase, u.sent = reading, true
		if _, verdict := errors.AsType[*SignatureError](err); verdict || errors.Is(err, ErrUnsigned) {
			u.denied = err
			return
		}
		u.lost++
		return
	}
	switch reply.Rcode {
	case dns.RcodeSuccess:
		u.accepted = true
		u.startVerifying()
	case dns.RcodeNXRrset, dns.RcodeYXRrset, dns.RcodeNameError, dns.RcodeYXDomain:
		u.phase, u.lostTo = reading, reply.Rcode // somebody was faster: look who
	case dns.RcodeServerFailure:
		u.end(errors.New("answered SERVFAIL: the server could not store the update"))
	default:
		u.end(fmt.Errorf("answered %s: %w", rcodeText(reply.Rcode), ErrRefused))
	}
}

func (u *Updater) startVerifying() {
	v := &Verifier{ex: u.ex, zone: Zone{Name: u.zone}, result: Result{Server: u.server, Status: Unchecked}}
	v.checks = []check{{name: u.zone, rtype: "SOA"}}
	for _, c := range u.changes {
		if c.Partial {
			v.checks = append(v.checks, check{name: c.Name, rtype: c.Type, gone: c.Before})
			continue
		}
		if len(c.After) > 0 || !slices.ContainsFunc(u.changes, c.makesWayFor) { // else the answer is that CNAME
			v.checks = append(v.checks, check{name: c.Name, rtype: c.Type, want: c.After})
		}
	}
	u.verify, u.phase = v, verifying
}

// judge ends the work, writes once more where the fence is ours and the records were changed behind our back, or looks
// again: a newer decision may have replaced ours meanwhile, or the server does not show yet what it accepted.
func (u *Updater) judge(now time.Time) {
	r := u.verify.Result()
	switch {
	case r.InSync:
		u.end(nil)
	case r.Status != Differs:
		u.end(fmt.Errorf("verify: server is %s: %s", r.Status, r.Err))
	case u.ours && u.writes < 2: // equal tokens mean equal content, so that writing under our own fence is safe
		u.phase = writing
	case u.settled.IsZero():
		u.lags(now, nil)
		u.until = now // the fence tells at once whether we have lost
	default:
		u.lags(now, u.ineffective())
	}
}

func (u *Updater) ineffective() error {
	r := u.verify.Result()
	return fmt.Errorf("%w: missing %v, extra %v", ErrIneffective, r.Missing, r.Extra)
}
