package mesh

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// RouterOS answers every value as a string, and leaves unset ones out
// (MikroTik documentation, REST API). Newer versions may answer numbers and
// booleans: row reads both.
type row map[string]json.RawMessage

func (r row) text(key string) string {
	raw := r[key]
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return s
	}
	return strings.TrimSpace(string(raw)) // a number or a boolean, as written
}

func (r row) truth(key string) bool {
	switch r.text(key) {
	case "true", "yes":
		return true
	}
	return false
}

var errValue = errors.New("not a value of RouterOS")

// parseDuration reads "1w2d3h4m5s", "350ms", "1d02:03:04", "02:03:04" and "5"
// (seconds).
func parseDuration(s string) (time.Duration, error) {
	rest, total := s, time.Duration(0)
	for rest != "" {
		n, after, ok := leadingNumber(rest)
		if !ok {
			return 0, fmt.Errorf("duration %q: %w", s, errValue)
		}
		if strings.HasPrefix(after, ":") {
			d, err := parseClock(rest)
			if err != nil {
				return 0, fmt.Errorf("duration %q: %w", s, err)
			}
			return total + d, nil
		}
		unit, size := unitOf(after)
		if size == 0 || n > int64(math.MaxInt64/size) {
			return 0, fmt.Errorf("duration %q: %w", s, errValue)
		}
		total += time.Duration(n) * size
		if total < 0 {
			return 0, fmt.Errorf("duration %q: %w", s, errValue)
		}
		rest = after[len(unit):]
	}
	if s == "" {
		return 0, fmt.Errorf("duration %q: %w", s, errValue)
	}
	return total, nil
}

func leadingNumber(s string) (n int64, rest string, ok bool) {
	end := 0
	for end < len(s) && s[end] >= '0' && s[end] <= '9' {
		end++
	}
	n, err := strconv.ParseInt(s[:end], 10, 64)
	return n, s[end:], err == nil
}

// unitOf returns the unit that s begins with; nothing means seconds. Milliseconds
// stand before minutes: "350ms" is not 350 minutes.
func unitOf(s string) (unit string, size time.Duration) {
	if s == "" {
		return "", time.Second
	}
	for _, u := range []struct {
		name string
		size time.Duration
	}{
		{"ms", time.Millisecond},
		{"us", time.Microsecond},
		{"w", 7 * 24 * time.Hour},
		{"d", 24 * time.Hour},
		{"h", time.Hour},
		{"m", time.Minute},
		{"s", time.Second},
	} {
		if strings.HasPrefix(s, u.name) {
			return u.name, u.size
		}
	}
	return "", 0
}

func parseClock(s string) (time.Duration, error) {
	parts := strings.Split(s, ":")
	if len(parts) != 3 {
		return 0, errValue
	}
	total := time.Duration(0)
	for i, unit := range []time.Duration{time.Hour, time.Minute, time.Second} {
		n, err := strconv.ParseUint(parts[i], 10, 16)
		if err != nil || i > 0 && n > 59 {
			return 0, errValue
		}
		total += time.Duration(n) * unit
	}
	return total, nil
}

// parseBytes reads plain bytes, as REST answers, and "467.9KiB", as the console
// writes them.
func parseBytes(s string) (uint64, error) {
	if n, err := strconv.ParseUint(s, 10, 64); err == nil {
		return n, nil
	}
	for i, unit := range []string{"KiB", "MiB", "GiB", "TiB"} {
		number, ok := strings.CutSuffix(s, unit)
		if !ok {
			continue
		}
		f, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
		f *= float64(uint64(1) << (10 * (i + 1)))
		if err == nil && f >= 0 && f < 1<<63 {
			return uint64(f), nil
		}
	}
	return 0, fmt.Errorf("bytes %q: %w", s, errValue)
}

// peer reads one row of /interface/wireguard/peers.
func (r row) peer() (Peer, error) {
	p := Peer{
		Interface: r.text("interface"), PublicKey: r.text("public-key"), Name: r.text("name"),
		Handshake: NoHandshake, Disabled: r.truth("disabled"),
	}
	if p.PublicKey == "" || p.Interface == "" {
		return p, fmt.Errorf("a peer without interface or public-key: %w", errValue)
	}
	if p.Name == "" { // before RouterOS 7.15 peers have no name
		p.Name = r.text("comment")
	}
	var err error
	for key, into := range map[string]*uint64{"rx": &p.Rx, "tx": &p.Tx} {
		if s := r.text(key); s != "" && err == nil {
			*into, err = parseBytes(s)
		}
	}
	// Absent or empty until the first handshake.
	if s := r.text("last-handshake"); s != "" && err == nil {
		p.Handshake, err = parseDuration(s)
	}
	if s := r.text("persistent-keepalive"); s != "" && err == nil {
		p.Keepalive, err = parseDuration(s)
	}
	if err != nil {
		return p, fmt.Errorf("peer %s: %w", p.PublicKey, err)
	}
	p.Endpoint = r.endpoint()
	for s := range strings.SplitSeq(r.text("allowed-address"), ",") {
		if prefix, err := netip.ParsePrefix(strings.TrimSpace(s)); err == nil {
			p.AllowedIPs = append(p.AllowedIPs, prefix)
		} else if a, err := netip.ParseAddr(strings.TrimSpace(s)); err == nil {
			p.AllowedIPs = append(p.AllowedIPs, netip.PrefixFrom(a, a.BitLen()))
		}
	}
	return p, nil
}

// endpoint is the source of the newest authenticated packet, zero without one.
func (r row) endpoint() netip.AddrPort {
	a, err := netip.ParseAddr(r.text("current-endpoint-address"))
	port, errPort := strconv.ParseUint(r.text("current-endpoint-port"), 10, 16)
	if err != nil || errPort != nil || port == 0 || a.IsUnspecified() {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(a.Unmap(), uint16(port))
}
