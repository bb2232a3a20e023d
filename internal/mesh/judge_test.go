package mesh_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/internal/mesh"
)

// reading is one look at a peer: at a second, counters, and the age of the handshake.
type reading struct {
	at, rx, tx int
	handshake  int // seconds; -1: never
	endpoint   string
}

func (r reading) peer(keepalive time.Duration) mesh.Peer {
	p := mesh.Peer{
		Interface: "wg0", PublicKey: "K", Rx: uint64(r.rx), Tx: uint64(r.tx), Keepalive: keepalive,
		Handshake: time.Duration(r.handshake) * time.Second,
	}
	if r.handshake < 0 {
		p.Handshake = mesh.NoHandshake
	}
	if r.endpoint != "" {
		p.Endpoint = netip.MustParseAddrPort(r.endpoint)
	}
	return p
}

// every makes readings of a second each from one to another, with counters that
// grow by a step per 25 s (a keepalive) or stand.
func every(from, to, rx0, rxStep, tx0, txStep, handshake0 int) []reading {
	var out []reading
	for at := from; at <= to; at += 15 {
		n := (at - from) / 25
		out = append(out, reading{at: at, rx: rx0 + n*rxStep, tx: tx0 + n*txStep, handshake: handshake0 + at - from})
	}
	return out
}

func join(parts ...[]reading) []reading {
	var out []reading
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}

func TestJudge(t *testing.T) {
	healthy := every(0, 150, 1000, 32, 1000, 32, 0)
	for name, tt := range map[string]struct {
		readings  []reading
		keepalive time.Duration
		want      mesh.Signal
		longer    time.Duration // For is at least this
		shorter   time.Duration // and at most this
		note      string
	}{
		"one reading proves nothing, however young the handshake": {
			readings: []reading{{at: 0, rx: 5000, tx: 5000, handshake: 3}}, want: mesh.SignalFresh,
		},
		"idle but for keepalives, the handshake 150 s old": {readings: healthy, want: mesh.SignalWorks},
		// Without keepalive and traffic the age grows without bound on a healthy link.
		"no traffic for an hour, the handshake an hour old": {
			readings: every(0, 3600, 1000, 0, 1000, 0, 100), want: mesh.SignalIdle, note: "no session",
		},
		"cut for 45 s: not yet": {
			readings: join(healthy, every(155, 200, 1192, 0, 1192, 148, 20)), want: mesh.SignalWorks,
		},
		// The reference's cut of 200 s: rx frozen, tx growing. The handshake is younger than 180 s.
		"cut for 100 s, the handshake still young": {
			readings: join(healthy, every(155, 260, 1192, 0, 1192, 148, 20)),
			want:     mesh.SignalFrozen, longer: 60 * time.Second, shorter: 105 * time.Second, note: "last handshake 2m5s ago",
		},
		"cut for 200 s: the handshake confirms": {
			readings: join(healthy, every(155, 365, 1192, 0, 1192, 148, 100)),
			want:     mesh.SignalFrozen, longer: 150 * time.Second, shorter: 210 * time.Second, note: "no session",
		},
		"healed": {
			readings: join(every(0, 300, 1000, 0, 1000, 148, 10), []reading{{at: 315, rx: 1092, tx: 4000, handshake: 1}}),
			want:     mesh.SignalWorks,
		},
		"idle for ten minutes, then the first packet: the answer is under way": {
			readings: join(every(0, 600, 1000, 0, 1000, 0, 0), []reading{{at: 615, rx: 1000, tx: 1148, handshake: 615}}),
			want:     mesh.SignalFresh,
		},
		"we sent once and then nothing any more": {
			readings: join([]reading{{at: 0, rx: 10, tx: 10}, {at: 15, rx: 10, tx: 42}}, every(30, 300, 10, 0, 42, 0, 30)),
			want:     mesh.SignalIdle,
		},
		"never a handshake, initiations only": {
			readings: func() []reading {
				r := every(0, 120, 0, 0, 148, 740, 0)
				for i := range r {
					r[i].handshake = -1
				}
				return r
			}(),
			want: mesh.SignalFrozen, longer: 60 * time.Second, shorter: 120 * time.Second, note: "never a handshake",
		},
		"the counters ran back: the peer is a new one": {
			readings: join(every(0, 150, 9000, 0, 9000, 148, 0), []reading{{at: 165, rx: 100, tx: 100, handshake: 1}}),
			want:     mesh.SignalFresh,
		},
		"a keepalive of a minute needs longer": {
			readings:  join([]reading{{at: 0, rx: 10, tx: 10}, {at: 15, rx: 42, tx: 10}}, every(30, 135, 42, 0, 11, 148, 30)),
			keepalive: time.Minute, want: mesh.SignalWorks,
		},
	} {
		t.Run(name, func(t *testing.T) {
			keepalive := tt.keepalive
			if keepalive == 0 {
				keepalive = 25 * time.Second
			}
			var w mesh.Watch
			var got mesh.Judgement
			for _, r := range tt.readings {
				w, got = mesh.Judge(w, r.peer(keepalive), time.Duration(r.at)*time.Second)
			}
			if got.Signal != tt.want || got.For < tt.longer || got.For > tt.shorter {
				t.Errorf("got %+v, want %s for %s to %s", got, tt.want, tt.longer, tt.shorter)
			}
			if !strings.Contains(got.Note, tt.note) {
				t.Errorf("note %q, want it to contain %q", got.Note, tt.note)
			}
		})
	}
}

