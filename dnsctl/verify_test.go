package dnsctl_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"github.com/raoull/worldwidewelsh/dnsctl"
)

// drop takes a name out of a zone.
func drop(name string) func(*dnsctl.Zone) {
	return func(z *dnsctl.Zone) {
		z.Records = slices.DeleteFunc(slices.Clone(z.Records), func(r dnsctl.Record) bool { return r.Name == name })
	}
}

func TestCheckServer(t *testing.T) {
	const server = "192.0.2.53:53"
	zone := func(change func(*dnsctl.Zone)) dnsctl.Zone {
		z := mainZone()
		change(&z)
		return z
	}
	names := []string{"www.failover.test.", "alias.failover.test.", "WWW.failover.test."}
	www := []dnsctl.Record{
		rec("www.failover.test.", "A", "192.0.2.1"),
		rec("www.failover.test.", "AAAA", "2001:db8::1"),
		rec("www.failover.test.", "TXT", `"v=1"`),
	}
	slow := www[0]
	slow.TTL = time.Hour
	for _, tc := range []struct {
		name     string
		has      dnsctl.Zone
		want     dnsctl.Zone
		expected dnsctl.Result
	}{
		{"equal", mainZone(), mainZone(), dnsctl.Result{Status: dnsctl.InSync, InSync: true, Serial: 18204}},
		{"newer serial", zone(func(z *dnsctl.Zone) { z.Serial = 18300 }), mainZone(), dnsctl.Result{Status: dnsctl.InSync, InSync: true, Serial: 18300}},
		{"older serial", zone(func(z *dnsctl.Zone) { z.Serial = 18203 }), mainZone(), dnsctl.Result{
			Status: dnsctl.Differs, Serial: 18203, Err: "serial 18203 is older than 18204",
		}},
		{"serial of its own", zone(func(z *dnsctl.Zone) { z.Serial = 3 }), zone(func(z *dnsctl.Zone) { z.Serial = 0 }), dnsctl.Result{
			Status: dnsctl.InSync, InSync: true, Serial: 3,
		}},
		{"name absent", zone(drop("www.failover.test.")), mainZone(), dnsctl.Result{
			Status: dnsctl.Differs, Serial: 18204, Missing: www, Absent: []string{"www.failover.test."},
		}},
		{"address left behind", mainZone(), zone(func(z *dnsctl.Zone) {
			drop("www.failover.test.")(z)
			z.Records = append(z.Records, www[0], www[2])
		}), dnsctl.Result{Status: dnsctl.Differs, Serial: 18204, Extra: www[1:2]}},
		{"other target", zone(func(z *dnsctl.Zone) {
			drop("alias.failover.test.")(z)
			z.Records = append(z.Records, rec("alias.failover.test.", "CNAME", "quai.site.failover.test."))
		}), mainZone(), dnsctl.Result{
			Status: dnsctl.Differs, Serial: 18204,
			Missing: []dnsctl.Record{rec("alias.failover.test.", "CNAME", "moulin.site.failover.test.")},
			Extra:   []dnsctl.Record{rec("alias.failover.test.", "CNAME", "quai.site.failover.test.")},
		}},
		{"other TTL", zone(func(z *dnsctl.Zone) {
			drop("www.failover.test.")(z)
			z.Records = append(z.Records, slow, www[1], www[2])
		}), mainZone(), dnsctl.Result{Status: dnsctl.InSync, InSync: true, Serial: 18204, WrongTTL: []dnsctl.Record{slow}}},
		{"zone not served", secondZone(), mainZone(), dnsctl.Result{
			Status: dnsctl.Refusing, Err: "answered REFUSED for failover.test. SOA",
		}},
	} {
		ex := dnsctl.InProcess{server: newServer(t, dnsctl.Config{}, tc.has)}
		tc.expected.Server = server
		got, err := dnsctl.CheckServer(t.Context(), ex, server, tc.want, names)
		if err != nil {
			t.Errorf("%s: %v", tc.name, err)
		}
		if d := cmp.Diff(tc.expected, got); d != "" {
			t.Errorf("%s: (-want +got)\n%s", tc.name, d)
		}
	}
}

