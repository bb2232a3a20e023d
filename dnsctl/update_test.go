package dnsctl_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/raoull/worldwidewelsh/dnsctl"
	standin "github.com/raoull/worldwidewelsh/internal/lab/primary"
)

var goodKey = dnsctl.Key{Name: "ww-key.", Secret: secret}

// move points a name of mainZone at an address that tells the writer.
func move(n int) []dnsctl.Change {
	return []dnsctl.Change{
		{Name: "www.failover.test.", Type: "A", After: []dnsctl.Record{rec("www.failover.test.", "A", fmt.Sprintf("198.51.100.%d", n))}},
		{Name: "www.failover.test.", Type: "AAAA"},
	}
}

// update runs an Updater to its end, and waits where it wants to.
func update(ctx context.Context, ex dnsctl.Exchanger, server string, token dnsctl.Token, changes []dnsctl.Change) (*dnsctl.Updater, error) {
	u, err := dnsctl.NewUpdater(ex, server, "failover.test.", token, changes)
	if err != nil {
		return nil, err
	}
	for !u.Step(ctx, time.Now()) {
		pause(ctx, time.Until(u.Until()))
	}
	return u, u.Err()
}

// pause lets time pass for a real server.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// hurry runs an Updater on a clock that jumps to when it wants to go on.
func hurry(ctx context.Context, u *dnsctl.Updater, now *time.Time) error {
	for !u.Step(ctx, *now) {
		if u.Until().After(*now) {
			*now = u.Until()
		}
	}
	return u.Err()
}

// updateInMemory is update without its waits.
func updateInMemory(t *testing.T, ex dnsctl.Exchanger, token dnsctl.Token, changes []dnsctl.Change) error {
	t.Helper()
	u, err := dnsctl.NewUpdater(ex, "192.0.2.53:53", "failover.test.", token, changes)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Unix(1e9, 0)
	return hurry(t.Context(), u, &now)
}

func TestUpdateOfRealPrimaries(t *testing.T) {
	for _, p := range primaries() {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			addr := p.run(t)
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			ex := signer(t, goodKey, 0)
			for _, step := range []struct {
				name  string
				token dnsctl.Token
				n     int
				want  error
				holds int
			}{
				{"first", dnsctl.Token{Generation: 2, Index: 5}, 1, nil, 1},
				{"newer", dnsctl.Token{Generation: 2, Index: 9}, 2, nil, 2},
				{"same again", dnsctl.Token{Generation: 2, Index: 9}, 2, nil, 2},
				{"stale index", dnsctl.Token{Generation: 2, Index: 8}, 3, dnsctl.ErrFenced, 2},
				{"stale generation", dnsctl.Token{Generation: 1, Index: 900}, 3, dnsctl.ErrFenced, 2},
				{"next generation", dnsctl.Token{Generation: 3, Index: 1}, 4, nil, 4},
			} {
				u, err := update(ctx, ex, addr, step.token, move(step.n))
				if !errors.Is(err, step.want) {
					t.Fatalf("%s: error %v, want %v", step.name, err, step.want)
				}
				if err == nil && !dnsctl.SerialLess(18204, u.Serial()) {
					t.Errorf("%s: serial %d, want one after 18204", step.name, u.Serial())
				}
				want := dnsctl.Zone{Name: "failover.test.", SOA: soa(), Records: []dnsctl.Record{
					rec("failover.test.", "NS", "ns1.failover.test."),
					rec("www.failover.test.", "A", fmt.Sprintf("198.51.100.%d", step.holds)),
					rec("www.failover.test.", "TXT", `"v=1"`),
				}}
				got, err := dnsctl.CheckServer(ctx, dialer(), addr, want, []string{"www.failover.test."})
				if err != nil || !got.InSync || len(got.WrongTTL) != 0 {
					t.Errorf("%s: server has %+v, %v", step.name, got, err)
				}
			}
			checkBadSignatures(ctx, t, p.name, addr)
			for i, key := range otherAlgorithms() {
				if _, err := update(ctx, signer(t, key, 0), addr, dnsctl.Token{Generation: 4, Index: uint64(i)}, move(5+i)); err != nil {
					t.Errorf("%s: %v", key.Algorithm, err)
				}
			}
		})
	}
}

