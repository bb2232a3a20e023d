package dnsctl

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// Record is one resource record of class IN as plain text.
type Record struct {
	// Name is the owner: an absolute name with its final dot, lower case in canonical form.
	Name string
	// Type is one of A AAAA CAA CNAME DS MX NS SOA SRV TXT.
	Type string
	// TTL is a whole number of seconds, at most 2^31-1 (RFC 2181 section 8).
	TTL time.Duration
	// Data is the rdata in presentation form: names absolute, TXT as quoted strings of at most 255 bytes (see TXTData).
	Data string
}

// String is the record as one line of a zone file.
func (r Record) String() string {
	return fmt.Sprintf("%s %d IN %s %s", r.Name, int64(r.TTL/time.Second), r.Type, r.Data)
}

// Canonical checks the record and returns it in the one form in which equal records are equal strings.
func (r Record) Canonical() (Record, error) {
	rr, err := r.RR()
	if err != nil {
		return Record{}, err
	}
	return FromRR(rr)
}

// Compare orders records by owner in the canonical order of RFC 4034 section 6.1 (by label from the right, so that the
// apex comes first and a name stands before what lies below it), then by type, then by data, then by TTL.
func Compare(a, b Record) int {
	return cmp.Or(
		compareNames(a.Name, b.Name),
		strings.Compare(a.Type, b.Type),
		strings.Compare(a.Data, b.Data),
		cmp.Compare(a.TTL, b.TTL),
	)
}

// SOA is the start of authority of a zone but for the serial, which stands in Zone.
type SOA struct {
	// MName is the primary server, RName the mailbox with its @ as a dot.
	MName, RName string
	// Refresh, Retry and Expire are for secondaries; Expire should exceed the longest imaginable loss of every primary.
	Refresh, Retry, Expire time.Duration
	// Minimum bounds how long resolvers remember that a name or type does not exist (RFC 2308).
	Minimum time.Duration
	// TTL of the SOA record itself; zero means Minimum.
	TTL time.Duration
}

// Zone is the whole content of one zone.
type Zone struct {
	Name   string
	Serial uint32
	// Records in Compare order, without the SOA.
	Records []Record
	SOA     SOA
}

// Canonical checks the zone and returns it lower case, sorted and without duplicates. The input is left alone.
// All faults are reported at once. A zone is refused for a record outside of it, several TTLs within one set of records
// (RFC 2181 section 5.2), a CNAME beside other data or at the apex, a delegated wildcard, an SOA among the records,
// and for having no NS at its apex, since secondaries would refuse it.
func (z Zone) Canonical() (Zone, error) {
	var errs []error
	name, err := canonicalName(z.Name)
	switch {
	case err != nil:
		return Zone{}, fmt.Errorf("check zone %q: %w", z.Name, err)
	case name == "." || strings.HasPrefix(name, "*"):
		return Zone{}, fmt.Errorf("check zone %q: not a name that can be a zone", z.Name)
	}
	out := Zone{Name: name, Serial: z.Serial, Records: make([]Record, 0, len(z.Records))}
	if out.SOA, err = z.SOA.canonical(); err != nil {
		errs = append(errs, err)
	}
	for _, r := range z.Records {
		c, err := r.Canonical()
		switch {
		case err != nil:
			errs = append(errs, err)
		case c.Type == "SOA":
			errs = append(errs, fmt.Errorf("record %q: the SOA is not listed among the records", r))
		case !inZone(c.Name, name):
			errs = append(errs, fmt.Errorf("record %q: name is outside the zone", r))
		default:
			out.Records = append(out.Records, c)
		}
	}
	slices.SortFunc(out.Records, Compare)
	out.Records = slices.CompactFunc(out.Records, func(a, b Record) bool { return a == b })
	errs = append(errs, out.faults()...)
	if len(errs) > 0 {
		return Zone{}, fmt.Errorf("check zone %q: %w", z.Name, errors.Join(errs...))
	}
	return out, nil
}

// faults looks for contradictions between the sorted records of a zone.
func (z Zone) faults() []error {
	var errs []error
	apexNS := false
	for set := range sets(z.Records) {
		first := set[0]
		for i, r := range set[1:] {
			if r.TTL != first.TTL {
				errs = append(errs, fmt.Errorf("records of %s %s: TTLs %s and %s in one set", r.Name, r.Type, first.TTL, r.TTL))
				break
			}
			if r.Data == set[i].Data {
				errs = append(errs, fmt.Errorf("record %q: given twice", r))
			}
		}
		switch first.Type {
		case "CNAME":
			if len(set) > 1 || first.Name == z.Name || len(z.at(first.Name)) > len(set) {
				errs = append(errs, fmt.Errorf("record %q: a CNAME must be the only record of its name and not at the apex", first))
			}
		case "NS":
			apexNS = apexNS || first.Name == z.Name
			if strings.HasPrefix(first.Name, "*") {
				errs = append(errs, fmt.Errorf("record %q: a wildcard cannot be delegated", first))
			}
		}
	}
	if !apexNS {
		errs = append(errs, errors.New("no NS record at the apex"))
	}
	return errs
}

