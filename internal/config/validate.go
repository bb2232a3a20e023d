package config

import (
	"fmt"
	"maps"
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/raoull/worldwidewelsh/internal/network"
)

// Validate returns everything that is wrong with the configuration itself,
// sorted by path. Defaults must be expanded. It reads no file.
func (c *Config) Validate() []network.Problem {
	k := &checker{}
	k.label("network", "network", c.Network, "write the name of the network as in network.yaml, such as network: assos")
	k.label("site", "site", string(c.Site), "write the name of this site as in network.yaml, such as site: moulin")
	k.absolute("data_dir", c.DataDir)
	k.socket("socket", c.Socket, DefaultSocket)
	k.socket("helper_socket", c.HelperSocket, DefaultHelperSocket)
	k.listen(c)
	if c.Advertise.IsValid() && c.Advertise != c.Listen.Mesh {
		k.address("advertise", c.Advertise.Addr())
	}
	if c.Dial.Mesh.IsValid() && c.Dial.Mesh != c.Listen.Mesh.Addr() {
		k.address("dial.mesh", c.Dial.Mesh)
	}
	if c.Dial.Public.IsValid() {
		k.address("dial.public", c.Dial.Public)
	}
	for path, value := range map[string]string{"tls.ca": c.TLS.CA, "tls.cert": c.TLS.Cert, "tls.key": c.TLS.Key} {
		if !strings.HasPrefix(value, filepath.Clean(c.DataDir)+"/") { // else data_dir has told
			k.absolute(path, value)
		}
	}
	k.proxmox("pve", c.PVE)
	k.proxmox("pbs", PVE{TokenFile: c.PBS.TokenFile, CAFile: c.PBS.CAFile, Fingerprint: c.PBS.Fingerprint})
	k.router("router", c.Router)
	k.interfaceName("wireguard.interface", c.WireGuard.Interface)
	for _, host := range slices.Sorted(maps.Keys(c.Inventory)) {
		path := "inventory." + string(host)
		if !network.IsLabel(string(host)) {
			k.fail(path, network.CodeBadName, "write the host's name as in network.yaml", "host name %s is not usable as a DNS label", network.Quote(host))
		}
		if k.proxmox(path, c.Inventory[host]); c.Inventory[host] == (PVE{}) {
			k.fail(path+".token_file", network.CodeMissing, "write token_file: PATH, or remove the section", "%s has no token file", path)
		}
	}
	for _, host := range slices.Sorted(maps.Keys(c.Hands)) {
		path, hand := "hands."+string(host), c.Hands[host]
		if !network.IsLabel(string(host)) {
			k.fail(path, network.CodeBadName, "write the host's name as in network.yaml", "host name %s is not usable as a DNS label", network.Quote(host))
		}
		k.proxmox(path, hand.PVE())
		if hand.TokenFile == "" {
			k.fail(path+".token_file", network.CodeMissing, "write token_file: PATH, or remove the section", "%s has no token file", path)
		}
		if hand.Backup == "" {
			k.fail(path+".backup", network.CodeMissing, "write backup: the storage entry on that host for backups to this site's PBS", "%s has no storage entry for backups", path)
		}
	}
	k.keys(c)
	k.fences(c.Fences)
	k.programs(c.Programs)
	k.notify(c.Notify)
	if c.ReadyEvery < network.Duration(100*time.Millisecond) || c.ReadyEvery > network.Duration(24*time.Hour) {
		k.fail("ready_every", network.CodeRange, "write ready_every: 1m", "ready_every %s is not between 100ms and 1d", c.ReadyEvery)
	}
	k.oneOf("log.level", c.Log.Level, "debug", "info", "warn", "error")
	k.oneOf("log.format", c.Log.Format, "text", "json")
	if c.Lab != (Lab{}) && !c.onLoopback() {
		k.fail("lab", network.CodeLabOnly, "remove lab:", "lab settings are refused on an agent that others can reach")
	}
	network.SortProblems(k.out)
	return k.out
}

// onLoopback says whether nothing outside this machine can reach the agent.
func (c *Config) onLoopback() bool {
	all := append([]netip.AddrPort{c.Listen.Mesh, c.Listen.Metrics}, c.Listen.DNS...)
	return !slices.ContainsFunc(all, func(a netip.AddrPort) bool { return a.IsValid() && !a.Addr().IsLoopback() })
}

// checker gathers problems.
type checker struct{ out []network.Problem }

func (k *checker) fail(path, code, hint, format string, args ...any) {
	k.out = append(k.out, network.Problem{Path: path, Code: code, Message: fmt.Sprintf(format, args...), Hint: hint, Severity: network.Error})
}

