package probes_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/probes"
)

func soaOf(q *dns.Msg, name string) *dns.Msg {
	m := new(dns.Msg).SetReply(q)
	m.Authoritative = true
	m.Answer = []dns.RR{&dns.SOA{
		Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeSOA, Class: dns.ClassINET, Ttl: 60},
		Ns:  "ns." + name, Mbox: "admin." + name, Serial: 18204,
	}}
	return m
}

func TestDNS(t *testing.T) {
	one := func(f func(q *dns.Msg) *dns.Msg) netip.AddrPort {
		return serveDNS(t, func(q *dns.Msg) []*dns.Msg { return []*dns.Msg{f(q)} })
	}
	rcode := func(code int) netip.AddrPort {
		return one(func(q *dns.Msg) *dns.Msg { return new(dns.Msg).SetRcode(q, code) })
	}
	closed := func() netip.AddrPort {
		pc, err := net.ListenPacket("udp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer pc.Close()
		return addrOf(pc.LocalAddr())
	}()
	for _, tc := range []struct {
		name, zone string
		addr       netip.AddrPort
		want       failover.Seen
		note       string
	}{
		{"authority", "assos.example", one(func(q *dns.Msg) *dns.Msg { return soaOf(q, "assos.example.") }), u, "serial 18204"},
		{"a cache", "assos.example", one(func(q *dns.Msg) *dns.Msg {
			m := soaOf(q, "assos.example.")
			m.Authoritative = false
			return m
		}), r, "without authority"},
		{"an empty answer", "assos.example", rcode(dns.RcodeSuccess), r, "without authority"},
		{"not its zone", "assos.example", rcode(dns.RcodeRefused), r, "REFUSED"},
		{"broken", "assos.example", rcode(dns.RcodeServerFailure), r, "SERVFAIL"},
		{"an anchor may refuse", "", rcode(dns.RcodeRefused), u, "REFUSED"},
		{"silent", "assos.example", serveDNS(t, func(*dns.Msg) []*dns.Msg { return nil }), d, "no answer"},
		{"nobody listens", "assos.example", closed, r, "connection refused"},
		{"answers to other questions are passed over", "assos.example", serveDNS(t, func(q *dns.Msg) []*dns.Msg {
			id, name, question := soaOf(q, "assos.example."), soaOf(q, "assos.example."), soaOf(q, "assos.example.")
			id.Id++
			name.Question = []dns.Question{{Name: "evil.example.", Qtype: dns.TypeSOA, Qclass: dns.ClassINET}}
			question.Response = false
			for _, m := range []*dns.Msg{id, name, question} {
				m.Answer[0].(*dns.SOA).Serial = 1
			}
			return []*dns.Msg{id, name, question, soaOf(q, "assos.example.")}
		}), u, "serial 18204"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			within := ample
			if tc.want == d {
				within = brief
			}
			check(t, ask(t, probes.Config{}, probes.Target{Kind: probes.KindDNS, Addr: tc.addr, Expect: tc.zone}, within), tc.want, tc.note)
		})
	}
	check(t, ask(t, probes.Config{}, probes.Target{Kind: probes.KindDNS, Addr: closed, Expect: "a..b"}, ample), x, "pack question")
}

// echo is a ping socket's other side: it answers what is written with what reply makes of it.
func echo(t *testing.T, reply func(packet []byte) [][]byte) func(from, to netip.Addr) (net.Conn, error) {
	return func(netip.Addr, netip.Addr) (net.Conn, error) {
		far, err := net.ListenPacket("udp4", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		ended := make(chan struct{})
		t.Cleanup(func() { far.Close(); <-ended })
		go func() {
			defer close(ended)
			buf := make([]byte, 512)
			n, from, err := far.ReadFrom(buf)
			if err != nil {
				return
			}
			for _, b := range reply(buf[:n]) {
				_, _ = far.WriteTo(b, from)
			}
		}()
		return probes.NetDial(t.Context(), "udp", far.LocalAddr().String(), netip.Addr{})
	}
}

func TestICMP(t *testing.T) {
	typed := func(kind byte) func([]byte) [][]byte {
		return func(p []byte) [][]byte {
			answer := append([]byte(nil), p...)
			answer[0] = kind
			return [][]byte{answer}
		}
	}
	late := func(p []byte) [][]byte {
		other := append([]byte(nil), p...)
		other[0], other[len(other)-1] = 0, other[len(other)-1]+1
		return [][]byte{other, p[:4], typed(0)(p)[0]}
	}
	fails := func(err error) func(from, to netip.Addr) (net.Conn, error) {
		return func(netip.Addr, netip.Addr) (net.Conn, error) { return nil, err }
	}
	four, six := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	for _, tc := range []struct {
		name string
		to   netip.Addr
		ping func(from, to netip.Addr) (net.Conn, error)
		want failover.Seen
		note string
	}{
		{"reply", four, echo(t, typed(0)), u, ""},
		{"reply over IPv6", six, echo(t, typed(129)), u, ""},
		{"a late reply and a short one before ours", four, echo(t, late), u, ""},
		{"our own request comes back", four, echo(t, typed(8)), d, "no answer"},
		{"silence", four, echo(t, func([]byte) [][]byte { return nil }), d, "no answer"},
		{"host unreachable", four, fails(syscall.EHOSTUNREACH), d, "host unreachable"},
		{"no such source", four, fails(syscall.EADDRNOTAVAIL), x, "not tried"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			within := ample
			if tc.note == "no answer" {
				within = brief
			}
			target := probes.Target{Kind: probes.KindICMP, Addr: netip.AddrPortFrom(tc.to, 0)}
			check(t, ask(t, probes.Config{Ping: tc.ping}, target, within), tc.want, tc.note)
		})
	}
}

// The kernel's own echo, where it lets us: ping_group_range is often closed.
func TestICMPOverTheLoopback(t *testing.T) {
	for _, addr := range []string{"127.0.0.1", "::ffff:127.0.0.1"} {
		to := netip.MustParseAddr(addr)
		target := probes.Target{Kind: probes.KindICMP, Addr: netip.AddrPortFrom(to, 0), From: netip.MustParseAddr("127.0.0.1")}
		got := ask(t, probes.Config{}, target, ample)
		conn, err := probes.PingDial(netip.Addr{}, netip.MustParseAddr("127.0.0.1"))
		if err != nil {
			check(t, got, x, "net.ipv4.ping_group_range")
			continue
		}
		conn.Close()
		check(t, got, u, "")
	}
	if _, err := probes.PingDial(netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("127.0.0.1")); err == nil {
		t.Error("bound a ping socket to an address that is not ours")
	}
}

// A read that fails at once, as UDP does after a port unreachable, must not be
// retried until the deadline.
func TestADeadDatagramSocketEndsTheProbe(t *testing.T) {
	boom := errors.New("boom")
	c := probes.Config{Dial: func(context.Context, string, string, netip.Addr) (net.Conn, error) {
		a, b := net.Pipe()
		b.Close()
		return broken{a, boom}, nil
	}}
	target := probes.Target{Kind: probes.KindDNS, Addr: netip.MustParseAddrPort("192.0.2.1:53")}
	check(t, ask(t, c, target, ample), x, "boom")
}

type broken struct {
	net.Conn
	err error
}

func (b broken) Write(p []byte) (int, error) { return len(p), nil }
func (b broken) SetDeadline(time.Time) error { return nil }
func (b broken) Read([]byte) (int, error)    { return 0, b.err }
