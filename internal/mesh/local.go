package mesh

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"syscall"
	"time"

	"golang.zx2c4.com/wireguard/wgctrl"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
)

// Errors of a local interface.
var (
	// ErrNoInterface: there is no WireGuard interface of that name.
	ErrNoInterface = errors.New("there is no such WireGuard interface")
	// ErrInterfaceDown: a userspace implementation has left its socket behind.
	ErrInterfaceDown = errors.New("the WireGuard process of the interface is gone")
	// ErrNotAllowed: reading needs CAP_NET_ADMIN (kernel) or the socket's owner (userspace).
	ErrNotAllowed = errors.New("this process may not read the WireGuard interface: give it CAP_NET_ADMIN")
)

// Device reads one WireGuard interface by name; *wgctrl.Client is one.
type Device interface {
	Device(name string) (*wgtypes.Device, error)
	Close() error
}

var _ Device = (*wgctrl.Client)(nil)

// Local reads a WireGuard interface of this machine.
type Local struct {
	Interface string
	// Open connects to the kernel and to userspace implementations; nil: wgctrl.New.
	Open func() (Device, error)
	// Now is the wall clock: the kernel tells a handshake's date.
	Now func() time.Time
}

// Peers returns the peers of the interface, ordered by key. The errors are
// ErrNoInterface, ErrInterfaceDown, ErrNotAllowed, or the system's own.
func (l Local) Peers(context.Context) (peers []Peer, err error) {
	open := l.Open
	if open == nil {
		open = func() (Device, error) { return wgctrl.New() }
	}
	// Opened for each reading: a client that outlives a crash of netlink or a
	// reload of the module would read nothing for ever.
	c, err := open()
	if err != nil {
		return nil, fmt.Errorf("open WireGuard: %w", typed(err))
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	// By name: one stale socket of another interface makes Devices fail as a whole.
	d, err := c.Device(l.Interface)
	if err != nil {
		return nil, fmt.Errorf("read WireGuard interface %s: %w", l.Interface, typed(err))
	}
	now := l.Now()
	for _, p := range d.Peers {
		peers = append(peers, localPeer(l.Interface, p, now))
	}
	slices.SortFunc(peers, compareKeys)
	return peers, nil
}

func typed(err error) error {
	switch {
	case errors.Is(err, os.ErrNotExist):
		return ErrNoInterface
	case errors.Is(err, syscall.ECONNREFUSED):
		return ErrInterfaceDown
	case errors.Is(err, os.ErrPermission):
		return ErrNotAllowed
	}
	return err
}

func localPeer(name string, p wgtypes.Peer, now time.Time) Peer {
	out := Peer{
		Interface: name, PublicKey: p.PublicKey.String(), Keepalive: p.PersistentKeepaliveInterval,
		Handshake: NoHandshake, Rx: uint64(max(0, p.ReceiveBytes)), Tx: uint64(max(0, p.TransmitBytes)),
	}
	if !p.LastHandshakeTime.IsZero() {
		// A date of the wall clock: after a step back it lies in the future.
		out.Handshake = max(0, now.Sub(p.LastHandshakeTime))
	}
	if p.Endpoint != nil {
		if a, ok := netip.AddrFromSlice(p.Endpoint.IP); ok && p.Endpoint.Port > 0 && p.Endpoint.Port < 1<<16 {
			out.Endpoint = netip.AddrPortFrom(a.Unmap().WithZone(p.Endpoint.Zone), uint16(p.Endpoint.Port))
		}
	}
	for _, n := range p.AllowedIPs {
		a, ok := netip.AddrFromSlice(n.IP)
		ones, _ := n.Mask.Size()
		if ok {
			out.AllowedIPs = append(out.AllowedIPs, netip.PrefixFrom(a.Unmap(), ones))
		}
	}
	return out
}