func (k *checker) label(path, what, name, hint string) {
	switch {
	case name == "":
		k.fail(path, network.CodeMissing, hint, "%s is missing", path)
	case !network.IsLabel(name):
		k.fail(path, network.CodeBadName, hint, "%s name %s is not usable as a DNS label", what, network.Quote(name))
	}
}

func (k *checker) oneOf(path, value string, allowed ...string) {
	if !slices.Contains(allowed, value) {
		k.fail(path, network.CodeNotOneOf, "write one of: "+strings.Join(allowed, ", "), "%s %s is not known", path, network.Quote(value))
	}
}

// absolute demands a path that means the same from every directory.
func (k *checker) absolute(path, value string) {
	if value != "" && !filepath.IsAbs(value) {
		k.fail(path, network.CodeRelativePath, "write the path from the root, beginning with /", "path %s is relative", network.Quote(value))
	}
}

// socket demands a path that fits into struct sockaddr_un, which holds 108
// bytes, the final zero included (unix(7)).
func (k *checker) socket(path, value, usual string) {
	k.absolute(path, value)
	if len(value) > 107 {
		k.fail(path, network.CodeRange, "write a shorter path, such as "+usual, "the path of a unix socket has at most 107 bytes, this one has %d", len(value))
	}
}

// address refuses what is not one interface's: an agent never listens
// everywhere (design section 11).
func (k *checker) address(path string, a netip.Addr) {
	const hint = "write the address of one interface, such as 10.77.1.1"
	switch {
	case !a.IsValid():
		k.fail(path, network.CodeMissing, hint, "%s is missing", path)
	case a.IsUnspecified():
		k.fail(path, network.CodeBadAddress, hint, "address %s stands for every interface and is refused everywhere", a)
	case a.IsMulticast() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		k.fail(path, network.CodeBadAddress, hint, "address %s is not the address of one machine", a)
	case a.Is4In6():
		k.fail(path, network.CodeBadAddress, hint, "address %s must be written as IPv4", a)
	}
}

func (k *checker) listen(c *Config) {
	tcp := map[netip.AddrPort]string{}
	claim := func(path string, a netip.AddrPort) {
		k.address(path, a.Addr())
		if first, taken := tcp[a]; taken && a.IsValid() {
			k.fail(path, network.CodeTaken, "give each listener its own address or port", "address %s is already given to %s", a, first)
		}
		tcp[a] = path
	}
	claim("listen.mesh", c.Listen.Mesh)
	if c.Listen.Metrics.IsValid() {
		claim("listen.metrics", c.Listen.Metrics)
	}
	for i, a := range c.Listen.DNS {
		claim(fmt.Sprintf("listen.dns[%d]", i), a)
	}
}

func (k *checker) proxmox(path string, p PVE) {
	k.absolute(path+".token_file", p.TokenFile)
	k.absolute(path+".ca_file", p.CAFile)
	k.fingerprint(path+".fingerprint", p.Fingerprint)
	if p.TokenFile == "" && (p.CAFile != "" || p.Fingerprint != "") {
		k.fail(path+".token_file", network.CodeMissing, "write token_file: PATH, or remove the section", "%s has no token file", path)
	}
}

func (k *checker) programs(all map[string]Program) {
	for _, name := range slices.Sorted(maps.Keys(all)) {
		path := "programs." + name
		if !network.IsLabel(name) {
			k.fail(path, network.CodeBadName, "write the name as in network.yaml (hooks, check: {exec: NAME})", "program name %s is not usable", network.Quote(name))
		}
		if command := all[name].Command; len(command) == 0 {
			k.fail(path+".command", network.CodeMissing, "write command: [/usr/local/sbin/PROGRAM, ARGUMENT]", "%s has no command", path)
		} else {
			k.absolute(path+".command", command[0])
		}
	}
}

// fences demands of each exactly one way.
func (k *checker) fences(all map[string]Fence) {
	for _, name := range slices.Sorted(maps.Keys(all)) {
		f, path := all[name], "fences."+name
		if !network.IsLabel(name) {
			k.fail(path, network.CodeBadName, "write the name as in network.yaml (fence:)", "fence name %s is not usable", network.Quote(name))
		}
		ways, quiet := 0, len(f.Quiet.Addresses)+len(f.Quiet.Witnesses) > 0
		for _, way := range []bool{len(f.Command) > 0, f.Port != "", quiet} {
			if way {
				ways++
			}
		}
		switch {
		case ways != 1:
			k.fail(path, network.CodeConflict, "write command: [PROGRAM], or port: NAME with router:, or quiet:", "%s needs a command, a port or quiet:, one of them", path)
		case quiet:
			k.quiet(path+".quiet", f.Quiet)
		case f.Port != "":
			if f.Router == (Router{}) {
				k.fail(path+".router", network.CodeMissing, "write router: {url: …, user: …, password_file: …, fingerprint: …}", "%s has no router", path)
			}
			k.router(path+".router", f.Router)
		default:
			k.absolute(path+".command", f.Command[0])
			if f.Router != (Router{}) {
				k.fail(path+".router", network.CodeConflict, "remove router:, or write port: instead of command:", "%s runs a command and asks no router", path)
			}
		}
	}
}

