package mesh_test

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/raoull/worldwidewelsh/internal/mesh"
)

type device struct {
	err    error
	peers  []wgtypes.Peer
	closed *int
}

func (d device) Device(string) (*wgtypes.Device, error) {
	if d.err != nil {
		return nil, d.err
	}
	return &wgtypes.Device{Peers: d.peers}, nil
}

func (d device) Close() error { *d.closed++; return nil }

func local(d device) (mesh.Local, *int) {
	closed := 0
	d.closed = &closed
	return mesh.Local{
		Interface: "wg-ww", Now: func() time.Time { return began },
		Open: func() (mesh.Device, error) { return d, nil },
	}, &closed
}

func TestLocalPeers(t *testing.T) {
	_, v4, _ := net.ParseCIDR("10.77.0.2/32")
	_, v6, _ := net.ParseCIDR("fd66:2::/64")
	l, closed := local(device{peers: []wgtypes.Peer{
		{
			PublicKey: wgtypes.Key{2}, Endpoint: &net.UDPAddr{IP: net.ParseIP("203.0.113.2"), Port: 51820},
			PersistentKeepaliveInterval: 25 * time.Second, LastHandshakeTime: began.Add(-90 * time.Second),
			ReceiveBytes: 100, TransmitBytes: 200, AllowedIPs: []net.IPNet{*v4, *v6},
		},
		{PublicKey: wgtypes.Key{1}},
		{PublicKey: wgtypes.Key{3}, LastHandshakeTime: began.Add(time.Hour)}, // the clock was set back
	}})
	got, err := l.Peers(t.Context())
	if err != nil || len(got) != 3 || *closed != 1 {
		t.Fatalf("%d peers, %v, closed %d times", len(got), err, *closed)
	}
	if got[0].Handshake != mesh.NoHandshake || got[0].Endpoint.IsValid() {
		t.Errorf("never heard of: %+v", got[0])
	}
	p := got[1]
	want := fmt.Sprint(netip.MustParseAddrPort("203.0.113.2:51820"), []netip.Prefix{netip.MustParsePrefix("10.77.0.2/32"), netip.MustParsePrefix("fd66:2::/64")})
	if fmt.Sprint(p.Endpoint, p.AllowedIPs) != want || p.Handshake != 90*time.Second || p.Rx != 100 || p.Tx != 200 || p.Keepalive != 25*time.Second {
		t.Errorf("got %+v", p)
	}
	if got[2].Handshake != 0 {
		t.Errorf("a handshake in the future: %s ago", got[2].Handshake)
	}
}

func TestLocalErrors(t *testing.T) {
	for _, tt := range []struct{ err, want error }{
		{os.ErrNotExist, mesh.ErrNoInterface},
		{&net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}, mesh.ErrInterfaceDown},
		{os.NewSyscallError("netlink", syscall.EPERM), mesh.ErrNotAllowed},
		{syscall.EIO, syscall.EIO},
	} {
		l, closed := local(device{err: tt.err})
		if _, err := l.Peers(t.Context()); !errors.Is(err, tt.want) || *closed != 1 {
			t.Errorf("%v: %v, closed %d times; want %v", tt.err, err, *closed, tt.want)
		}
	}
}
