package probes_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/probes"
)

func TestHealth(t *testing.T) {
	s := time.Second
	type look struct {
		mono, ahead time.Duration // ahead: of the wall clock before the monotonic one
		late        float64
		disk        error
		uplinkDown  int
	}
	full := errors.New("read-only file system")
	at := func(from, to time.Duration, l look) []look { // once a second
		var out []look
		for m := from; m <= to; m += s {
			l.mono = m
			out = append(out, l)
		}
		return out
	}
	for _, tc := range []struct {
		name  string
		looks []look
		at    time.Duration
		want  []string
	}{
		{"never looked", nil, time.Hour, []string{"starting"}},
		{"just started", at(0, 3*s, look{}), 3 * s, []string{"starting"}},
		{"well", at(0, 20*s, look{}), 20 * s, nil},
		{"the clock jumps ahead", slices.Concat(at(0, 20*s, look{}), at(21*s, 30*s, look{ahead: 3 * s})), 30 * s, []string{"clock-jump"}},
		{"the clock jumps back", slices.Concat(at(0, 20*s, look{}), at(21*s, 30*s, look{ahead: -time.Hour})), 80 * s, []string{"clock-jump"}},
		{"a minute after the jump", slices.Concat(at(0, 20*s, look{}), at(21*s, 81*s, look{ahead: 3 * s})), 81 * s, nil},
		{"a small step", slices.Concat(at(0, 20*s, look{}), at(21*s, 30*s, look{ahead: 2 * s})), 30 * s, nil},
		{"late by two intervals", at(0, 20*s, look{late: 2}), 20 * s, nil},
		{"late by more", at(0, 20*s, look{late: 2.1}), 20 * s, []string{"overloaded"}},
		{"punctual for nine seconds", slices.Concat(at(0, 20*s, look{late: 5}), at(21*s, 29*s, look{})), 29 * s, []string{"overloaded"}},
		{"punctual for ten", slices.Concat(at(0, 20*s, look{late: 5}), at(21*s, 30*s, look{})), 30 * s, nil},
		{"the disk is read-only", at(0, 20*s, look{disk: full}), 20 * s, []string{"disk"}},
		{"the disk works again", slices.Concat(at(0, 20*s, look{disk: full}), at(21*s, 21*s, look{})), 21 * s, nil},
		{"no way out", at(0, 20*s, look{uplinkDown: 1}), 20 * s, []string{"uplink"}},
		{"the way out is back for nine seconds", slices.Concat(at(0, 20*s, look{uplinkDown: 1}), at(21*s, 29*s, look{})), 29 * s, []string{"uplink"}},
		{"the way out is back for ten", slices.Concat(at(0, 20*s, look{uplinkDown: 1}), at(21*s, 30*s, look{})), 30 * s, nil},
		{"the way out comes and goes", slices.Concat(at(0, 20*s, look{uplinkDown: 1}), at(21*s, 25*s, look{}), at(26*s, 26*s, look{uplinkDown: 1}), at(27*s, 35*s, look{})), 35 * s, []string{"uplink"}},
		{
			"everything", slices.Concat(at(0, 5*s, look{}), at(6*s, 6*s, look{ahead: time.Minute, late: 9, disk: full, uplinkDown: 1})), 6 * s,
			[]string{"clock-jump", "disk", "overloaded", "starting", "uplink"},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := probes.NewHealth(0)
			for _, l := range tc.looks {
				h.Observe(probes.Input{
					Wall: began.Add(l.mono + l.ahead), Mono: l.mono, Late: l.late, Disk: l.disk, Well: l.uplinkDown == 0,
				})
			}
			if got := h.Unwell(tc.at); !slices.Equal(got, tc.want) {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
	long := probes.NewHealth(time.Minute)
	long.Observe(probes.Input{Wall: began, Well: true})
	if got := long.Unwell(59 * s); !slices.Equal(got, []string{"starting"}) {
		t.Errorf("with a grace of a minute, after 59 s: %q", got)
	}
}