func checkBadSignatures(ctx context.Context, t *testing.T, name, addr string) {
	t.Helper()
	other := dnsctl.Key{Name: "ww-key.", Secret: "b3RoZXItb2YtMzItYnl0ZXMtZm9yLXRlc3RzLW9ubHkhISE="}
	for _, tc := range []struct {
		name string
		ex   dnsctl.Exchanger
		code uint16
	}{
		{"wrong secret", signer(t, other, 0), dns.RcodeBadSig},
		{"unknown key", signer(t, dnsctl.Key{Name: "stranger.", Secret: secret}, 0), dns.RcodeBadKey},
		{"wrong algorithm", signer(t, dnsctl.Key{Name: "ww-key.", Algorithm: "hmac-sha512", Secret: secret}, 0), dns.RcodeBadKey},
		{"clock ahead", signer(t, goodKey, 400*time.Second), dns.RcodeBadTime},
		{"clock behind", signer(t, goodKey, -400*time.Second), dns.RcodeBadTime},
	} {
		_, err := update(ctx, tc.ex, addr, dnsctl.Token{Generation: 9}, move(9))
		if name == "powerdns" { // no detail there
			if !errors.Is(err, dnsctl.ErrUnsigned) {
				t.Errorf("%s: %v, want ErrUnsigned", tc.name, err)
			}
			continue
		}
		sig, ok := errors.AsType[*dnsctl.SignatureError](err)
		if !ok || sig.Code != tc.code {
			t.Errorf("%s: %v, want TSIG error %d", tc.name, err, tc.code)
			continue
		}
		if off := sig.Skew.Abs(); tc.code == dns.RcodeBadTime && (off < 395*time.Second || off > 405*time.Second) {
			t.Errorf("%s: skew %s, want about 400 s", tc.name, sig.Skew)
		}
	}
}

func TestTwentyRacingWritersHaveOneWinner(t *testing.T) {
	for _, p := range slices.Concat(primaries(), signingPrimaries()) {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			addr := p.run(t)
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			// All read the absent fence before any writes: the compare-and-swap alone decides.
			var read, done sync.WaitGroup
			read.Add(20)
			var mu sync.Mutex
			accepted := 0
			for i := range 20 {
				inner := signer(t, goodKey, 0)
				first := true
				ex := exchangeFunc(func(ctx context.Context, server string, m *dns.Msg) (*dns.Msg, error) {
					if m.Opcode == dns.OpcodeUpdate && first {
						first = false
						read.Done()
						read.Wait()
						r, err := inner.Exchange(ctx, server, m)
						if err == nil && r.Rcode == dns.RcodeSuccess {
							mu.Lock()
							accepted++
							mu.Unlock()
						}
						return r, err
					}
					return inner.Exchange(ctx, server, m)
				})
				done.Go(func() {
					// Newer writers overwrite older ones later, and older ones find themselves fenced; both are right.
					_, err := update(ctx, ex, addr, dnsctl.Token{Generation: 1, Index: uint64(i + 1)}, move(i+1))
					if err != nil && (i == 19 || !errors.Is(err, dnsctl.ErrFenced)) {
						t.Errorf("writer %d: %v", i+1, err)
					}
				})
			}
			done.Wait()
			if accepted != 1 {
				t.Errorf("%d of 20 writers won the first round, want 1", accepted)
			}
			if _, err := update(ctx, signer(t, goodKey, 0), addr, dnsctl.Token{Generation: 1, Index: 20}, move(20)); err != nil {
				t.Errorf("the newest decision does not stand: %v", err)
			}
		})
	}
}

// fakePrimary is the stand-in for a primary, with lost messages and odd answers.
type fakePrimary struct {
	stands string // the fence at the beginning; "": none
	lose   func(m *dns.Msg) (before, after bool)
	rcode  int  // of every update; 0: as it should be
	ignore bool // everything of an update but its fence
	zone   *standin.Server
}

// server is the zone behind it: there when it is first asked for.
func (f *fakePrimary) server() *standin.Server {
	if f.zone == nil {
		f.zone = standin.New(standin.Config{Zone: "failover.test.", Serial: 18204})
		if f.stands != "" {
			text := dns.TXT{Hdr: dns.RR_Header{Name: "_ww-fence.failover.test.", Rrtype: dns.TypeTXT, Class: dns.ClassINET}, Txt: []string{f.stands}}
			f.zone = standin.New(standin.Config{Zone: "failover.test.", Serial: 18204}, &text)
		}
	}
	return f.zone
}

// fence is the text of the one that stands there.
func (f *fakePrimary) fence() string {
	for _, rr := range f.server().Set("_ww-fence.failover.test.", dns.TypeTXT) {
		return rr.(*dns.TXT).Txt[0]
	}
	return ""
}

// alias returns the CNAMEs at a name.
func (f *fakePrimary) alias(name string) []dns.RR { return f.server().Set(name, dns.TypeCNAME) }

func (f *fakePrimary) applied() int { return f.server().Updates() }

func (f *fakePrimary) Exchange(_ context.Context, _ string, m *dns.Msg) (*dns.Msg, error) {
	before, after := false, false
	if f.lose != nil {
		before, after = f.lose(m)
	}
	if before {
		return nil, context.DeadlineExceeded
	}
	r := f.handle(m)
	if after {
		return nil, context.DeadlineExceeded
	}
	return r, nil
}

func (f *fakePrimary) handle(m *dns.Msg) *dns.Msg {
	s := f.server()
	s.Fail(f.rcode, dns.RcodeSuccess)
	if m.Opcode == dns.OpcodeUpdate && f.ignore {
		m = m.Copy()
		m.Ns = slices.DeleteFunc(m.Ns, func(rr dns.RR) bool { return !strings.HasPrefix(rr.Header().Name, "_ww-fence.") })
	}
	return s.Respond(m, true)
}