func TestVerifierTellsFailuresApart(t *testing.T) {
	reply := func(change func(m *dns.Msg)) exchangeFunc {
		return func(_ context.Context, _ string, m *dns.Msg) (*dns.Msg, error) {
			r := new(dns.Msg).SetReply(m)
			r.Authoritative = true
			change(r)
			return r, nil
		}
	}
	fail := func(err error) exchangeFunc {
		return func(context.Context, string, *dns.Msg) (*dns.Msg, error) { return nil, fmt.Errorf("ask: %w", err) }
	}
	for _, tc := range []struct {
		name string
		ex   dnsctl.Exchanger
		want dnsctl.Status
	}{
		{"deadline", fail(context.DeadlineExceeded), dnsctl.Silent},
		{"socket deadline", fail(os.ErrDeadlineExceeded), dnsctl.Silent},
		{"resolver timeout", fail(&net.DNSError{IsTimeout: true}), dnsctl.Silent},
		{"refused connection", fail(&net.OpError{Op: "read", Err: os.NewSyscallError("read", syscall.ECONNREFUSED)}), dnsctl.Unreachable},
		{"no route", fail(os.NewSyscallError("connect", syscall.EHOSTUNREACH)), dnsctl.Unreachable},
		{"our own end", fail(context.Canceled), dnsctl.Unchecked},
		{"malformed", fail(dnsctl.ErrMalformed), dnsctl.Failing},
		{"REFUSED", reply(func(m *dns.Msg) { m.Rcode = dns.RcodeRefused }), dnsctl.Refusing},
		{"NOTAUTH", reply(func(m *dns.Msg) { m.Rcode = dns.RcodeNotAuth }), dnsctl.Refusing},
		{"SERVFAIL", reply(func(m *dns.Msg) { m.Rcode = dns.RcodeServerFailure }), dnsctl.Failing},
		{"NXDOMAIN for the zone", reply(func(m *dns.Msg) { m.Rcode = dns.RcodeNameError }), dnsctl.Failing},
		{"lame", reply(func(m *dns.Msg) { m.Authoritative = false }), dnsctl.Failing},
		{"cut short", reply(func(m *dns.Msg) { m.Truncated = true }), dnsctl.Failing},
		{"no SOA", reply(func(*dns.Msg) {}), dnsctl.Failing},
	} {
		got, err := dnsctl.CheckServer(t.Context(), tc.ex, "192.0.2.53:53", mainZone(), nil)
		if err != nil || got.Status != tc.want || got.InSync || got.Err == "" {
			t.Errorf("%s: %+v, %v; want %s with a reason", tc.name, got, err, tc.want)
		}
	}
}

func TestVerifierAsksOncePerStep(t *testing.T) {
	inner := dnsctl.InProcess{"a": newServer(t, dnsctl.Config{}, mainZone())}
	calls := 0
	ex := exchangeFunc(func(ctx context.Context, server string, m *dns.Msg) (*dns.Msg, error) {
		calls++
		return inner.Exchange(ctx, server, m)
	})
	v, err := dnsctl.NewVerifier(ex, "a", mainZone(), []string{"alias.failover.test.", "failover.test.", "nope.failover.test."})
	if err != nil {
		t.Fatal(err)
	}
	steps := 0
	for done := false; !done; {
		before := calls
		done = v.Step(t.Context())
		if steps++; calls != before+1 {
			t.Fatalf("step %d made %d exchanges", steps, calls-before)
		}
		if !done && v.Result().Status != dnsctl.Unchecked {
			t.Errorf("step %d: status %s before the end", steps, v.Result().Status)
		}
	}
	// SOA; CNAME; A, MX, NS and the undesired AAAA of the apex; A and AAAA of the name that shall not be.
	if steps != 8 || !v.Result().InSync {
		t.Errorf("%d steps, %+v; want 8 and in sync", steps, v.Result())
	}
	if !v.Step(t.Context()) || calls != 8 {
		t.Errorf("a step after the end asked again")
	}
	if _, err := dnsctl.NewVerifier(ex, "a", mainZone(), []string{"www.example."}); err == nil {
		t.Error("a name outside the zone gave no error")
	}
	if _, err := dnsctl.NewVerifier(ex, "a", dnsctl.Zone{}, nil); err == nil {
		t.Error("an empty zone gave no error")
	}
}

