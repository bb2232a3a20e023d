package dnsctl

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// codec converts the data of one record type. parse sees data split at white space unless the type reads it whole.
type codec struct {
	code   uint16
	parse  func(h dns.RR_Header, data string) (dns.RR, error)
	format func(rr dns.RR) string
}

// codecs is the table of the record types that this package knows.
var codecs = map[string]codec{
	"A":     {dns.TypeA, parseA, func(rr dns.RR) string { return addrText(rr.(*dns.A).A) }},
	"AAAA":  {dns.TypeAAAA, parseAAAA, func(rr dns.RR) string { return addrText(rr.(*dns.AAAA).AAAA) }},
	"CAA":   {dns.TypeCAA, parseCAA, formatCAA},
	"CNAME": {dns.TypeCNAME, parseCNAME, func(rr dns.RR) string { return dns.CanonicalName(rr.(*dns.CNAME).Target) }},
	"DS":    {dns.TypeDS, parseDS, formatDS},
	"MX":    {dns.TypeMX, parseMX, formatMX},
	"NS":    {dns.TypeNS, parseNS, func(rr dns.RR) string { return dns.CanonicalName(rr.(*dns.NS).Ns) }},
	"SOA":   {dns.TypeSOA, parseSOA, formatSOA},
	"SRV":   {dns.TypeSRV, parseSRV, formatSRV},
	"TXT":   {dns.TypeTXT, parseTXT, func(rr dns.RR) string { return formatTXT(rr.(*dns.TXT).Txt) }},
}

// RR checks the record and builds the message form of it, without going through zone-file text.
func (r Record) RR() (dns.RR, error) {
	c, known := codecs[r.Type]
	if !known {
		return nil, fmt.Errorf("record %q: type %q is not known here", r, r.Type)
	}
	name, err := canonicalName(r.Name)
	if err == nil {
		err = checkTTL(r.TTL)
	}
	if err != nil {
		return nil, fmt.Errorf("record %q: %w", r, err)
	}
	rr, err := c.parse(dns.RR_Header{Name: name, Rrtype: c.code, Class: dns.ClassINET, Ttl: seconds(r.TTL)}, r.Data)
	if err != nil {
		return nil, fmt.Errorf("record %q: %w", r, err)
	}
	return rr, nil
}

// FromRR is the plain form of a record as a server sent it: names lower case, data in canonical form. It fails for a
// type or class that this package does not handle, not for names that RR would refuse.
func FromRR(rr dns.RR) (Record, error) {
	if rr == nil {
		return Record{}, errors.New("read record: none given")
	}
	h := rr.Header()
	name := dns.TypeToString[h.Rrtype]
	c, known := codecs[name]
	if _, opaque := rr.(*dns.RFC3597); !known || opaque || h.Class != dns.ClassINET {
		return Record{}, fmt.Errorf("read record %q: type %d class %d is not handled", h.Name, h.Rrtype, h.Class)
	}
	return Record{
		Name: dns.CanonicalName(h.Name), Type: name, TTL: time.Duration(h.Ttl) * time.Second, Data: c.format(rr),
	}, nil
}

// TXTData is the data of a TXT record that carries the value, cut into strings of 255 bytes (RFC 1035 section 3.3).
func TXTData(value string) string {
	chunks := []string{}
	for len(value) > 255 {
		chunks = append(chunks, value[:255])
		value = value[255:]
	}
	chunks = append(chunks, value)
	for i, c := range chunks {
		chunks[i] = `"` + escapeText(c) + `"`
	}
	return strings.Join(chunks, " ")
}

// TXTValue is the value that TXTData was given: the strings of the record joined.
func TXTValue(data string) (string, error) {
	parts, err := textStrings(data)
	return strings.Join(parts, ""), err
}

func parseA(h dns.RR_Header, data string) (dns.RR, error) {
	addr, err := netip.ParseAddr(data)
	if err != nil || !addr.Is4() {
		return nil, fmt.Errorf("%q is not an IPv4 address", data)
	}
	return &dns.A{Hdr: h, A: addr.AsSlice()}, nil
}

func parseAAAA(h dns.RR_Header, data string) (dns.RR, error) {
	addr, err := netip.ParseAddr(data)
	if err != nil || !addr.Is6() || addr.Zone() != "" {
		return nil, fmt.Errorf("%q is not an IPv6 address", data)
	}
	return &dns.AAAA{Hdr: h, AAAA: addr.AsSlice()}, nil
}

