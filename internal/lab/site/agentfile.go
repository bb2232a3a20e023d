package site

import (
	"fmt"
	"strings"

	"github.com/raoull/worldwidewelsh/internal/network"
)

// agentConfig returns the wwwd.yaml of a site's agent. The agent listens on the
// backend addresses and shows the forwarders' to the others; it dials from the
// addresses that the forwarders know as its own.
func (l *Lab) agentConfig(dir string, i int) (string, error) {
	p, ports, name := l.Plan(), l.Ports(), l.Sites[i].Name
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("# Agent of site %s of a lab; the lab wrote it.", name)
	line("network: %s", l.Network)
	line("site: %s", name)
	line("data_dir: %q", AgentData(dir, name))
	line("socket: %q", AgentSocket(dir, name))
	line("listen:")
	line("  mesh: \"%s:%d\"", p.MeshBackend(i), ports.Mesh)
	line("  metrics: \"%s:%d\"", p.Management(i), ports.Metrics)
	line("  dns: [\"%s:%d\"]", p.PublicBackend(i), ports.DNS)
	line("advertise: \"%s:%d\"", p.Mesh(i), ports.Mesh)
	line("dial: {mesh: %s, public: %s}", p.Mesh(i), p.Public(i))
	line("tls: {ca: %q, cert: %q, key: %q}", secretFile(dir, name, "ca.crt"), secretFile(dir, name, "agent.crt"), secretFile(dir, name, "agent.key"))
	if err := l.routerConfig(line, dir, i); err != nil {
		return "", err
	}
	if l.Sites[i].Kind != network.Witness {
		if err := l.proxmoxConfig(line, dir, i); err != nil {
			return "", err
		}
	}
	if l.RealDNS() {
		line("tsig: {%s: {secret_file: %q}}", TSIGKey, secretFile(dir, name, tsigName))
	}
	pins, err := l.pinConfig(dir)
	if err != nil {
		return "", err
	}
	line("probe_fingerprints:\n%s", pins)
	line("public_ca_file: %q", EntryCA(dir))
	line("ready_every: 2s")
	line("log: {level: info, format: text}")
	if !l.Routed { // refused on addresses that others can reach
		line("lab: {startup_grace: 3s, plain_disk: true}")
	}
	return b.String(), nil
}

// proxmoxConfig writes how the agent reaches its site's own Proxmox.
func (l *Lab) proxmoxConfig(line func(string, ...any), dir string, i int) error {
	name := l.Sites[i].Name
	var inventory, hands []string
	for _, h := range l.Hosts(i) {
		if h.Owner != network.OwnerRaoull {
			if !h.PVE {
				continue
			}
			print, err := Fingerprint(dir, name, "pve", h.Name)
			if err != nil {
				return err
			}
			hands = append(hands, fmt.Sprintf("  %s: {token_file: %q, fingerprint: %q, backup: %q}", h.Name, secretFile(dir, name, "pve.token"), print, ownBackups))
			inventory = append(inventory, fmt.Sprintf("  %s: {token_file: %q, fingerprint: %q}", h.Name, secretFile(dir, name, "pve.token"), print))
			continue
		}
		for kind, has := range map[string]bool{"pve": h.PVE, "pbs": h.PBS} {
			if !has {
				continue
			}
			print, err := Fingerprint(dir, name, kind, h.Name)
			if err != nil {
				return err
			}
			if kind == "pve" {
				line("helper_socket: %q", HelperSocket(dir, name))
			}
			line("%s: {token_file: %q, fingerprint: %q}", kind, secretFile(dir, name, kind+".token"), print)
		}
	}
	if len(inventory) > 0 {
		line("inventory:\n%s", strings.Join(inventory, "\n"))
		line("hands:\n%s", strings.Join(hands, "\n"))
		return l.fenceConfig(line, dir, i)
	}
	return nil
}

// routerConfig writes how the agent reads its site's router.
func (l *Lab) routerConfig(line func(string, ...any), dir string, i int) error {
	if l.Routed {
		return nil
	}
	print, err := Fingerprint(dir, l.Sites[i].Name, "router", l.Sites[i].Name)
	if err == nil {
		line("router: {url: %q, user: %s, password_file: %q, fingerprint: %q}", l.routerURL(i), RouterReader, secretFile(dir, l.Sites[i].Name, RouterReaderFile), print)
	}
	return err
}

// fenceConfig writes how the agent puts its site's structure's host off.
func (l *Lab) fenceConfig(line func(string, ...any), dir string, i int) error {
	name := l.Sites[i].Name
	if l.Fence(i) == plugName {
		line("fences: {%s: {command: [%q, %q]}}", plugName, secretFile(dir, name, plugProgram), secretFile(dir, name, plugState))
		return nil
	}
	print, err := Fingerprint(dir, name, "router", name)
	if err == nil {
		line("fences: {%s: {port: %s, router: {url: %q, user: %s, password_file: %q, fingerprint: %q}}}",
			portName, hostPort, l.routerURL(i), RouterWriter, secretFile(dir, name, RouterWriterFile), print)
	}
	return err
}

// pinConfig writes the certificates that probes expect of every host.
func (l *Lab) pinConfig(dir string) (string, error) {
	var out []string
	for i, s := range l.Sites {
		for _, h := range l.Hosts(i) {
			var pins []string
			for kind, has := range map[string]bool{"pve": h.PVE, "pbs": h.PBS} {
				if !has {
					continue
				}
				print, err := Fingerprint(dir, s.Name, kind, h.Name)
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
