package network

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// MarshalText writes the shortest form with a unit: "45s", "5m", "1h30m", "14d".
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

func (d Duration) String() string {
	v := time.Duration(d)
	if v != 0 && v%(24*time.Hour) == 0 {
		return strconv.FormatInt(int64(v/(24*time.Hour)), 10) + "d"
	}
	s := v.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// UnmarshalText reads a positive duration with its unit; "d" stands for 24 h.
func (d *Duration) UnmarshalText(b []byte) error {
	text := string(b)
	if days, ok := strings.CutSuffix(text, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 32)
		if err != nil || n > 36500 {
			return fmt.Errorf("duration %q: want a number with a unit, such as 45s, 5m, 24h or 14d", text)
		}
		*d = Duration(time.Duration(n) * 24 * time.Hour)
		return nil
	}
	v, err := time.ParseDuration(text)
	if err != nil || v < 0 {
		return fmt.Errorf("duration %q: want a number with a unit, such as 45s, 5m, 24h or 14d", text)
	}
	*d = Duration(v)
	return nil
}

// The units of Bytes, largest first so that writing finds the shortest form.
var byteUnits = []struct {
	name string
	size int64
}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}}

// MarshalText writes the largest unit that divides the size.
func (b Bytes) MarshalText() ([]byte, error) { return []byte(b.String()), nil }

func (b Bytes) String() string {
	for _, u := range byteUnits {
		if b != 0 && int64(b)%u.size == 0 {
			return strconv.FormatInt(int64(b)/u.size, 10) + u.name
		}
	}
	return "0B"
}

// UnmarshalText reads a size with a binary unit: 512MiB, 8GiB, 1.5TiB.
func (b *Bytes) UnmarshalText(t []byte) error {
	text := string(t)
	for _, u := range byteUnits {
		num, ok := strings.CutSuffix(text, u.name)
		if !ok {
			continue
		}
		v, err := strconv.ParseFloat(strings.TrimSpace(num), 64)
		if err != nil || v < 0 || math.IsNaN(v) || v*float64(u.size) > math.MaxInt64/2 {
			break
		}
		*b = Bytes(v * float64(u.size))
		return nil
	}
	return fmt.Errorf("size %q: want a number with a unit, such as 512MiB or 8GiB", text)
}

// MarshalText writes "FIRST-LAST".
func (r IDRange) MarshalText() ([]byte, error) {
	return fmt.Appendf(nil, "%d-%d", r.First, r.Last), nil
}

// UnmarshalText reads "FIRST-LAST", both Proxmox ids (100 … 999999999).
func (r *IDRange) UnmarshalText(b []byte) error {
	first, last, ok := strings.Cut(string(b), "-")
	f, err1 := strconv.Atoi(first)
	l, err2 := strconv.Atoi(last)
	if !ok || err1 != nil || err2 != nil || f < 100 || l < f || l > 999999999 {
		return fmt.Errorf("id range %q: want FIRST-LAST, such as 90000-90999", string(b))
	}
	*r = IDRange{First: f, Last: l}
	return nil
}

// MarshalText writes "22:00-06:00", or nothing for all day.
func (w Window) MarshalText() ([]byte, error) { return []byte(w.String()), nil }

func (w Window) String() string {
	if w == (Window{}) {
		return ""
	}
	return fmt.Sprintf("%02d:%02d-%02d:%02d", w.From/60, w.From%60, w.To/60, w.To%60)
}

// UnmarshalText reads "22:00-06:00". Nothing is all day, and so is the same time twice.
func (w *Window) UnmarshalText(b []byte) error {
	if len(b) == 0 {
		*w = Window{}
		return nil
	}
	from, to, _ := strings.Cut(string(b), "-")
	f, err1 := time.Parse("15:04", from)
	t, err2 := time.Parse("15:04", to)
	if err1 != nil || err2 != nil {
		return fmt.Errorf("window %q: want two times of the day in UTC, such as 22:00-06:00", string(b))
	}
	*w = Window{From: f.Hour()*60 + f.Minute(), To: t.Hour()*60 + t.Minute()}
	return nil
}

// Open says whether a moment lies in the window, which may span midnight.
func (w Window) Open(at time.Time) bool {
	at = at.UTC()
	m := at.Hour()*60 + at.Minute()
	switch {
	case w.From == w.To:
		return true
	case w.From < w.To:
		return w.From <= m && m < w.To
	}
	return m >= w.From || m < w.To
}
