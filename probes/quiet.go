package probes

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Quiet looks whether addresses of the local network are used by nobody, in two ways: does
// anybody answer ARP for them, and ping at them? A neighbour that must answer says that
// the network itself works; without it silence means nothing.
type Quiet struct {
	Addresses []netip.Addr // IPv4, each in a network of this machine
	Witnesses []netip.Addr // the same; one at least in the network of each address
	Ping      func(from, to netip.Addr) (net.Conn, error)
	Table     func() ([]Neighbour, error) // the kernel's, after it has been made to ask
	Networks  func() ([]netip.Prefix, error)
}

// NewQuiet looks with this machine's own network.
func NewQuiet(addresses, witnesses []netip.Addr) Quiet {
	return Quiet{Addresses: addresses, Witnesses: witnesses, Ping: PingDial, Table: Neighbours, Networks: ownNetworks}
}

// quietWait is how long answers are waited for: the kernel asks three times, a second apart (arp(7): mcast_solicit,
// retrans_time), before it gives an address up.
const quietWait = 3500 * time.Millisecond

// Look asks once. Silent says that no address answered in either way and every witness answered ARP; what
// tells what was seen, and err why that is no evidence.
func (q Quiet) Look(ctx context.Context) (silent bool, what string, err error) {
	if err := q.reachable(); err != nil {
		return false, "", err
	}
	ctx, cancel := context.WithTimeout(ctx, quietWait)
	defer cancel()
	pinged, err := q.pings(ctx)
	if err != nil {
		return false, "", err
	}
	table, err := q.Table()
	if err != nil {
		return false, "", err
	}
	answers := func(a netip.Addr) bool {
		return slices.ContainsFunc(table, func(n Neighbour) bool { return n.Addr == a && n.Answers })
	}
	for _, a := range q.Addresses {
		switch arp := answers(a); {
		case arp && pinged[a]:
			return false, fmt.Sprintf("%s answers ARP and ping", a), nil
		case arp:
			return false, fmt.Sprintf("%s answers ARP", a), nil
		case pinged[a]:
			return false, fmt.Sprintf("%s answers ping", a), nil
		}
	}
	for _, w := range q.Witnesses {
		if !answers(w) {
			return false, "", fmt.Errorf("%s does not answer ARP, either: the network itself may be broken", w)
		}
	}
	return true, fmt.Sprintf("%s silent to ARP and ping, while %s answers", list(q.Addresses), list(q.Witnesses)), nil
}

// reachable demands a network of this machine for each address, with a witness in it: of what is
// behind a router ARP says nothing.
func (q Quiet) reachable() error {
	if len(q.Addresses) == 0 {
		return errors.New("no address to look for")
	}
	own, err := q.Networks()
	if err != nil {
		return err
	}
	for _, a := range q.Addresses {
		i := slices.IndexFunc(own, func(p netip.Prefix) bool { return p.Contains(a) })
		if i < 0 {
			return fmt.Errorf("%s is in no network of this machine", a)
		}
		if !slices.ContainsFunc(q.Witnesses, own[i].Contains) {
			return fmt.Errorf("no witness in %s, the network of %s", own[i].Masked(), a)
		}
	}
	return nil
}

// pings asks everybody at the same time and returns who answered in time.
func (q Quiet) pings(ctx context.Context) (map[netip.Addr]bool, error) {
	type answer struct {
		from netip.Addr
		ok   bool
		err  error
	}
	all, p := slices.Concat(q.Addresses, q.Witnesses), prober{Config{Ping: q.Ping, Packets: func(int) {}}}
	answers := make(chan answer, len(all))
	for _, a := range all {
		go func() {
			r := p.icmp(ctx, Target{Name: a.String(), Kind: KindICMP, Addr: netip.AddrPortFrom(a, 0)})
			out := answer{from: a, ok: r.Seen.Alive()}
			if r.Note == errPingForbidden.Error() {
				out.err = errPingForbidden
			}
			answers <- out
		}()
	}
	out := map[netip.Addr]bool{}
	var errs []error
	for range all {
		a := <-answers
		out[a.from] = a.ok
		errs = append(errs, a.err)
	}
	return out, errors.Join(errs...)
}

