package dnsctl_test

import (
	"bytes"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/raoull/worldwidewelsh/dnsctl"
)

func TestTheLANIsToldTheLocalAddress(t *testing.T) {
	srv, addr := start(t, dnsctl.Config{AllowTransfer: loopback()}, mainZone(), secondZone())
	srv.SetTransfers(dnsctl.TransfersAllowed)
	local := mainZone()
	for i, r := range local.Records {
		if r.Name == "moulin.site.failover.test." {
			local.Records[i].Data = "10.10.10.5"
		}
	}
	const name = "moulin.site.failover.test."
	for _, tc := range []struct {
		prefix string
		want   string
	}{{"10.0.0.0/8", "203.0.113.17"}, {"127.0.0.0/8", "10.10.10.5"}} {
		if err := srv.PublishLocal([]netip.Prefix{netip.MustParsePrefix(tc.prefix)}, []dnsctl.Zone{local}); err != nil {
			t.Fatal(err)
		}
		if got := answersOf(t, addr, name, dns.TypeA); !slices.Equal(got, []string{tc.want}) {
			t.Errorf("view of %s: got %v, want %s", tc.prefix, got, tc.want)
		}
	}
	if got := answersOf(t, addr, "www.second.test.", dns.TypeA); !slices.Equal(got, []string{"192.0.2.2"}) {
		t.Errorf("a zone without a view of its own: got %v", got)
	}
	rrs, _, err := fetch(new(dns.Msg).SetAxfr("failover.test."), addr, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, rr := range rrs {
		if a, ok := rr.(*dns.A); ok && a.Hdr.Name == name && a.A.String() != "203.0.113.17" {
			t.Errorf("a secondary was given the local view: %s", rr)
		}
	}
	if err := srv.PublishLocal(nil, nil); err != nil || !slices.Equal(answersOf(t, addr, name, dns.TypeA), []string{"203.0.113.17"}) {
		t.Errorf("the view was not taken back: %v", err)
	}
}

// Without quorum a secondary is told nothing that it could take for the newest
// zone; everybody else is answered.
func TestWithoutQuorumNoSerialForSecondaries(t *testing.T) {
	key := dnsctl.Key{Name: "xfr-key.", Secret: secret}
	srv, addr := start(t, dnsctl.Config{TransferKeys: []dnsctl.Key{key}}, mainZone(), secondZone())
	srv.SetSecondaries(map[string]dnsctl.Secondaries{"failover.test.": {From: loopback(), Key: "xfr-key"}})
	soaOf := func(zone string) int { return ask(t, "udp", addr, question(zone, dns.TypeSOA)).Rcode }
	for _, tc := range []struct {
		transfers        dnsctl.Transfers
		secondary, other int
	}{
		{dnsctl.TransfersRefused, dns.RcodeRefused, dns.RcodeSuccess},
		{dnsctl.TransfersAllowed, dns.RcodeSuccess, dns.RcodeSuccess},
	} {
		srv.SetTransfers(tc.transfers)
		if got := soaOf("failover.test."); got != tc.secondary {
			t.Errorf("transfers %d: SOA for a secondary: %s, want %s", tc.transfers, dns.RcodeToString[got], dns.RcodeToString[tc.secondary])
		}
		if got := soaOf("second.test."); got != tc.other {
			t.Errorf("transfers %d: SOA of another zone: %s", tc.transfers, dns.RcodeToString[got])
		}
		if got := ask(t, "udp", addr, question("www.failover.test.", dns.TypeA)).Rcode; got != dns.RcodeSuccess {
			t.Errorf("transfers %d: an ordinary question: %s", tc.transfers, dns.RcodeToString[got])
		}
	}
	// Who may transfer is said zone by zone: address and key, both.
	try := func(zone string, sign bool, secrets map[string]string) error {
		m := new(dns.Msg).SetAxfr(zone)
		if sign {
			m.SetTsig("xfr-key.", dns.HmacSHA256, 300, now())
		}
		_, _, err := fetch(m, addr, secrets)
		return err
	}
	secrets := map[string]string{"xfr-key.": secret}
	if err := try("failover.test.", true, secrets); err != nil {
		t.Errorf("a secondary with the key: %v", err)
	}
	if err := try("failover.test.", false, nil); err == nil {
		t.Error("a secondary without the key was served")
	}
	if err := try("second.test.", true, secrets); err == nil {
		t.Error("a zone without secondaries was transferred")
	}
}

// lines is a log that may be read while it is written.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// A secondary of ours that asks from an undeclared address only hears REFUSED: our log says why. Of strangers it is silent,
// and of a time without quorum.
func TestTheLogSaysWhySecondariesAreRefused(t *testing.T) {
	for _, tc := range []struct {
		name      string
		transfers dnsctl.Transfers
		signed    bool
		want      string
	}{
		{"one of ours", dnsctl.TransfersAllowed, true, "to=127.0.0.1:"},
		{"a stranger", dnsctl.TransfersAllowed, false, ""},
		{"without quorum", dnsctl.TransfersRefused, true, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var log lines
			logger := slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn}))
			srv, addr := start(t, dnsctl.Config{TransferKeys: []dnsctl.Key{{Name: "xfr-key.", Secret: secret}}, Logger: logger}, mainZone())
			srv.SetTransfers(tc.transfers)
			elsewhere := []netip.Prefix{netip.MustParsePrefix("192.0.2.53/32")}
			srv.SetSecondaries(map[string]dnsctl.Secondaries{"failover.test.": {From: elsewhere, Key: "xfr-key"}})
			m, secrets := new(dns.Msg).SetAxfr("failover.test."), map[string]string(nil)
			if tc.signed {
				m.SetTsig("xfr-key.", dns.HmacSHA256, 300, time.Now().Unix())
				secrets = map[string]string{"xfr-key.": secret}
			}
			if _, _, err := fetch(m, addr, secrets); err == nil {
				t.Fatal("the zone was transferred")
			}
			// The line is written before the answer.
			if got := log.String(); !strings.Contains(got, tc.want) || tc.want == "" && got != "" {
				t.Errorf("got %q, want it to contain %q", got, tc.want)
			}
		})
	}
}
