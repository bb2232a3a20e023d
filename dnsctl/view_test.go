package dnsctl_test

import (
	"net/netip"
	"slices"
	"testing"

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
