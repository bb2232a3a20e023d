package dnsctl_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/raoull/worldwidewelsh/dnsctl"
)

// secret is a key for tests only.
const secret = "c2VjcmV0LW9mLTMyLWJ5dGVzLWZvci10ZXN0cy1vbmx5ISE="

func bigZone(n int) dnsctl.Zone {
	z := dnsctl.Zone{Name: "big.test.", Serial: 100, SOA: soa(), Records: []dnsctl.Record{rec("big.test.", "NS", "ns1.failover.test.")}}
	for i := range n - 1 {
		z.Records = append(z.Records, rec(fmt.Sprintf("h%d.big.test.", i), "A", fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255)))
	}
	return z
}

// fetch transfers a zone and returns its records, the two SOAs included.
func fetch(m *dns.Msg, addr string, secrets map[string]string) (rrs []dns.RR, envelopes int, err error) {
	tr := &dns.Transfer{TsigSecret: secrets, DialTimeout: 5 * time.Second, ReadTimeout: 5 * time.Second}
	ch, err := tr.In(m, addr)
	if err != nil {
		return nil, 0, err
	}
	for e := range ch {
		if e.Error != nil {
			err = e.Error
		}
		rrs = append(rrs, e.RR...)
		envelopes++
	}
	return rrs, envelopes, err
}

func TestTransferOfTenThousandRecords(t *testing.T) {
	key := dnsctl.Key{Name: "transfer.test.", Secret: secret}
	z := bigZone(10_000)
	z.Records = append(z.Records, rec("txt.big.test.", "TXT", dnsctl.TXTData(strings.Repeat("wide", 4000))))
	want, err := z.Canonical()
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name    string
		cfg     dnsctl.Config
		sign    func(*dns.Msg)
		secrets map[string]string
	}{
		{"by address", dnsctl.Config{AllowTransfer: loopback()}, func(*dns.Msg) {}, nil},
		{"by key", dnsctl.Config{TransferKeys: []dnsctl.Key{key}, AllowTransfer: loopback()}, func(m *dns.Msg) {
			m.SetTsig(key.Name, dns.HmacSHA256, 300, time.Now().Unix())
		}, map[string]string{key.Name: secret}},
	} {
		s, addr := start(t, tc.cfg, z)
		s.SetTransfers(dnsctl.TransfersAllowed)
		for _, m := range []*dns.Msg{new(dns.Msg).SetAxfr("Big.test."), new(dns.Msg).SetIxfr("big.test.", 99, "a.", "b.")} {
			tc.sign(m)
			rrs, envelopes, err := fetch(m, addr, tc.secrets)
			if err != nil || envelopes < 100 {
				t.Fatalf("%s: %d records in %d envelopes, error %v", tc.name, len(rrs), envelopes, err)
			}
			got := dnsctl.Zone{Name: want.Name, Serial: want.Serial, SOA: want.SOA}
			for _, rr := range rrs[1 : len(rrs)-1] {
				r, err := dnsctl.FromRR(rr)
				if err != nil {
					t.Fatal(err)
				}
				got.Records = append(got.Records, r)
			}
			first, last := rrs[0], rrs[len(rrs)-1]
			if got.String() != want.String() || first.Header().Rrtype != dns.TypeSOA || last.String() != first.String() {
				t.Errorf("%s: transferred zone differs (%d of %d records)", tc.name, len(got.Records), len(want.Records))
			}
		}
		if got := s.Stats().Transfers; got != 2 {
			t.Errorf("%s: %d transfers counted, want 2", tc.name, got)
		}
	}
}