// Neighbour is an entry of the kernel's table of neighbours.
type Neighbour struct {
	Addr    netip.Addr
	Answers bool // its hardware address is known
}

// arpTable is where Linux shows it, for IPv4 (proc_pid_net(5)); complete is ATF_COM of its flags (arp(7)). The path is this
// process' own, which a unit with ProcSubset=pid has, too.
const (
	arpTable    = "/proc/self/net/arp"
	arpComplete = 0x02
)

// Neighbours reads the table.
func Neighbours() ([]Neighbour, error) {
	b, err := os.ReadFile(arpTable)
	if err != nil {
		return nil, fmt.Errorf("read the table of neighbours: %w", err)
	}
	return ParseNeighbours(b)
}

// ParseNeighbours reads lines of "IP address, HW type, Flags, HW address, Mask, Device" below one of titles.
func ParseNeighbours(b []byte) ([]Neighbour, error) {
	var out []Neighbour
	lines := bufio.NewScanner(bytes.NewReader(b))
	for n := 1; lines.Scan(); n++ {
		words := strings.Fields(lines.Text())
		if n == 1 || len(words) == 0 {
			continue
		}
		if len(words) < 6 {
			return nil, fmt.Errorf("%s:%d: %q has no six columns", arpTable, n, lines.Text())
		}
		addr, err := netip.ParseAddr(words[0])
		flags, err2 := strconv.ParseUint(words[2], 0, 32)
		if err := errors.Join(err, err2); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", arpTable, n, err)
		}
		out = append(out, Neighbour{Addr: addr, Answers: flags&arpComplete != 0})
	}
	return out, lines.Err()
}

// routes is where Linux shows IPv4's (proc_pid_net(5)); flags of route(8). It is read rather than asked for by netlink,
// which the unit of the agent forbids.
const (
	routes       = "/proc/self/net/route"
	routeUp      = 0x1
	routeGateway = 0x2
)

// ownNetworks are those that this machine reaches without a router.
func ownNetworks() ([]netip.Prefix, error) {
	b, err := os.ReadFile(routes)
	if err != nil {
		return nil, fmt.Errorf("read routes: %w", err)
	}
	return ParseRoutes(b)
}

// ParseRoutes reads lines of "Iface, Destination, Gateway, Flags, RefCnt, Use, Metric, Mask, …" below one of titles, numbers
// in hexadecimal and addresses as this machine keeps them, and returns the networks without a gateway.
func ParseRoutes(b []byte) ([]netip.Prefix, error) {
	var out []netip.Prefix
	lines := bufio.NewScanner(bytes.NewReader(b))
	for n := 1; lines.Scan(); n++ {
		words := strings.Fields(lines.Text())
		if n == 1 || len(words) == 0 {
			continue
		}
		if len(words) < 8 {
			return nil, fmt.Errorf("%s:%d: %q has no eight columns", routes, n, lines.Text())
		}
		to, err := strconv.ParseUint(words[1], 16, 32)
		flags, err2 := strconv.ParseUint(words[3], 16, 32)
		mask, err3 := strconv.ParseUint(words[7], 16, 32)
		if err := errors.Join(err, err2, err3); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", routes, n, err)
		}
		if ones := bits.OnesCount32(uint32(mask)); ones > 0 && ones < 32 && flags&routeUp != 0 && flags&routeGateway == 0 {
			var a [4]byte
			binary.NativeEndian.PutUint32(a[:], uint32(to))
			out = append(out, netip.PrefixFrom(netip.AddrFrom4(a), ones))
		}
	}
	return out, lines.Err()
}

func list(addrs []netip.Addr) string {
	var out []string
	for _, a := range addrs {
		out = append(out, a.String())
	}
	return strings.Join(out, ", ")
}
