package main

import (
	"fmt"
	"strings"

	"github.com/raoull/worldwidewelsh/internal/lab/site"
	"github.com/raoull/worldwidewelsh/internal/network"
)

// agentConfig returns the wwwd.yaml of a site's agent. The agent listens on the
// backend addresses and shows the forwarders' to the others; it dials from the
// addresses that the forwarders know as its own.
func agentConfig(l *site.Lab, dir string, i int) (string, error) {
	p, name := l.Plan(), l.Sites[i].Name
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("# Agent of site %s of a lab; wwwlab wrote it.", name)
	line("network: %s", l.Network)
	line("site: %s", name)
	line("data_dir: %q", secretFile(dir, name, "data"))
	line("socket: %q", agentSocket(dir, name))
	line("listen:")
	line("  mesh: \"%s:%d\"", p.MeshBackend(i), site.MeshPort)
	line("  metrics: \"%s:%d\"", p.Management(i), site.MetricsPort)
	line("  dns: [\"%s:%d\"]", p.PublicBackend(i), site.DNSPort)
	line("advertise: \"%s:%d\"", p.Mesh(i), site.MeshPort)
	line("dial: {mesh: %s, public: %s}", p.Mesh(i), p.Public(i))
	line("tls: {ca: %q, cert: %q, key: %q}", secretFile(dir, name, "ca.crt"), secretFile(dir, name, "agent.crt"), secretFile(dir, name, "agent.key"))
	if l.Sites[i].Kind != network.Witness {
		if err := proxmoxConfig(line, l, dir, i); err != nil {
			return "", err
		}
	}
	pins, err := pinConfig(l, dir)
	if err != nil {
		return "", err
	}
	line("probe_fingerprints:\n%s", pins)
	line("ready_every: 2s")
	line("log: {level: info, format: text}")
	line("lab: {startup_grace: 3s}")
	return b.String(), nil
}

// proxmoxConfig writes how the agent reaches its site's own Proxmox.
func proxmoxConfig(line func(string, ...any), l *site.Lab, dir string, i int) error {
	name := l.Sites[i].Name
	var inventory []string
	for _, h := range l.Hosts(i) {
		if h.Owner != network.OwnerRaoull {
			if !h.PVE {
				continue
			}
			print, err := site.Fingerprint(dir, name, "pve", h.Name)
			if err != nil {
				return err
			}
			inventory = append(inventory, fmt.Sprintf("  %s: {token_file: %q, fingerprint: %q}", h.Name, secretFile(dir, name, "pve.token"), print))
			continue
		}
		for kind, has := range map[string]bool{"pve": h.PVE, "pbs": h.PBS} {
			if !has {
				continue
			}
			print, err := site.Fingerprint(dir, name, kind, h.Name)
			if err != nil {
				return err
			}
			if kind == "pve" {
				line("helper_socket: %q", site.HelperSocket(dir, name))
			}
			line("%s: {token_file: %q, fingerprint: %q}", kind, secretFile(dir, name, kind+".token"), print)
		}
	}
	if len(inventory) > 0 {
		line("inventory:\n%s", strings.Join(inventory, "\n"))
	}
	return nil
}

// pinConfig writes the certificates that probes expect of every host.
func pinConfig(l *site.Lab, dir string) (string, error) {
	var out []string
	for i, s := range l.Sites {
		for _, h := range l.Hosts(i) {
			var pins []string
			for kind, has := range map[string]bool{"pve": h.PVE, "pbs": h.PBS} {
				if !has {
					continue
				}
				print, err := site.Fingerprint(dir, s.Name, kind, h.Name)
				if err != nil {
					return "", err
				}
				pins = append(pins, fmt.Sprintf("%s: %q", kind, print))
			}
			out = append(out, fmt.Sprintf("  %s: {%s}", h.Name, strings.Join(pins, ", ")))
		}
	}
	return strings.Join(out, "\n"), nil
}