func TestTransferIsRefused(t *testing.T) {
	key := dnsctl.Key{Name: "transfer.test.", Secret: secret}
	other := "b3RoZXItb2YtMzItYnl0ZXMtZm9yLXRlc3RzLW9ubHkhISE="
	abroad := dnsctl.Config{AllowTransfer: loopback()[:0]}
	for _, tc := range []struct {
		name      string
		cfg       dnsctl.Config
		transfers dnsctl.Transfers
		zone      string
		sign      func(*dns.Msg)
		secrets   map[string]string
		rcode     int
		tsig      uint16
	}{
		{"nobody is permitted", abroad, dnsctl.TransfersAllowed, "failover.test.", nil, nil, dns.RcodeRefused, 0},
		{"without quorum", dnsctl.Config{AllowTransfer: loopback()}, dnsctl.TransfersRefused, "failover.test.", nil, nil, dns.RcodeRefused, 0},
		{"no such zone", dnsctl.Config{AllowTransfer: loopback()}, dnsctl.TransfersAllowed, "www.failover.test.", nil, nil, dns.RcodeNotAuth, 0},
		{"unsigned", dnsctl.Config{TransferKeys: []dnsctl.Key{key}}, dnsctl.TransfersAllowed, "failover.test.", nil, nil, dns.RcodeRefused, 0},
		{"wrong secret", dnsctl.Config{TransferKeys: []dnsctl.Key{key}}, dnsctl.TransfersAllowed, "failover.test.", func(m *dns.Msg) {
			m.SetTsig("transfer.test.", dns.HmacSHA256, 300, time.Now().Unix())
		}, map[string]string{"transfer.test.": other}, dns.RcodeNotAuth, dns.RcodeBadSig},
		{"unknown key", dnsctl.Config{TransferKeys: []dnsctl.Key{key}}, dnsctl.TransfersAllowed, "failover.test.", func(m *dns.Msg) {
			m.SetTsig("other.test.", dns.HmacSHA256, 300, time.Now().Unix())
		}, map[string]string{"other.test.": secret}, dns.RcodeNotAuth, dns.RcodeBadKey},
		{"other algorithm", dnsctl.Config{TransferKeys: []dnsctl.Key{key}}, dnsctl.TransfersAllowed, "failover.test.", func(m *dns.Msg) {
			m.SetTsig("transfer.test.", dns.HmacSHA512, 300, time.Now().Unix())
		}, map[string]string{"transfer.test.": secret}, dns.RcodeNotAuth, dns.RcodeBadKey},
		{"clock off", dnsctl.Config{TransferKeys: []dnsctl.Key{key}}, dnsctl.TransfersAllowed, "failover.test.", func(m *dns.Msg) {
			m.SetTsig("transfer.test.", dns.HmacSHA256, 300, time.Now().Unix()-400)
		}, map[string]string{"transfer.test.": secret}, dns.RcodeNotAuth, dns.RcodeBadTime},
		{"signed without any key here", dnsctl.Config{AllowTransfer: loopback()}, dnsctl.TransfersAllowed, "failover.test.", func(m *dns.Msg) {
			m.SetTsig("transfer.test.", dns.HmacSHA256, 300, time.Now().Unix())
		}, map[string]string{"transfer.test.": secret}, dns.RcodeNotAuth, dns.RcodeBadKey},
	} {
		s, addr := start(t, tc.cfg, mainZone())
		s.SetTransfers(tc.transfers)
		m := new(dns.Msg).SetAxfr(tc.zone)
		if tc.sign != nil {
			tc.sign(m)
		}
		conn, err := dns.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		conn.TsigSecret = tc.secrets
		_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
		if err := conn.WriteMsg(m); err != nil {
			t.Fatal(err)
		}
		raw, err := conn.ReadMsgHeader(nil)
		if err != nil {
			t.Fatalf("%s: %v", tc.name, err)
		}
		_ = conn.Close()
		r := new(dns.Msg)
		if err := r.Unpack(raw); err != nil {
			t.Fatal(err)
		}
		if r.Rcode != tc.rcode || len(r.Answer) != 0 {
			t.Errorf("%s: answered %s with %d records, want %s", tc.name, dns.RcodeToString[r.Rcode], len(r.Answer), dns.RcodeToString[tc.rcode])
		}
		sig := r.IsTsig()
		if (tc.tsig != 0) != (sig != nil) || sig != nil && sig.Error != tc.tsig {
			t.Errorf("%s: TSIG %v, want error %d", tc.name, sig, tc.tsig)
		}
		if sig != nil && (sig.MACSize > 0) != (tc.tsig == dns.RcodeBadTime) {
			t.Errorf("%s: MAC of %d bytes with error %d", tc.name, sig.MACSize, tc.tsig)
		}
	}
}