// quiet demands more than one address, so that a machine whose own network fails while its guests'
// goes on is not taken for one that is off, and somebody who answers.
func (k *checker) quiet(path string, q Quiet) {
	if len(q.Addresses) < 2 {
		k.fail(path+".addresses", network.CodeMissing, "write the host's own address and those of its guests: addresses: [10.10.1.10, 10.120.0.11]", "%s needs two addresses at least", path)
	}
	if len(q.Witnesses) == 0 {
		k.fail(path+".witnesses", network.CodeMissing, "write a neighbour that always answers, such as the router's address in the same network", "%s has no witness", path)
	}
	for _, a := range slices.Concat(q.Addresses, q.Witnesses) {
		if !a.Is4() {
			k.fail(path, network.CodeBadAddress, "write IPv4 addresses", "%s is no IPv4 address", a)
		}
	}
}

// router demands all that a call needs, or nothing.
func (k *checker) router(path string, r Router) {
	if r == (Router{}) {
		return
	}
	const hint = "write url: https://ADDRESS of the router, as /ip/service shows it for www-ssl"
	switch u, err := url.Parse(r.URL); {
	case r.URL == "":
		k.fail(path+".url", network.CodeMissing, hint, "%s has no url", path)
	case err != nil || u.Scheme != "https" || u.Host == "" || strings.Trim(u.Path, "/") != "" || u.User != nil:
		k.fail(path+".url", network.CodeBadAddress, hint, "%s url %s is not https://ADDRESS", path, network.Quote(r.URL))
	}
	if r.User == "" {
		k.fail(path+".user", network.CodeMissing, "write user: ww-ro", "%s has no user", path)
	}
	if r.PasswordFile == "" {
		k.fail(path+".password_file", network.CodeMissing, "write password_file: PATH of a file with mode 0600", "%s has no password_file", path)
	}
	k.absolute(path+".password_file", r.PasswordFile)
	k.absolute(path+".ca_file", r.CAFile)
	k.fingerprint(path+".fingerprint", r.Fingerprint)
	if r.CAFile == "" && r.Fingerprint == "" {
		k.fail(path+".fingerprint", network.CodeMissing, "write ca_file: or fingerprint: of the certificate of www-ssl", "%s has neither ca_file nor fingerprint: the password would be told to whoever answers", path)
	}
	k.interfaceName(path+".interface", r.Interface)
}

// interfaceName refuses what cannot name an interface: Linux allows 15 bytes
// (IFNAMSIZ), and neither slash nor space; RouterOS allows longer ones.
func (k *checker) interfaceName(path, name string) {
	if strings.ContainsAny(name, "/ \t\n") || path == "wireguard.interface" && len(name) > 15 {
		k.fail(path, network.CodeBadName, "write the name as \"ip link\" or /interface/wireguard/print shows it", "%s %s cannot be the name of an interface", path, network.Quote(name))
	}
}

func (k *checker) fingerprint(path, value string) {
	if value == "" {
		return
	}
	hex := strings.ReplaceAll(value, ":", "")
	if len(hex) != 64 || strings.Trim(strings.ToLower(hex), "0123456789abcdef") != "" {
		k.fail(path, network.CodeFingerprint, "write what \"pvenode cert info\" or \"proxmox-backup-manager cert info\" shows, 32 pairs", "fingerprint %s is not a SHA-256", network.Quote(value))
	}
}

func (k *checker) keys(c *Config) {
	for _, name := range slices.Sorted(maps.Keys(c.TSIG)) {
		path, key := "tsig."+name, c.TSIG[name]
		k.oneOf(path+".algorithm", key.Algorithm, "hmac-sha256", "hmac-sha384", "hmac-sha512")
		if key.SecretFile == "" {
			k.fail(path+".secret_file", network.CodeMissing, "write the path of a file that holds the secret", "key %s has no secret_file", network.Quote(name))
		}
		k.absolute(path+".secret_file", key.SecretFile)
	}
	k.absolute("public_ca_file", c.PublicCAFile)
	for _, host := range slices.Sorted(maps.Keys(c.ProbeFingerprints)) {
		path := "probe_fingerprints." + string(host)
		if !network.IsLabel(string(host)) {
			k.fail(path, network.CodeBadName, "write the host's name as in network.yaml", "host name %s is not usable as a DNS label", network.Quote(host))
		}
		k.fingerprint(path+".pve", c.ProbeFingerprints[host].PVE)
		k.fingerprint(path+".pbs", c.ProbeFingerprints[host].PBS)
	}
}
