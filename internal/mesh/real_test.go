package mesh_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"testing"
	"time"

	"golang.zx2c4.com/wireguard/wgctrl"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/raoull/worldwidewelsh/internal/mesh"
)

// lack names what a real interface needs and this machine lacks. It skips the
// test, but not where everything has to be checked.
func lack(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s, and CI=true demands it", what)
	}
	t.Skip(what)
}

// startInterface runs wireguard-go in the foreground for one interface.
func startInterface(t *testing.T, name string) {
	t.Helper()
	if os.Geteuid() != 0 {
		lack(t, "not root: a WireGuard interface cannot be made")
	}
	if _, err := os.Stat("/dev/net/tun"); err != nil {
		lack(t, "/dev/net/tun is missing")
	}
	path, err := exec.LookPath("wireguard-go")
	if err != nil {
		lack(t, "wireguard-go is not installed (Debian: wireguard-go)")
	}
	cmd := exec.Command(path, "-f", name) // -f: as a daemon it may hang
	cmd.Env = append(os.Environ(), "LOG_LEVEL=error")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_ = os.Remove("/var/run/wireguard/" + name + ".sock")
	})
}

// eventually polls until done, for at most ten seconds.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	late := time.After(10 * time.Second)
	for !done() {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("%s: not within 10 s", what)
		}
	}
}

// TestRealInterfaces reads two interfaces of wireguard-go that are each other's peers.
func TestRealInterfaces(t *testing.T) {
	c, err := wgctrl.New()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	names := [2]string{fmt.Sprintf("wwa%d", os.Getpid()), fmt.Sprintf("wwb%d", os.Getpid())}
	var keys [2]wgtypes.Key
	for i, name := range names {
		startInterface(t, name)
		keys[i], err = wgtypes.GeneratePrivateKey()
		if err != nil {
			t.Fatal(err)
		}
		eventually(t, name, func() bool {
			return c.ConfigureDevice(name, wgtypes.Config{PrivateKey: &keys[i]}) == nil
		})
		if out, err := exec.Command("ip", "link", "set", name, "up").CombinedOutput(); err != nil {
			t.Fatalf("ip link: %v %s", err, out)
		}
	}
	var ports [2]int
	for i, name := range names {
		d, err := c.Device(name)
		if err != nil {
			t.Fatal(err)
		}
		ports[i] = d.ListenPort
	}
	keepalive := time.Second
	for i, name := range names {
		err := c.ConfigureDevice(name, wgtypes.Config{Peers: []wgtypes.PeerConfig{{
			PublicKey: keys[1-i].PublicKey(), PersistentKeepaliveInterval: &keepalive,
			Endpoint:   &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: ports[1-i]},
			AllowedIPs: []net.IPNet{{IP: net.IPv4(10, 254, 77, byte(i)), Mask: net.CIDRMask(32, 32)}},
		}}})
		if err != nil {
			t.Fatal(err)
		}
	}
	l := mesh.Local{Interface: names[0], Now: time.Now}
	start := time.Now()
	var w mesh.Watch
	var j mesh.Judgement
	eventually(t, "bytes from the peer", func() bool {
		peers, err := l.Peers(t.Context())
		if err != nil || len(peers) != 1 {
			t.Fatalf("%d peers, %v", len(peers), err)
		}
		w, j = mesh.Judge(w, peers[0], time.Since(start))
		return j.Signal == mesh.SignalWorks && peers[0].Handshake >= 0 && peers[0].Endpoint.IsValid()
	})
	if _, err := (mesh.Local{Interface: "wwnone", Now: time.Now}).Peers(t.Context()); !errors.Is(err, mesh.ErrNoInterface) {
		t.Errorf("no such interface: %v", err)
	}
}