func addrText(ip []byte) string {
	addr, ok := netip.AddrFromSlice(ip)
	if !ok {
		return ""
	}
	return addr.String()
}

func parseCNAME(h dns.RR_Header, data string) (dns.RR, error) {
	target, err := targetName(data)
	return &dns.CNAME{Hdr: h, Target: target}, err
}

func parseNS(h dns.RR_Header, data string) (dns.RR, error) {
	target, err := targetName(data)
	return &dns.NS{Hdr: h, Ns: target}, err
}

func parseMX(h dns.RR_Header, data string) (dns.RR, error) {
	f, n, err := fields(data, 1, 16, "preference target")
	if err != nil {
		return nil, err
	}
	target, err := targetName(f[1])
	return &dns.MX{Hdr: h, Preference: uint16(n[0]), Mx: target}, err
}

func formatMX(rr dns.RR) string {
	mx := rr.(*dns.MX)
	return fmt.Sprintf("%d %s", mx.Preference, dns.CanonicalName(mx.Mx))
}

func parseSRV(h dns.RR_Header, data string) (dns.RR, error) {
	f, n, err := fields(data, 3, 16, "priority weight port target")
	if err != nil {
		return nil, err
	}
	target, err := targetName(f[3])
	return &dns.SRV{Hdr: h, Priority: uint16(n[0]), Weight: uint16(n[1]), Port: uint16(n[2]), Target: target}, err
}

func formatSRV(rr dns.RR) string {
	s := rr.(*dns.SRV)
	return fmt.Sprintf("%d %d %d %s", s.Priority, s.Weight, s.Port, dns.CanonicalName(s.Target))
}

func parseSOA(h dns.RR_Header, data string) (dns.RR, error) {
	mname, rest, _ := strings.Cut(data, " ")
	rname, rest, _ := strings.Cut(rest, " ")
	_, n, err := fields(rest, 5, 32, "serial refresh retry expire minimum")
	if err != nil {
		return nil, fmt.Errorf("after two names: %w", err)
	}
	ns, err1 := targetName(mname)
	mbox, err2 := targetName(rname)
	return &dns.SOA{
		Hdr: h, Ns: ns, Mbox: mbox,
		Serial: uint32(n[0]), Refresh: uint32(n[1]), Retry: uint32(n[2]), Expire: uint32(n[3]), Minttl: uint32(n[4]),
	}, errors.Join(err1, err2)
}

func formatSOA(rr dns.RR) string {
	s := rr.(*dns.SOA)
	return fmt.Sprintf("%s %s %d %d %d %d %d", dns.CanonicalName(s.Ns), dns.CanonicalName(s.Mbox),
		s.Serial, s.Refresh, s.Retry, s.Expire, s.Minttl)
}

// dsLengths are the bytes of a digest by its type: SHA-1, SHA-256, SHA-384 (RFC 4034, 4509, 6605). Secondaries refuse a
// zone in which one has another length.
var dsLengths = map[uint8]int{1: 20, 2: 32, 4: 48}

func parseDS(h dns.RR_Header, data string) (dns.RR, error) {
	f, n, err := fields(data, 3, 16, "tag algorithm type digest")
	if err != nil {
		return nil, err
	}
	digest, err := hex.DecodeString(f[3])
	if err != nil || n[1] > 255 || n[2] > 255 {
		return nil, fmt.Errorf("%q is not a DS record", data)
	}
	if want := dsLengths[uint8(n[2])]; len(digest) != want {
		return nil, fmt.Errorf("DS digest of %d bytes where type %d has %d", len(digest), n[2], want)
	}
	return &dns.DS{
		Hdr: h, KeyTag: uint16(n[0]), Algorithm: uint8(n[1]), DigestType: uint8(n[2]), Digest: strings.ToLower(f[3]),
	}, nil
}

func formatDS(rr dns.RR) string {
	d := rr.(*dns.DS)
	return fmt.Sprintf("%d %d %d %s", d.KeyTag, d.Algorithm, d.DigestType, strings.ToLower(d.Digest))
}