func TestIncrementalTransfer(t *testing.T) {
	s, addr := start(t, dnsctl.Config{AllowTransfer: loopback()}, mainZone())
	s.SetTransfers(dnsctl.TransfersAllowed)
	for _, tc := range []struct {
		name, network string
		serial        uint32
		want          int
	}{
		{"up to date", "tcp", 18204, 1},
		{"newer than ours", "tcp", 18205, 1},
		{"newer over the wrap", "tcp", 18203 + 1<<31, 1},
		{"older over UDP is told to use TCP", "udp", 18203, 1},
	} {
		r := ask(t, tc.network, addr, new(dns.Msg).SetIxfr("failover.test.", tc.serial, "ns1.failover.test.", "h.failover.test."))
		if len(r.Answer) != tc.want || r.Answer[0].(*dns.SOA).Serial != 18204 || !r.Authoritative {
			t.Errorf("%s: %v, want the SOA alone", tc.name, r)
		}
	}
	if r := ask(t, "udp", addr, new(dns.Msg).SetAxfr("failover.test.")); r.Rcode != dns.RcodeRefused {
		t.Errorf("AXFR over UDP answered %s, want REFUSED", dns.RcodeToString[r.Rcode])
	}
}

func TestLosingTheQuorumCutsATransfer(t *testing.T) {
	s := newServer(t, dnsctl.Config{AllowTransfer: loopback()}, bigZone(1000))
	s.SetTransfers(dnsctl.TransfersAllowed)
	sent := 0
	w := &fakeWriter{remote: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}, write: func(*dns.Msg) error {
		if sent++; sent == 3 {
			s.SetTransfers(dnsctl.TransfersRefused)
		}
		return nil
	}}
	s.ServeDNS(w, new(dns.Msg).SetAxfr("big.test."))
	if sent != 3 || !w.closed || s.Stats().Transfers != 0 {
		t.Errorf("%d envelopes, closed %t, %d transfers; want 3, true, 0", sent, w.closed, s.Stats().Transfers)
	}
}

func TestBrokenClientEndsATransfer(t *testing.T) {
	s := newServer(t, dnsctl.Config{AllowTransfer: loopback(), MaxTransfers: 1}, bigZone(1000))
	s.SetTransfers(dnsctl.TransfersAllowed)
	w := &fakeWriter{remote: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}, write: func(*dns.Msg) error {
		inner := 0
		s.ServeDNS(&fakeWriter{remote: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}, write: func(m *dns.Msg) error {
			if inner++; m.Rcode != dns.RcodeServerFailure {
				t.Errorf("a second transfer was answered %s, want SERVFAIL", dns.RcodeToString[m.Rcode])
			}
			return nil
		}}, new(dns.Msg).SetAxfr("big.test."))
		if inner != 1 {
			t.Errorf("%d answers to a second transfer, want 1", inner)
		}
		return errors.New("broken pipe")
	}}
	s.ServeDNS(w, new(dns.Msg).SetAxfr("big.test."))
	if !w.closed {
		t.Error("the connection stays open after a broken transfer")
	}
}

func TestNotify(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	var got *dns.Msg
	answer := func(rcode int) exchangeFunc {
		return func(_ context.Context, _ string, m *dns.Msg) (*dns.Msg, error) {
			got = m
			return new(dns.Msg).SetRcode(m, rcode), nil
		}
	}
	if err := dnsctl.Notify(ctx, answer(dns.RcodeSuccess), "192.0.2.53:53", mainZone()); err != nil {
		t.Errorf("Notify = %v", err)
	}
	soa, ok := got.Answer[0].(*dns.SOA)
	if !ok || got.Opcode != dns.OpcodeNotify || !got.Authoritative || soa.Serial != 18204 || got.Question[0].Qtype != dns.TypeSOA {
		t.Errorf("sent %v, want NOTIFY with AA and the SOA", got)
	}
	if err := dnsctl.Notify(ctx, answer(dns.RcodeRefused), "192.0.2.53:53", mainZone()); err == nil || !strings.Contains(err.Error(), "REFUSED") {
		t.Errorf("Notify = %v, want REFUSED", err)
	}
	// To a real server that is no secondary.
	_, addr := start(t, dnsctl.Config{}, mainZone())
	if err := dnsctl.Notify(ctx, dialer(), addr, mainZone()); err == nil || !strings.Contains(err.Error(), "REFUSED") {
		t.Errorf("Notify to a primary = %v, want REFUSED", err)
	}
	var delays []time.Duration
	for i := range 8 {
		delays = append(delays, dnsctl.NotifyDelay(i))
	}
	if want := "[1s 1s 2s 4s 8s 15s 15s 15s]"; fmt.Sprint(delays) != want {
		t.Errorf("delays %v, want %s", delays, want)
	}
}