// at returns the records of one owner; the zone must be canonical.
func (z Zone) at(name string) []Record {
	start, _ := slices.BinarySearchFunc(z.Records, name, func(r Record, n string) int { return compareNames(r.Name, n) })
	end := start
	for end < len(z.Records) && z.Records[end].Name == name {
		end++
	}
	return z.Records[start:end]
}

// SOARecord is the zone's SOA with its serial as a record.
func (z Zone) SOARecord() Record {
	return Record{
		Name: z.Name, Type: "SOA", TTL: cmp.Or(z.SOA.TTL, z.SOA.Minimum),
		Data: fmt.Sprintf("%s %s %d %d %d %d %d", z.SOA.MName, z.SOA.RName, z.Serial,
			seconds(z.SOA.Refresh), seconds(z.SOA.Retry), seconds(z.SOA.Expire), seconds(z.SOA.Minimum)),
	}
}

// String is the zone as a zone file, the SOA first. Equal zones in canonical form give equal text.
func (z Zone) String() string {
	var b strings.Builder
	fmt.Fprintln(&b, z.SOARecord())
	for _, r := range z.Records {
		fmt.Fprintln(&b, r)
	}
	return b.String()
}

func (s SOA) canonical() (SOA, error) {
	var errs []error
	for _, p := range []*string{&s.MName, &s.RName} {
		name, err := canonicalName(*p)
		if err != nil {
			errs = append(errs, err)
		}
		*p = name
	}
	s.TTL = cmp.Or(s.TTL, s.Minimum)
	for _, d := range []time.Duration{s.Refresh, s.Retry, s.Expire, s.Minimum, s.TTL} {
		if err := checkTTL(d); err != nil || d == 0 {
			errs = append(errs, fmt.Errorf("time %s is not a positive number of whole seconds", d))
		}
	}
	if len(errs) > 0 {
		return SOA{}, fmt.Errorf("check SOA: %w", errors.Join(errs...))
	}
	return s, nil
}

// sets yields the runs of records that share owner and type; the input must be sorted.
func sets(records []Record) func(yield func([]Record) bool) {
	return func(yield func([]Record) bool) {
		for start := 0; start < len(records); {
			end := start + 1
			for end < len(records) && records[end].Type == records[start].Type && records[end].Name == records[start].Name {
				end++
			}
			if !yield(records[start:end:end]) {
				return
			}
			start = end
		}
	}
}

func seconds(d time.Duration) uint32 { return uint32(d / time.Second) }

func checkTTL(d time.Duration) error {
	if d < 0 || d%time.Second != 0 || d/time.Second > math.MaxInt32 {
		return fmt.Errorf("TTL %s is not a whole number of seconds from 0 to 2^31-1", d)
	}
	return nil
}

// canonicalName lowers an absolute name and refuses what is not one. Letters, digits, '-' and '_' are allowed, and '*'
// as the whole first label: the network's own names need no more, and no escape ever has to be interpreted.
func canonicalName(s string) (string, error) {
	name := strings.ToLower(s)
	if name == "." {
		return name, nil
	}
	body, dotted := strings.CutSuffix(name, ".")
	switch {
	case !dotted:
		return "", fmt.Errorf("name %q does not end with a dot", s)
	case len(name) > 254: // 255 bytes on the wire with the length byte of the first label and the root's
		return "", fmt.Errorf("name %q is longer than 255 bytes", s)
	}
	for i, label := range strings.Split(body, ".") {
		if label == "" || len(label) > 63 {
			return "", fmt.Errorf("name %q has an empty label or one longer than 63 bytes", s)
		}
		if i == 0 && label == "*" {
			continue
		}
		if at := strings.IndexFunc(label, notNameRune); at >= 0 {
			return "", fmt.Errorf("name %q has the character %q", s, label[at])
		}
	}
	return name, nil
}

func notNameRune(r rune) bool {
	return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '_'
}

// inZone says whether a canonical name is the zone's apex or lies below it.
func inZone(name, zone string) bool {
	return name == zone || strings.HasSuffix(name, "."+zone)
}

// compareNames compares canonical names label by label from the right.
func compareNames(a, b string) int {
	if a == b {
		return 0
	}
	a, b = strings.TrimSuffix(a, "."), strings.TrimSuffix(b, ".")
	for a != "" && b != "" {
		i, j := strings.LastIndexByte(a, '.'), strings.LastIndexByte(b, '.')
		if c := strings.Compare(a[i+1:], b[j+1:]); c != 0 {
			return c
		}
		a, b = a[:max(i, 0)], b[:max(j, 0)]
	}
	return cmp.Compare(len(a), len(b))
}