func TestUpdateWhenMessagesAreLost(t *testing.T) {
	once := func(opcode int, before, after bool) func(*dns.Msg) (bool, bool) {
		done := false
		return func(m *dns.Msg) (bool, bool) {
			if m.Opcode != opcode || done {
				return false, false
			}
			done = true
			return before, after
		}
	}
	for _, tc := range []struct {
		name    string
		server  fakePrimary
		want    error
		text    string
		applied int
	}{
		{"nothing lost", fakePrimary{}, nil, "", 1},
		{"update lost on the way", fakePrimary{lose: once(dns.OpcodeUpdate, true, false)}, nil, "", 1},
		{"answer lost: not repeated", fakePrimary{lose: once(dns.OpcodeUpdate, false, true)}, nil, "", 1},
		{"silence after the update", fakePrimary{lose: func() func(*dns.Msg) (bool, bool) {
			silent := false
			return func(m *dns.Msg) (bool, bool) {
				was := silent
				silent = silent || m.Opcode == dns.OpcodeUpdate
				return was, silent
			}
		}()}, dnsctl.ErrUncertain, "", 1},
		{"silence from the start", fakePrimary{lose: func(*dns.Msg) (bool, bool) { return true, false }}, context.DeadlineExceeded, "", 0},
		{"every update lost", fakePrimary{lose: func(m *dns.Msg) (bool, bool) { return m.Opcode == dns.OpcodeUpdate, false }}, nil, "gave up", 0},
		{"newer fence", fakePrimary{stands: "ww1 gen=1 idx=8"}, dnsctl.ErrFenced, "", 0},
		{"older fence", fakePrimary{stands: "ww1 gen=1 idx=6"}, nil, "", 1},
		{"own fence, records changed by hand", fakePrimary{stands: "ww1 gen=1 idx=7"}, nil, "", 1},
		{"somebody else's record", fakePrimary{stands: "hello"}, nil, "not understood", 0},
		{"REFUSED", fakePrimary{rcode: dns.RcodeRefused}, dnsctl.ErrRefused, "", 0},
		{"NOTAUTH", fakePrimary{rcode: dns.RcodeNotAuth}, dnsctl.ErrRefused, "", 0},
		{"SERVFAIL", fakePrimary{rcode: dns.RcodeServerFailure}, nil, "SERVFAIL", 0},
		{"lost race without end", fakePrimary{rcode: dns.RcodeNXRrset}, nil, "gave up", 0},
		{"accepted and ignored, twice", fakePrimary{ignore: true}, dnsctl.ErrIneffective, "", 2},
	} {
		f := tc.server
		err := updateInMemory(t, &f, dnsctl.Token{Generation: 1, Index: 7}, move(1))
		ok := err == nil
		if tc.want != nil {
			ok = errors.Is(err, tc.want)
		} else if tc.text != "" {
			ok = err != nil && strings.Contains(err.Error(), tc.text)
		}
		if !ok || f.applied() != tc.applied {
			t.Errorf("%s: error %v, applied %d times; want %v %q, %d", tc.name, err, f.applied(), tc.want, tc.text, tc.applied)
		}
	}
}

func TestUpdaterChecksItsChanges(t *testing.T) {
	for _, c := range []dnsctl.Change{
		{Name: "www.example.", Type: "A"},
		{Name: "www.failover.test.", Type: "NONSENSE"},
		{Name: "WWW.failover.test.", Type: "A"},
		{Name: "www.failover.test.", Type: "A", After: []dnsctl.Record{rec("ns1.failover.test.", "A", "192.0.2.1")}},
		{Name: "www.failover.test.", Type: "A", After: []dnsctl.Record{rec("www.failover.test.", "A", "192.0.2")}},
	} {
		if _, err := dnsctl.NewUpdater(&fakePrimary{}, "a", "failover.test.", dnsctl.Token{}, []dnsctl.Change{c}); err == nil {
			t.Errorf("change %v was accepted", c)
		}
	}
}

// A server that answers an update without a signature that holds has not
// applied it, unless the fence says so: it is asked, and not written to again.
func TestUpdateThatIsDeniedWithoutASignature(t *testing.T) {
	for _, tc := range []struct {
		name    string
		err     error
		applied bool
		want    error
	}{
		{"key may not write", &dnsctl.SignatureError{Code: dns.RcodeBadKey}, false, dnsctl.ErrRefused},
		{"unsigned refusal", dnsctl.ErrUnsigned, false, dnsctl.ErrRefused},
		{"unsigned, and applied all the same", dnsctl.ErrUnsigned, true, nil},
	} {
		f := &fakePrimary{}
		updates := 0
		ex := exchangeFunc(func(ctx context.Context, server string, m *dns.Msg) (*dns.Msg, error) {
			if m.Opcode != dns.OpcodeUpdate {
				return f.Exchange(ctx, server, m)
			}
			updates++
			if tc.applied {
				f.handle(m)
			}
			return nil, fmt.Errorf("ask %s: %w", server, tc.err)
		})
		err := updateInMemory(t, ex, dnsctl.Token{Generation: 1, Index: 7}, move(1))
		if !errors.Is(err, tc.want) || updates != 1 {
			t.Errorf("%s: error %v after %d updates, want %v after one", tc.name, err, updates, tc.want)
		}
	}
}