func TestInProcessIsTheServer(t *testing.T) {
	s, addr := start(t, dnsctl.Config{}, mainZone())
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for _, name := range []string{"www", "alias2", "nope", "x.wild", "a.sub"} {
		m := question(name+".failover.test.", dns.TypeA)
		m.SetEdns0(1232, false)
		near, err1 := dnsctl.InProcess{addr: s}.Exchange(ctx, addr, m)
		far, err2 := dialer().Exchange(ctx, addr, m)
		if err := errors.Join(err1, err2); err != nil {
			t.Fatal(err)
		}
		if near.String() != far.String() {
			t.Errorf("%s: in process\n%v\nover the network\n%v", name, near, far)
		}
	}
	if _, err := (dnsctl.InProcess{}).Exchange(ctx, addr, question("a.", dns.TypeA)); !errors.Is(err, dnsctl.ErrNoServer) {
		t.Errorf("nobody there: %v, want ErrNoServer", err)
	}
	cancel()
	if _, err := (dnsctl.InProcess{addr: s}).Exchange(ctx, addr, question("a.", dns.TypeA)); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v, want context.Canceled", err)
	}
}

// peer answers UDP questions with the packets that a function makes of them.
func peer(t *testing.T, answers func(q *dns.Msg) [][]byte) string {
	t.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 4096)
		for {
			n, from, err := pc.ReadFrom(buf)
			if err != nil {
				return
			}
			q := new(dns.Msg)
			if q.Unpack(buf[:n]) == nil {
				for _, a := range answers(q) {
					_, _ = pc.WriteTo(a, from)
				}
			}
		}
	}()
	t.Cleanup(func() { _ = pc.Close(); <-done })
	return pc.LocalAddr().String()
}

func TestNetExchangerBelievesOnlyItsAnswer(t *testing.T) {
	pack := func(m *dns.Msg) []byte {
		b, err := m.Pack()
		if err != nil {
			t.Error(err)
		}
		return b
	}
	forged := func(q *dns.Msg, change func(*dns.Msg)) []byte {
		r := new(dns.Msg).SetReply(q)
		r.Rcode = dns.RcodeNameError
		change(r)
		return pack(r)
	}
	addr := peer(t, func(q *dns.Msg) [][]byte {
		return [][]byte{
			forged(q, func(r *dns.Msg) { r.Id++ }),
			forged(q, func(r *dns.Msg) { r.Response = false }),
			forged(q, func(r *dns.Msg) { r.Question[0].Name = "other.test." }),
			forged(q, func(r *dns.Msg) { r.Question[0].Qtype = dns.TypeMX }),
			forged(q, func(r *dns.Msg) { r.Opcode = dns.OpcodeNotify }),
			{1, 2, 3},
			pack(new(dns.Msg).SetReply(q)),
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	q := question("www.Failover.test.", dns.TypeA)
	id := q.Id
	r, err := dialer().Exchange(ctx, addr, q)
	if err != nil || r.Rcode != dns.RcodeSuccess || r.Id != id || q.Id != id {
		t.Errorf("answer %v, %v; want the true one with the caller's ID", r, err)
	}
}

func TestNetExchangerEndsWithItsContext(t *testing.T) {
	silent := peer(t, func(*dns.Msg) [][]byte { return nil })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := dialer().Exchange(ctx, silent, question("a.", dns.TypeA)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("silence: %v, want deadline exceeded", err)
	}
	ctx, cancel = context.WithTimeout(t.Context(), time.Minute)
	asked := peer(t, func(*dns.Msg) [][]byte { cancel(); return nil })
	if _, err := dialer().Exchange(ctx, asked, question("a.", dns.TypeA)); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled in the middle: %v, want canceled", err)
	}
	if _, err := dialer().Exchange(t.Context(), silent, question("a.", dns.TypeA)); err == nil || !strings.Contains(err.Error(), "deadline") {
		t.Errorf("no deadline: %v, want a complaint", err)
	}
	broken := peer(t, func(q *dns.Msg) [][]byte { return [][]byte{{byte(q.Id >> 8), byte(q.Id), 0x80, 0, 0, 9}} })
	ctx, cancel = context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if _, err := dialer().Exchange(ctx, broken, question("a.", dns.TypeA)); !errors.Is(err, dnsctl.ErrMalformed) {
		t.Errorf("broken answer: %v, want ErrMalformed", err)
	}
}
