package dnsctl_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"pgregory.net/rapid"

	"github.com/raoull/worldwidewelsh/dnsctl"
)

func TestRecordCanonicalForms(t *testing.T) {
	for _, tc := range []struct{ rtype, data, want string }{
		{"A", "192.0.2.1", "192.0.2.1"},
		{"AAAA", "2001:DB8:0:0::1", "2001:db8::1"},
		{"CNAME", "Moulin.Site.Test.", "moulin.site.test."},
		{"NS", "ns1.test.", "ns1.test."},
		{"MX", "10  Mail.test.", "10 mail.test."},
		{"MX", "0 .", "0 ."},
		{"SRV", "1 2 443 web.test.", "1 2 443 web.test."},
		{"TXT", `"v=spf1 -all"`, `"v=spf1 -all"`},
		{"TXT", `"a\"b" "\195\169\\"`, `"a\"b" "\195\169\\"`},
		{"TXT", `"\097\b"`, `"ab"`},
		{"CAA", `0 Issue "letsencrypt.org"`, `0 issue "letsencrypt.org"`},
		{"DS", "12345 13 2 " + strings.Repeat("AB", 32), "12345 13 2 " + strings.Repeat("ab", 32)},
		{"SOA", "ns1.test. h.test. 1 2 3 4 5", "ns1.test. h.test. 1 2 3 4 5"},
	} {
		in := dnsctl.Record{Name: "WWW.Test.", Type: tc.rtype, TTL: time.Minute, Data: tc.data}
		got, err := in.Canonical()
		want := dnsctl.Record{Name: "www.test.", Type: tc.rtype, TTL: time.Minute, Data: tc.want}
		if err != nil || got != want {
			t.Errorf("Canonical(%v) = %v, %v; want %v", in, got, err, want)
			continue
		}
		// The zone-file form must mean the same to an independent parser, and survive the wire.
		rr, err := dns.NewRR(got.String())
		if err != nil {
			t.Errorf("zone-file form %q: %v", got, err)
			continue
		}
		buf := make([]byte, 4096)
		n, err := dns.PackRR(rr, buf, 0, nil, false)
		if err != nil {
			t.Errorf("pack %q: %v", got, err)
			continue
		}
		wire, _, err := dns.UnpackRR(buf[:n], 0)
		if err != nil {
			t.Fatal(err)
		}
		if back, err := dnsctl.FromRR(wire); err != nil || back != want {
			t.Errorf("over the wire %v became %v, %v", want, back, err)
		}
	}
}

func TestRecordRefusesWhatIsNotOne(t *testing.T) {
	ok := dnsctl.Record{Name: "www.test.", Type: "A", TTL: time.Minute, Data: "192.0.2.1"}
	for _, tc := range []struct {
		name   string
		change func(*dnsctl.Record)
		want   string
	}{
		{"relative name", func(r *dnsctl.Record) { r.Name = "www.test" }, "does not end with a dot"},
		{"empty label", func(r *dnsctl.Record) { r.Name = "www..test." }, "empty label"},
		{"long label", func(r *dnsctl.Record) { r.Name = strings.Repeat("a", 64) + ".test." }, "longer than 63"},
		{"long name", func(r *dnsctl.Record) { r.Name = strings.Repeat("abcdefg.", 32) }, "longer than 255"},
		{"blank in name", func(r *dnsctl.Record) { r.Name = "w w.test." }, `character ' '`},
		{"escape in name", func(r *dnsctl.Record) { r.Name = `w\.w.test.` }, "character"},
		{"inner wildcard", func(r *dnsctl.Record) { r.Name = "a.*.test." }, "character '*'"},
		{"type", func(r *dnsctl.Record) { r.Type = "HINFO" }, "not known"},
		{"negative TTL", func(r *dnsctl.Record) { r.TTL = -time.Second }, "TTL"},
		{"split second", func(r *dnsctl.Record) { r.TTL = 1500 * time.Millisecond }, "TTL"},
		{"huge TTL", func(r *dnsctl.Record) { r.TTL = 1 << 31 * time.Second }, "TTL"},
		{"address family", func(r *dnsctl.Record) { r.Data = "2001:db8::1" }, "IPv4"},
		{"address zone", func(r *dnsctl.Record) { r.Type, r.Data = "AAAA", "fe80::1%eth0" }, "IPv6"},
		{"wildcard target", func(r *dnsctl.Record) { r.Type, r.Data = "CNAME", "*.test." }, "wildcard"},
		{"MX without preference", func(r *dnsctl.Record) { r.Type, r.Data = "MX", "mail.test." }, "preference target"},
		{"SRV number", func(r *dnsctl.Record) { r.Type, r.Data = "SRV", "1 2 65536 x.test." }, "16 bits"},
		{"TXT unquoted", func(r *dnsctl.Record) { r.Type, r.Data = "TXT", "hello" }, "quoted"},
		{"TXT open", func(r *dnsctl.Record) { r.Type, r.Data = "TXT", `"hello` }, "no end"},
		{"TXT empty", func(r *dnsctl.Record) { r.Type, r.Data = "TXT", "" }, "empty"},
		{"TXT long", func(r *dnsctl.Record) { r.Type, r.Data = "TXT", `"`+strings.Repeat("x", 256)+`"` }, "255"},
		{"TXT escape", func(r *dnsctl.Record) { r.Type, r.Data = "TXT", `"\999"` }, "above 255"},
		{"CAA", func(r *dnsctl.Record) { r.Type, r.Data = "CAA", "0 issue x" }, "quoted"},
		{"DS", func(r *dnsctl.Record) { r.Type, r.Data = "DS", "1 13 2 xyz" }, "DS"},
		{"DS length", func(r *dnsctl.Record) { r.Type, r.Data = "DS", "1 13 2 abcd" }, "2 bytes where type 2 has 32"},
		{"SOA", func(r *dnsctl.Record) { r.Type, r.Data = "SOA", "a. b. 1 2 3" }, "serial"},
	} {
		r := ok
		tc.change(&r)
		if _, err := r.RR(); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: RR(%v) error = %v, want one with %q", tc.name, r, err, tc.want)
		}
	}
	if _, err := ok.RR(); err != nil {
		t.Errorf("unchanged record: %v", err)
	}
	if _, err := dnsctl.FromRR(nil); err == nil {
		t.Error("FromRR(nil) gave no error")
	}
}