// TestHandshakeAgeDecidesNothing: whatever the age, the signal is the same.
func TestHandshakeAgeDecidesNothing(t *testing.T) {
	for _, script := range [][]reading{
		every(0, 300, 0, 32, 0, 32, 0), every(0, 300, 0, 0, 0, 148, 0), every(0, 300, 0, 0, 0, 0, 0), every(0, 300, 0, 32, 0, 0, 0),
	} {
		var signals []string
		for _, age := range []int{-1, 0, 90, 179, 181, 100000} {
			var w mesh.Watch
			var j mesh.Judgement
			for _, r := range script {
				r.handshake = age
				w, j = mesh.Judge(w, r.peer(25*time.Second), time.Duration(r.at)*time.Second)
			}
			signals = append(signals, fmt.Sprint(j.Signal, j.For))
		}
		for _, s := range signals {
			if s != signals[0] {
				t.Errorf("by age of the handshake: %v", signals)
				break
			}
		}
	}
}

func TestJudgeSeesRoaming(t *testing.T) {
	var w mesh.Watch
	var got []bool
	for i, ep := range []string{"", "203.0.113.7:51820", "203.0.113.7:51820", "198.51.100.9:4242", "", "198.51.100.9:4242"} {
		var j mesh.Judgement
		w, j = mesh.Judge(w, reading{at: i, rx: i, tx: i, endpoint: ep}.peer(0), time.Duration(i)*time.Second)
		got = append(got, j.Roamed)
	}
	if want := []bool{false, false, false, true, false, false}; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("roamed %v, want %v", got, want)
	}
}

func TestForTakesTheLongestPrefix(t *testing.T) {
	peers := []mesh.Peer{
		{PublicKey: "wide", AllowedIPs: []netip.Prefix{netip.MustParsePrefix("10.66.0.0/16")}},
		{PublicKey: "narrow", AllowedIPs: []netip.Prefix{netip.MustParsePrefix("10.77.0.2/32"), netip.MustParsePrefix("10.66.2.0/24")}},
		{PublicKey: "off", Disabled: true, AllowedIPs: []netip.Prefix{netip.MustParsePrefix("10.66.2.254/32")}},
	}
	for addr, want := range map[string]string{
		"10.77.0.2": "narrow", "10.66.2.254": "narrow", "10.66.3.1": "wide", "::ffff:10.66.3.1": "wide", "192.0.2.1": "",
	} {
		if p, ok := mesh.For(peers, netip.MustParseAddr(addr)); p.PublicKey != want || ok != (want != "") {
			t.Errorf("%s: %q %v, want %q", addr, p.PublicKey, ok, want)
		}
	}
}
