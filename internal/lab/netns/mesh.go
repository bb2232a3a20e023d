package netns

import (
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/raoull/worldwidewelsh/internal/lab/site"
)

// WireGuardPort is where every site's WireGuard listens.
const WireGuardPort = 51820

const (
	// keepalive of every tunnel, both ends: below what NAT remembers.
	keepalive = 25
	// wireguardMTU leaves room for the outer headers over IPv6 (40 + 8 + 32).
	wireguardMTU = 1420
	// controlDir is where wireguard-go opens its control sockets (cross-platform
	// userspace API of WireGuard).
	controlDir = "/var/run/wireguard"
)

// startMesh runs WireGuard at every site and joins each with each.
func (r *Room) startMesh(ctx context.Context) error {
	keys := make([]*ecdh.PrivateKey, len(r.lab.Sites))
	for i := range keys {
		var err error
		if keys[i], err = ecdh.X25519().GenerateKey(rand.Reader); err != nil {
			return fmt.Errorf("make a key for WireGuard: %w", err)
		}
	}
	for i, s := range r.lab.Sites {
		iface := r.World.wireguard(i)
		cmd := exec.Command("ip", "netns", "exec", r.World.site(s.Name), "wireguard-go", "-f", iface)
		cmd.Env = append(os.Environ(), "WG_I_PREFER_BUGGY_USERSPACE_TO_POLISHED_KMOD=1", "LOG_LEVEL=error")
		if err := r.children.Start("wg/"+s.Name, cmd, filepath.Join(r.dir, s.Name+"-wg.log")); err != nil {
			return err
		}
		if err := r.await(ctx, "wg/"+s.Name, func(context.Context) error {
			_, err := os.Stat(filepath.Join(controlDir, iface+".sock"))
			return err
		}); err != nil {
			return err
		}
		if err := r.joinMesh(ctx, i, keys); err != nil {
			return err
		}
	}
	return nil
}

// joinMesh tells one site's WireGuard who the others are, and routes to them.
func (r *Room) joinMesh(ctx context.Context, i int, keys []*ecdh.PrivateKey) error {
	p, iface := r.lab.Plan(), r.World.wireguard(i)
	var conf strings.Builder
	fmt.Fprintf(&conf, "[Interface]\nPrivateKey = %s\nListenPort = %d\n", key(keys[i].Bytes()), WireGuardPort)
	lines := []string{
		fmt.Sprintf("addr add %s/32 dev %s", p.Mesh(i), iface),
		fmt.Sprintf("link set %s mtu %d up", iface, wireguardMTU),
	}
	for j := range r.lab.Sites {
		if j == i {
			continue
		}
		nets := []string{fmt.Sprintf("10.77.%d.0/24", octet(j)), fmt.Sprintf("10.10.%d.0/24", octet(j))}
		fmt.Fprintf(&conf, "[Peer]\nPublicKey = %s\nAllowedIPs = %s\nEndpoint = %s:%d\nPersistentKeepalive = %d\n",
			key(keys[j].PublicKey().Bytes()), strings.Join(nets, ", "), p.Public(j), WireGuardPort, keepalive)
		for _, n := range nets {
			lines = append(lines, fmt.Sprintf("route add %s dev %s src %s", n, iface, p.Mesh(i)))
		}
	}
	namespace := r.World.site(r.lab.Sites[i].Name)
	if err := inside(ctx, namespace, conf.String(), "wg", "setconf", iface, "/dev/stdin"); err != nil {
		return err
	}
	return batch(ctx, namespace, lines...)
}

func key(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

// tunnels checks that every site has heard of every other: a handshake needs both ways.
func (r *Room) tunnels(ctx context.Context) error {
	for i, s := range r.lab.Sites {
		cmd := exec.CommandContext(ctx, "ip", "netns", "exec", r.World.site(s.Name), "wg", "show", r.World.wireguard(i), "latest-handshakes")
		out, err := cmd.Output()
		if err != nil {
			return fmt.Errorf("ask WireGuard of %s: %w", s.Name, err)
		}
		rows := strings.Split(strings.TrimSpace(string(out)), "\n")
		if len(rows) != len(r.lab.Sites)-1 {
			return fmt.Errorf("WireGuard of %s has %d peers, want %d", s.Name, len(rows), len(r.lab.Sites)-1)
		}
		for _, row := range rows {
			if f := strings.Fields(row); len(f) != 2 || f[1] == "0" {
				return fmt.Errorf("%s and its peer %q have not shaken hands", s.Name, row)
			}
		}
	}
	return nil
}

// AwaitMesh waits until every tunnel of the mesh has been used in both directions.
func (r *Room) AwaitMesh(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	for {
		err := r.tunnels(ctx)
		if err == nil {
			return nil
		}
		if pause := site.Sleep(ctx, pollEvery); pause != nil {
			return errors.Join(errors.New("the mesh does not come up"), err)
		}
	}
}
