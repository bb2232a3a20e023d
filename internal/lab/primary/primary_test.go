package primary_test

import (
	"errors"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/raoull/worldwidewelsh/internal/lab/primary"
)

const (
	key    = "ww-key."
	secret = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
)

func rr(t testing.TB, text string) dns.RR {
	t.Helper()
	out, err := dns.NewRR(text)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func message(change func(*dns.Msg)) *dns.Msg {
	m := new(dns.Msg)
	m.SetUpdate("zone.test.")
	m.Id = 0
	change(m)
	return m
}

func TestUpdates(t *testing.T) {
	www, old := "www.zone.test. 60 IN A 192.0.2.1", "old.zone.test. 60 IN CNAME www.zone.test."
	for name, tt := range map[string]struct {
		change func(*dns.Msg)
		rcode  int
		www    int    // addresses of it afterwards
		old    string // target afterwards
		serial uint32
	}{
		"nothing":           {func(*dns.Msg) {}, dns.RcodeSuccess, 1, "www.zone.test.", 7},
		"a record more":     {func(m *dns.Msg) { m.Insert([]dns.RR{rr(t, "www.zone.test. 60 IN A 192.0.2.2")}) }, dns.RcodeSuccess, 2, "www.zone.test.", 8},
		"the same record":   {func(m *dns.Msg) { m.Insert([]dns.RR{rr(t, www)}) }, dns.RcodeSuccess, 1, "www.zone.test.", 7},
		"a set removed":     {func(m *dns.Msg) { m.RemoveRRset([]dns.RR{rr(t, www)}) }, dns.RcodeSuccess, 0, "www.zone.test.", 8},
		"a name removed":    {func(m *dns.Msg) { m.RemoveName([]dns.RR{rr(t, www)}) }, dns.RcodeSuccess, 0, "www.zone.test.", 8},
		"one removed":       {func(m *dns.Msg) { m.Remove([]dns.RR{rr(t, www)}) }, dns.RcodeSuccess, 0, "www.zone.test.", 8},
		"another removed":   {func(m *dns.Msg) { m.Remove([]dns.RR{rr(t, "www.zone.test. 60 IN A 192.0.2.9")}) }, dns.RcodeSuccess, 1, "www.zone.test.", 7},
		"an alias turned":   {func(m *dns.Msg) { m.Insert([]dns.RR{rr(t, "old.zone.test. 60 IN CNAME new.zone.test.")}) }, dns.RcodeSuccess, 1, "new.zone.test.", 8},
		"an alias in a way": {func(m *dns.Msg) { m.Insert([]dns.RR{rr(t, "www.zone.test. 60 IN CNAME new.zone.test.")}) }, dns.RcodeSuccess, 1, "www.zone.test.", 7},
		"beside an alias":   {func(m *dns.Msg) { m.Insert([]dns.RR{rr(t, "old.zone.test. 60 IN A 192.0.2.1")}) }, dns.RcodeSuccess, 1, "www.zone.test.", 7},
		"as it is":          {func(m *dns.Msg) { m.Used([]dns.RR{rr(t, www)}); m.RemoveRRset([]dns.RR{rr(t, www)}) }, dns.RcodeSuccess, 0, "www.zone.test.", 8},
		"not as it is": {func(m *dns.Msg) {
			m.Used([]dns.RR{rr(t, "www.zone.test. 60 IN A 192.0.2.9")})
			m.RemoveRRset([]dns.RR{rr(t, www)})
		}, dns.RcodeNXRrset, 1, "www.zone.test.", 7},
		"in part": {func(m *dns.Msg) {
			m.Used([]dns.RR{rr(t, www), rr(t, "www.zone.test. 60 IN A 192.0.2.9")})
			m.RemoveRRset([]dns.RR{rr(t, www)})
		}, dns.RcodeNXRrset, 1, "www.zone.test.", 7},
		"a set that is not": {func(m *dns.Msg) {
			m.RRsetUsed([]dns.RR{rr(t, "www.zone.test. 60 IN TXT x")})
			m.RemoveRRset([]dns.RR{rr(t, www)})
		}, dns.RcodeNXRrset, 1, "www.zone.test.", 7},
		"a set that is": {func(m *dns.Msg) { m.RRsetNotUsed([]dns.RR{rr(t, www)}); m.RemoveRRset([]dns.RR{rr(t, www)}) }, dns.RcodeYXRrset, 1, "www.zone.test.", 7},
		"a name that is not": {func(m *dns.Msg) {
			m.NameUsed([]dns.RR{rr(t, "no.zone.test. 60 IN A 192.0.2.1")})
			m.RemoveRRset([]dns.RR{rr(t, www)})
		}, dns.RcodeNameError, 1, "www.zone.test.", 7},
		"a name that is": {func(m *dns.Msg) { m.NameNotUsed([]dns.RR{rr(t, www)}); m.RemoveRRset([]dns.RR{rr(t, www)}) }, dns.RcodeYXDomain, 1, "www.zone.test.", 7},
		"outside, and nothing else either": {func(m *dns.Msg) {
			m.RemoveRRset([]dns.RR{rr(t, www)})
			m.Insert([]dns.RR{rr(t, "www.other.test. 60 IN A 192.0.2.1")})
		}, dns.RcodeNotZone, 1, "www.zone.test.", 7},
		"another zone": {func(m *dns.Msg) { m.SetUpdate("other.test.") }, dns.RcodeNotAuth, 1, "www.zone.test.", 7},
	} {
		told := 0
		s := primary.New(primary.Config{Zone: "zone.test.", Serial: 7, Applied: func(*dns.Msg) { told++ }}, rr(t, www), rr(t, old))
		packet, err := message(tt.change).Pack()
		if err != nil {
			t.Fatal(err)
		}
		answer, err := s.Serve(packet)
		if err != nil {
			t.Fatal(err)
		}
		reply := new(dns.Msg)
		if err := reply.Unpack(answer); err != nil {
			t.Fatal(err)
		}
		target := s.Set("old.zone.test.", dns.TypeCNAME)[0].(*dns.CNAME).Target
		if n := len(s.Set("www.zone.test.", dns.TypeA)); reply.Rcode != tt.rcode || n != tt.www || target != tt.old || s.Serial() != tt.serial || told != int(tt.serial-7) || s.Updates() != told {
			t.Errorf("%s: %s, %d addresses, alias to %s, serial %d, %d updates; want %s, %d, %s, %d", name,
				dns.RcodeToString[reply.Rcode], n, target, s.Serial(), told, dns.RcodeToString[tt.rcode], tt.www, tt.old, tt.serial)
		}
	}
}

func TestQuestions(t *testing.T) {
	s := primary.New(primary.Config{Zone: "zone.test.", Serial: 7}, rr(t, "www.deep.zone.test. 60 IN A 192.0.2.1"), rr(t, "old.zone.test. 60 IN CNAME www.deep.zone.test."))
	for _, tt := range []struct {
		name    string
		rtype   uint16
		rcode   int
		answers int
	}{
		{"WWW.deep.zone.test.", dns.TypeA, dns.RcodeSuccess, 1},
		{"www.deep.zone.test.", dns.TypeAAAA, dns.RcodeSuccess, 0},
		{"old.zone.test.", dns.TypeA, dns.RcodeSuccess, 2},
		{"old.zone.test.", dns.TypeCNAME, dns.RcodeSuccess, 1},
		{"deep.zone.test.", dns.TypeA, dns.RcodeSuccess, 0},
		{"no.zone.test.", dns.TypeA, dns.RcodeNameError, 0},
		{"zone.test.", dns.TypeSOA, dns.RcodeSuccess, 1},
		{"zone.test.", dns.TypeAXFR, dns.RcodeSuccess, 4},
		{"other.test.", dns.TypeA, dns.RcodeRefused, 0},
	} {
		m := new(dns.Msg)
		m.SetQuestion(tt.name, tt.rtype)
		if r := s.Respond(m, false); r.Rcode != tt.rcode || len(r.Answer) != tt.answers || r.Authoritative != (tt.rcode != dns.RcodeRefused) {
			t.Errorf("%s %s: %s with %d answers, want %s with %d", tt.name, dns.TypeToString[tt.rtype], dns.RcodeToString[r.Rcode], len(r.Answer), dns.RcodeToString[tt.rcode], tt.answers)
		}
	}
}

func TestSignatures(t *testing.T) {
	now := time.Unix(1e9, 0)
	for name, tt := range map[string]struct {
		key, secret string
		at          time.Time
		rcode       int
		fault       uint16
	}{
		"right":          {key, secret, now, dns.RcodeSuccess, dns.RcodeSuccess},
		"a little early": {key, secret, now.Add(-299 * time.Second), dns.RcodeSuccess, dns.RcodeSuccess},
		"too early":      {key, secret, now.Add(-301 * time.Second), dns.RcodeNotAuth, dns.RcodeBadTime},
		"too late":       {key, secret, now.Add(301 * time.Second), dns.RcodeNotAuth, dns.RcodeBadTime},
		"another secret": {key, "b3RoZXItb2YtMzItYnl0ZXMtZm9yLXRlc3RzLW9ubHkhISE=", now, dns.RcodeNotAuth, dns.RcodeBadSig},
		"another key":    {"stranger.", secret, now, dns.RcodeNotAuth, dns.RcodeBadKey},
	} {
		s := primary.New(primary.Config{Zone: "zone.test.", Keys: map[string]string{key: secret}, Now: func() time.Time { return now }})
		packet, mac, err := primary.Seal(message(func(m *dns.Msg) {
			m.Compress = true
			m.RRsetNotUsed([]dns.RR{rr(t, "www.zone.test. 60 IN TXT x")})
			m.RemoveRRset([]dns.RR{rr(t, "www.zone.test. 60 IN TXT x")})
			m.Insert([]dns.RR{rr(t, "www.zone.test. 60 IN A 192.0.2.1")})
		}), tt.key, tt.secret, tt.at)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := s.Serve(packet)
		if err != nil {
			t.Fatal(err)
		}
		reply, err := primary.Open(answer, tt.secret, mac)
		if err != nil || reply.Rcode != tt.rcode || reply.IsTsig() == nil || reply.IsTsig().Error != tt.fault || s.Updates() != len(s.Set("www.zone.test.", dns.TypeA)) || (s.Updates() == 1) != (tt.fault == 0) {
			t.Errorf("%s: %v after %d updates, %v", name, reply, s.Updates(), err)
		}
		if _, err := primary.Open(answer, tt.secret, "00"+mac[2:]); tt.fault == 0 && !errors.Is(err, primary.ErrSignature) {
			t.Errorf("%s: an answer to another question is accepted: %v", name, err)
		}
	}
	s := primary.New(primary.Config{Zone: "zone.test.", Keys: map[string]string{key: secret}})
	if r := s.Respond(message(func(m *dns.Msg) { m.Insert([]dns.RR{rr(t, "www.zone.test. 60 IN A 192.0.2.1")}) }), false); r.Rcode != dns.RcodeRefused || s.Updates() != 0 {
		t.Errorf("an update without a signature: %s", dns.RcodeToString[r.Rcode])
	}
}

func TestSecondaryFollowsSerialsThatGrow(t *testing.T) {
	s := primary.New(primary.Config{Zone: "zone.test.", Serial: 7})
	second := primary.New(primary.Config{Zone: "zone.test."})
	second.Refresh(s, false)
	before := s.Backup()
	s.Respond(message(func(m *dns.Msg) { m.Insert([]dns.RR{rr(t, "www.zone.test. 60 IN A 192.0.2.1")}) }), true)
	second.Refresh(s, false)
	s.Restore(before)
	if second.Refresh(s, false); second.Serial() != 8 || len(second.Set("www.zone.test.", dns.TypeA)) != 1 || s.Serial() != 7 || s.Set("www.zone.test.", dns.TypeA) != nil {
		t.Errorf("serial %d at the secondary, %d at the primary that was restored; want 8 and 7", second.Serial(), s.Serial())
	}
	if second.Refresh(s, true); second.Serial() != 7 {
		t.Errorf("serial %d at a secondary that was told to take the zone anyway, want 7", second.Serial())
	}
}