func parseCAA(h dns.RR_Header, data string) (dns.RR, error) {
	f := strings.SplitN(data, " ", 3)
	if len(f) != 3 {
		return nil, fmt.Errorf("%q is not: flags tag \"value\"", data)
	}
	flag, err := strconv.ParseUint(f[0], 10, 8)
	if err != nil {
		return nil, fmt.Errorf("flags %q are not a number from 0 to 255", f[0])
	}
	tag := strings.ToLower(f[1])
	if tag == "" || len(tag) > 15 || strings.ContainsFunc(tag, func(r rune) bool { return notNameRune(r) || r == '-' || r == '_' }) {
		return nil, fmt.Errorf("tag %q is not of letters and digits", f[1])
	}
	value, ok := strings.CutPrefix(f[2], `"`)
	value, closed := strings.CutSuffix(value, `"`)
	if !ok || !closed || strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r > '~' || r == '"' || r == '\\' }) {
		return nil, fmt.Errorf("value %s is not a quoted plain text", f[2])
	}
	return &dns.CAA{Hdr: h, Flag: uint8(flag), Tag: tag, Value: value}, nil
}

func formatCAA(rr dns.RR) string {
	c := rr.(*dns.CAA)
	return fmt.Sprintf("%d %s \"%s\"", c.Flag, strings.ToLower(c.Tag), c.Value)
}

func parseTXT(h dns.RR_Header, data string) (dns.RR, error) {
	parts, err := textStrings(data)
	if err != nil {
		return nil, err
	}
	for i, p := range parts {
		parts[i] = escapeText(p) // miekg/dns keeps the strings of a TXT in escaped form
	}
	return &dns.TXT{Hdr: h, Txt: parts}, nil
}

func formatTXT(parts []string) string {
	out := make([]string, len(parts))
	for i, p := range parts {
		raw, rest, err := scanText(p + `"`)
		if err != nil || rest != "" {
			raw = p // as a server cannot send: kept, and refused when it is used
		}
		out[i] = `"` + escapeText(raw) + `"`
	}
	return strings.Join(out, " ")
}

// textStrings reads quoted strings separated by blanks and returns them without quotes and escapes.
func textStrings(data string) ([]string, error) {
	var parts []string
	rest := strings.TrimSpace(data)
	for rest != "" {
		body, quoted := strings.CutPrefix(rest, `"`)
		if !quoted {
			return nil, fmt.Errorf("text %.40q is not made of quoted strings", data)
		}
		part, after, err := scanText(body)
		if err != nil {
			return nil, err
		}
		if len(part) > 255 {
			return nil, fmt.Errorf("a string of %d bytes exceeds 255", len(part))
		}
		parts, rest = append(parts, part), strings.TrimLeft(after, " \t")
	}
	if parts == nil {
		return nil, errors.New("text is empty: write \"\" for an empty string")
	}
	return parts, nil
}

// scanText reads up to the closing quote, resolving \DDD and \X (RFC 1035 section 5.1), and returns what follows it.
func scanText(s string) (text, rest string, err error) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch c := s[i]; c {
		case '"':
			return b.String(), s[i+1:], nil
		case '\\':
			if i+3 < len(s) && isDigit(s[i+1]) && isDigit(s[i+2]) && isDigit(s[i+3]) {
				n, _ := strconv.Atoi(s[i+1 : i+4])
				if n > 255 {
					return "", "", fmt.Errorf("escape %q is above 255", s[i:i+4])
				}
				b.WriteByte(byte(n))
				i += 3
				continue
			}
			i++
			if i < len(s) {
				b.WriteByte(s[i])
			}
		default:
			b.WriteByte(c)
		}
	}
	return "", "", errors.New("a quoted string has no end")
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func escapeText(raw string) string {
	var b strings.Builder
	for i := range len(raw) {
		switch c := raw[i]; {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c < ' ' || c > '~':
			fmt.Fprintf(&b, "\\%03d", c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

func targetName(s string) (string, error) {
	name, err := canonicalName(s)
	if err == nil && strings.HasPrefix(name, "*") {
		return "", fmt.Errorf("name %q is a wildcard", s)
	}
	return name, err
}

// fields splits data at blanks, the first count fields being numbers of the given bits, and expects exactly as many
// fields as the form has words.
func fields(data string, count, bits int, form string) ([]string, []uint64, error) {
	f := strings.Fields(data)
	if len(f) != len(strings.Fields(form)) {
		return nil, nil, fmt.Errorf("%q is not: %s", data, form)
	}
	numbers := make([]uint64, count)
	for i := range numbers {
		n, err := strconv.ParseUint(f[i], 10, bits)
		if err != nil {
			return nil, nil, fmt.Errorf("%q is not a number of %d bits", f[i], bits)
		}
		numbers[i] = n
	}
	return f, numbers, nil
}