func TestTransferredZoneSatisfiesNamedCheckzone(t *testing.T) {
	tool, err := exec.LookPath("named-checkzone")
	if err != nil {
		absent(t, errors.New("named-checkzone (package bind9-utils) is not installed"))
	}
	s, addr := start(t, dnsctl.Config{AllowTransfer: loopback()}, mainZone())
	s.SetTransfers(dnsctl.TransfersAllowed)
	rrs, _, err := fetch(new(dns.Msg).SetAxfr("failover.test."), addr, nil)
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for _, rr := range rrs[:len(rrs)-1] {
		fmt.Fprintln(&text, rr)
	}
	for name, content := range map[string]string{"transferred": text.String(), "printed": mainZone().String()} {
		file := filepath.Join(t.TempDir(), "zone")
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(tool, "-k", "fail", "-n", "ignore", "-i", "none", "failover.test", file).CombinedOutput()
		if err != nil || !strings.Contains(string(out), "loaded serial 18204") {
			t.Errorf("%s zone: %v\n%s", name, err, out)
		}
	}
}

func TestKdigTransfersAndAsks(t *testing.T) {
	tool, err := exec.LookPath("kdig")
	if err != nil {
		absent(t, errors.New("kdig (package knot-dnsutils) is not installed"))
	}
	key := dnsctl.Key{Name: "transfer.test.", Secret: secret}
	s, addr := start(t, dnsctl.Config{TransferKeys: []dnsctl.Key{key}}, bigZone(10_000))
	s.SetTransfers(dnsctl.TransfersAllowed)
	host, port, _ := net.SplitHostPort(addr)
	out, err := exec.Command(tool, "@"+host, "-p", port, "-y", "hmac-sha256:transfer.test:"+secret, "big.test", "AXFR").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "(101 messages, 10002 records)") {
		t.Errorf("kdig AXFR: %v\n%.2000s", err, out[max(0, len(out)-2000):])
	}
	out, err = exec.Command(tool, "@"+host, "-p", port, "+edns", "h7.big.test", "A").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "10.0.0.7") || !strings.Contains(string(out), "Flags: qr aa rd;") {
		t.Errorf("kdig A: %v\n%s", err, out)
	}
}

// exchangeFunc is an Exchanger made of a function.
type exchangeFunc func(ctx context.Context, server string, m *dns.Msg) (*dns.Msg, error)

func (f exchangeFunc) Exchange(ctx context.Context, server string, m *dns.Msg) (*dns.Msg, error) {
	return f(ctx, server, m)
}

// Every algorithm that a key may have signs and verifies, and no key does with another than its own.
func TestAlgorithmsOfKeys(t *testing.T) {
	algorithms := []string{"", "hmac-sha256", "hmac-sha384", "hmac-sha512"}
	for _, at := range algorithms {
		_, addr := start(t, dnsctl.Config{TransferKeys: []dnsctl.Key{{Name: "k.", Algorithm: at, Secret: secret}}}, mainZone())
		for _, ours := range algorithms {
			ex, err := dnsctl.NewSigningExchanger(dialer(), dnsctl.Key{Name: "k.", Algorithm: ours, Secret: secret}, time.Now)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			r, err := ex.Exchange(ctx, addr, question("www.failover.test.", dns.TypeA))
			cancel()
			same := at == ours || at+ours == "hmac-sha256"
			sig, isSig := errors.AsType[*dnsctl.SignatureError](err)
			if same && (err != nil || len(r.Answer) != 1) || !same && (!isSig || sig.Code != dns.RcodeBadKey) {
				t.Errorf("server has %q, we sign with %q: %v", at, ours, err)
			}
		}
	}
	if _, err := dnsctl.NewSigningExchanger(dialer(), dnsctl.Key{Name: "k.", Algorithm: "hmac-md5", Secret: secret}, time.Now); err == nil {
		t.Error("hmac-md5 was accepted")
	}
}
