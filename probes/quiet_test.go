package probes_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/probes"
)

var (
	deadHost, itsGuest, witness = netip.MustParseAddr("10.10.1.10"), netip.MustParseAddr("10.120.0.11"), netip.MustParseAddr("10.10.1.1")
	otherWitness                = netip.MustParseAddr("10.120.0.1")
)

// echoing answers an echo request; silent ones wait for their deadline.
type echoing struct {
	net.Conn
	reply []byte
}

func (e *echoing) Write(b []byte) (int, error) {
	e.reply = append([]byte{0}, b[1:]...) // RFC 792: type 0 is the reply
	return len(b), nil
}
func (e *echoing) Read(b []byte) (int, error)  { return copy(b, e.reply), nil }
func (e *echoing) Close() error                { return nil }
func (e *echoing) SetDeadline(time.Time) error { return nil }

// lan is a network as a machine with an address in each of both sees it.
func lan(arp, pings []netip.Addr) probes.Quiet {
	has := func(list []netip.Addr, a netip.Addr) bool {
		for _, b := range list {
			if a == b {
				return true
			}
		}
		return false
	}
	return probes.Quiet{
		Addresses: []netip.Addr{deadHost, itsGuest}, Witnesses: []netip.Addr{witness, otherWitness},
		Ping: func(_, to netip.Addr) (net.Conn, error) {
			if has(pings, to) {
				return &echoing{}, nil
			}
			return nil, errors.New("no route to host")
		},
		Table: func() ([]probes.Neighbour, error) {
			var out []probes.Neighbour
			for _, a := range []netip.Addr{deadHost, itsGuest, witness, otherWitness} {
				out = append(out, probes.Neighbour{Addr: a, Answers: has(arp, a)})
			}
			return out, nil
		},
		Networks: func() ([]netip.Prefix, error) {
			return []netip.Prefix{netip.MustParsePrefix("10.10.1.20/24"), netip.MustParsePrefix("10.120.0.2/16")}, nil
		},
	}
}

// TestQuiet: silence is proof only where every address is silent in both ways, and the network works.
func TestQuiet(t *testing.T) {
	both := []netip.Addr{witness, otherWitness}
	for what, tt := range map[string]struct {
		arp, pings []netip.Addr
		change     func(q *probes.Quiet)
		silent     bool
		says       string // in what was seen, or in the error
	}{
		"nobody":                         {arp: both, silent: true, says: "silent to ARP and ping"},
		"the host":                       {arp: append([]netip.Addr{deadHost}, both...), pings: []netip.Addr{deadHost}, says: "10.10.1.10 answers ARP and ping"},
		"a guest that drops ping":        {arp: append([]netip.Addr{itsGuest}, both...), says: "10.120.0.11 answers ARP"},
		"a guest that only answers ping": {arp: both, pings: []netip.Addr{itsGuest}, says: "10.120.0.11 answers ping"},
		"a network that is dead":         {says: "the network itself"},
		"one network of two is dead":     {arp: []netip.Addr{witness}, says: "10.120.0.1 does not answer ARP, either"},
		"an address behind a router": {arp: both, says: "10.120.0.11 is in no network", change: func(q *probes.Quiet) {
			q.Networks = func() ([]netip.Prefix, error) { return []netip.Prefix{netip.MustParsePrefix("10.10.1.20/24")}, nil }
		}},
		"a network without a witness": {arp: both, says: "no witness in 10.120.0.0/16", change: func(q *probes.Quiet) { q.Witnesses = q.Witnesses[:1] }},
		"no address":                  {says: "no address", change: func(q *probes.Quiet) { q.Addresses = nil }},
	} {
		t.Run(what, func(t *testing.T) {
			q := lan(tt.arp, tt.pings)
			if tt.change != nil {
				tt.change(&q)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			silent, says, err := q.Look(ctx)
			if err != nil {
				says = err.Error()
			}
			if silent != tt.silent || !strings.Contains(says, tt.says) {
				t.Errorf("silent %t: %q, want %t and %q", silent, says, tt.silent, tt.says)
			}
		})
	}
}

func TestNeighboursOfTheKernel(t *testing.T) {
	const table = `IP address       HW type     Flags       HW address            Mask     Device
192.0.2.1        0x1         0x2         02:fc:00:00:00:05     *        eth0
192.0.2.9        0x1         0x0         00:00:00:00:00:00     *        eth0
`
	got, err := probes.ParseNeighbours([]byte(table))
	if err != nil || len(got) != 2 || !got[0].Answers || got[1].Answers || got[1].Addr != netip.MustParseAddr("192.0.2.9") {
		t.Errorf("got %v, %v; want one that answers and one that does not", got, err)
	}
	for _, bad := range []string{"x\n1 2 3\n", "x\nhere 0x1 0x2 02:fc:00:00:00:05 * eth0\n", "x\n192.0.2.1 0x1 two 02:fc:00:00:00:05 * eth0\n"} {
		if _, err := probes.ParseNeighbours([]byte(bad)); err == nil || !strings.Contains(err.Error(), ":2:") {
			t.Errorf("%q: %v, want an error that names the line", bad, err)
		}
	}
}

func TestOwnNetworks(t *testing.T) {
	// As a machine with the lowest byte first shows 10.10.1.0/24 and a default route by 10.10.1.1.
	const table = `Iface	Destination	Gateway 	Flags	RefCnt	Use	Metric	Mask		MTU	Window	IRTT
eth0	00000000	01010A0A	0003	0	0	0	00000000	0	0	0
eth0	00010A0A	00000000	0001	0	0	0	00FFFFFF	0	0	0
eth0	0000A8C0	01010A0A	0003	0	0	0	0000FFFF	0	0	0
eth1	0000780A	00000000	0000	0	0	0	0000FFFF	0	0	0
`
	got, err := probes.ParseRoutes([]byte(table))
	if err != nil || len(got) != 1 || got[0] != netip.MustParsePrefix("10.10.1.0/24") {
		t.Errorf("got %v, %v; want 10.10.1.0/24, which is up and behind no router", got, err)
	}
	for _, bad := range []string{"x\neth0 0 0\n", "x\neth0 zz 0 1 0 0 0 0\n"} {
		if _, err := probes.ParseRoutes([]byte(bad)); err == nil || !strings.Contains(err.Error(), ":2:") {
			t.Errorf("%q: %v, want an error that names the line", bad, err)
		}
	}
}