func TestTXTDataCarriesAnyBytes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		value := string(rapid.SliceOfN(rapid.Byte(), 0, 900).Draw(t, "value"))
		r := dnsctl.Record{Name: "x.test.", Type: "TXT", Data: dnsctl.TXTData(value)}
		c, err := r.Canonical()
		if err != nil || c != r {
			t.Fatalf("Canonical(%v) = %v, %v", r, c, err)
		}
		if got, err := dnsctl.TXTValue(c.Data); err != nil || got != value {
			t.Fatalf("TXTValue = %q, %v; want %q", got, err, value)
		}
	})
}

func TestZoneCanonicalIsOrderless(t *testing.T) {
	z := mainZone()
	want, err := z.Canonical()
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		shuffled := z
		shuffled.Records = rapid.Permutation(z.Records).Draw(t, "records")
		shuffled.Records = append(slices.Clone(shuffled.Records), shuffled.Records[0])
		got, err := shuffled.Canonical()
		if err != nil || got.String() != want.String() {
			t.Fatalf("another order gives another zone (%v):\n%s\nwant\n%s", err, got, want)
		}
	})
	if first := want.Records[0].Name; first != want.Name {
		t.Errorf("first record is of %s, want the apex", first)
	}
	p := dns.NewZoneParser(strings.NewReader(want.String()), "", "zone")
	n := 0
	for _, ok := p.Next(); ok; _, ok = p.Next() {
		n++
	}
	if p.Err() != nil || n != len(want.Records)+1 {
		t.Errorf("zone file has %d records, error %v; want %d", n, p.Err(), len(want.Records)+1)
	}
}

func TestZoneRefusesContradictions(t *testing.T) {
	rec := func(name, rtype, data string) dnsctl.Record {
		return dnsctl.Record{Name: name, Type: rtype, TTL: time.Minute, Data: data}
	}
	for _, tc := range []struct {
		name   string
		change func(*dnsctl.Zone)
		want   string
	}{
		{"outside", func(z *dnsctl.Zone) { z.Records = append(z.Records, rec("a.other.", "A", "192.0.2.1")) }, "outside"},
		{"suffix is not a child", func(z *dnsctl.Zone) { z.Records = append(z.Records, rec("a.xfailover.test.", "A", "192.0.2.1")) }, "outside"},
		{"CNAME and data", func(z *dnsctl.Zone) { z.Records = append(z.Records, rec("alias.failover.test.", "A", "192.0.2.1")) }, "CNAME"},
		{"two CNAMEs", func(z *dnsctl.Zone) { z.Records = append(z.Records, rec("alias.failover.test.", "CNAME", "x.test.")) }, "CNAME"},
		{"apex CNAME", func(z *dnsctl.Zone) { z.Records = append(z.Records, rec("failover.test.", "CNAME", "x.test.")) }, "apex"},
		{"delegated wildcard", func(z *dnsctl.Zone) { z.Records = append(z.Records, rec("*.failover.test.", "NS", "x.test.")) }, "wildcard"},
		{"SOA among records", func(z *dnsctl.Zone) { z.Records = append(z.Records, z.SOARecord()) }, "SOA"},
		{"TTLs", func(z *dnsctl.Zone) {
			z.Records = append(z.Records, dnsctl.Record{Name: "www.failover.test.", Type: "A", TTL: time.Hour, Data: "192.0.2.77"})
		}, "TTLs"},
		{"no NS", func(z *dnsctl.Zone) { z.Records = []dnsctl.Record{rec("www.failover.test.", "A", "192.0.2.1")} }, "no NS"},
		{"zone name", func(z *dnsctl.Zone) { z.Name = "failover.test" }, "dot"},
		{"root", func(z *dnsctl.Zone) { z.Name = "." }, "not a name"},
		{"SOA mailbox", func(z *dnsctl.Zone) { z.SOA.RName = "admin@test" }, "dot"},
		{"SOA expire", func(z *dnsctl.Zone) { z.SOA.Expire = 0 }, "positive"},
		{"bad record", func(z *dnsctl.Zone) { z.Records = append(z.Records, rec("q.failover.test.", "A", "1.2.3")) }, "IPv4"},
	} {
		z := mainZone()
		tc.change(&z)
		if _, err := z.Canonical(); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: error = %v, want one with %q", tc.name, err, tc.want)
		}
	}
}
