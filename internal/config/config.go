// Package config is the local file of one agent, wwwd.yaml: who it is, where
// it listens and from where it dials, and the paths of its certificates and
// tokens. What all sites share stands in network.yaml (internal/network).
//
// The file holds no secret, only the paths of secrets. Everything but the
// site, the network and the mesh address has a default.
package config

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/raoull/worldwidewelsh/internal/network"
	"github.com/raoull/worldwidewelsh/internal/network/netyaml"
	"github.com/raoull/worldwidewelsh/internal/notify"
)

// Where an agent and its client look when nothing else is said.
const (
	DefaultPath    = "/etc/www/wwwd.yaml"
	DefaultDataDir = "/var/lib/www"
	DefaultSocket  = "/run/www/wwwd.sock"
	// DefaultHelperSocket is where wwwd-helper.socket listens.
	DefaultHelperSocket = "/run/www/helper.sock"
	// DefaultMetricsPort serves Prometheus (design section 11). The ports of the
	// mesh and of DNS are those of internal/network.
	DefaultMetricsPort = 9978
)

// Config is the configuration of one agent.
type Config struct {
	Network string         `json:"network"` // name of the network, as in network.yaml
	Site    network.SiteID `json:"site"`    // this agent's site
	DataDir string         `json:"data_dir,omitempty"`
	Socket  string         `json:"socket,omitempty"` // unix socket of wwwctl
	// HelperSocket is the unix socket of the root helper. Where none listens,
	// what a restore leaves on a crashed host waits for a person.
	HelperSocket string `json:"helper_socket,omitempty"`
	Listen       Listen `json:"listen"`
	// Advertise is the mesh address under which others reach this agent;
	// default: Listen.Mesh. It differs only behind a forwarder.
	Advertise netip.AddrPort `json:"advertise,omitzero"`
	Dial      Dial           `json:"dial,omitzero"`
	TLS       TLS            `json:"tls,omitzero"`
	PVE       PVE            `json:"pve,omitzero"`
	PBS       PBS            `json:"pbs,omitzero"`
	// WireGuard is this machine's own interface of the mesh, if the mesh ends here.
	WireGuard WireGuard `json:"wireguard,omitzero"`
	// Router is how the agent reads this site's router, if that is a MikroTik.
	Router Router `json:"router,omitzero"`
	// Inventory are further PVEs of this site, by host, whose guests the agent
	// lists for wwwctl doctor and never touches: a structure's own. The token
	// needs VM.Audit on /vms.
	Inventory map[network.HostID]PVE `json:"inventory,omitempty"`
	// Hands are the PVEs of this site, by host, whose guests the agent may shut down, back
	// up and start again when a person moves them elsewhere (wwwctl switchover).
	Hands map[network.HostID]Hand `json:"hands,omitempty"`
	// Fences are the ways to put a structure's dead PVE off, by the name that
	// network.yaml gives for it (fence:).
	Fences map[string]Fence `json:"fences,omitempty"`
	// Programs are what operations call at this site, by the name that network.yaml gives
	// (hooks, exec checks).
	Programs map[string]Program `json:"programs,omitempty"`
	// TSIG are the keys of zones with the back end rfc2136, by name.
	TSIG map[string]TSIGKey `json:"tsig,omitempty"`
	// ProbeFingerprints pin the certificates that probes expect of other
	// machines. A host without an entry is probed without pinning.
	ProbeFingerprints map[network.HostID]Fingerprints `json:"probe_fingerprints,omitempty"`
	// PublicCAFile holds authorities (PEM) that members' browsers trust beside the system's.
	PublicCAFile string `json:"public_ca_file,omitempty"`
	// Notify are the ways by which this agent tells people what must not be missed.
	Notify notify.Config `json:"notify,omitzero"`
	// ReadyEvery is how often restore points and capacity are read; default 1m.
	ReadyEvery network.Duration `json:"ready_every,omitempty"`
	Log        Log              `json:"log,omitzero"`
	Lab        Lab              `json:"lab,omitzero"`
}

// Listen says where the agent listens. A port that is not written has its
// default; an address is always one interface's, never all of them.
type Listen struct {
	Mesh    netip.AddrPort   `json:"mesh"`             // Raft and API, mTLS; default port 9977
	Metrics netip.AddrPort   `json:"metrics,omitzero"` // plain HTTP, read-only; default port 9978; unset: none
	DNS     []netip.AddrPort `json:"dns,omitempty"`    // authoritative server; default port 53; unset: none
}

// Dial says from which of its addresses the agent dials, by kind of path.
type Dial struct {
	Mesh   netip.Addr `json:"mesh,omitzero"`   // default: the address of Listen.Mesh
	Public netip.Addr `json:"public,omitzero"` // default: the kernel's choice
}

// TLS are the paths of the agent's certificate; default: certs/ in DataDir.
type TLS struct {
	CA   string `json:"ca,omitempty"`
	Cert string `json:"cert,omitempty"`
	Key  string `json:"key,omitempty"`
	// CAKey is the authority's key. Voters hold it, and get it by themselves.
	CAKey string `json:"ca_key,omitempty"`
}

// PVE is how the agent identifies itself to this site's Proxmox VE. Without a
// token file it votes and observes but restores nothing.
type PVE struct {
	TokenFile   string `json:"token_file,omitempty"`  // one line USER@REALM!NAME=SECRET
	CAFile      string `json:"ca_file,omitempty"`     // authority that signed the server's certificate
	Fingerprint string `json:"fingerprint,omitempty"` // or: the certificate itself, SHA-256
}

// Hand is how the agent identifies itself to a PVE whose guests it may move. The token
// needs VM.Audit, VM.PowerMgmt, VM.Config.Options and VM.Backup on /vms, Sys.Audit on the
// node, and Datastore.Audit and Datastore.AllocateSpace on the storage.
type Hand struct {
	TokenFile   string `json:"token_file"`
	CAFile      string `json:"ca_file,omitempty"`
	Fingerprint string `json:"fingerprint,omitempty"`
	Backup      string `json:"backup"` // that PVE's storage entry for backups to this site's own PBS
}

// PVE is the part of a hand that says how its host is reached.
func (h Hand) PVE() PVE {
	return PVE{TokenFile: h.TokenFile, CAFile: h.CAFile, Fingerprint: h.Fingerprint}
}

// PBS is how the agent identifies itself to this site's backup server.
type PBS struct {
	TokenFile   string `json:"token_file,omitempty"` // one line USER@REALM!NAME:SECRET
	CAFile      string `json:"ca_file,omitempty"`
	Fingerprint string `json:"fingerprint,omitempty"`
	Node        string `json:"node,omitempty"` // node name in the API's paths; default localhost, which every PBS accepts
}

// WireGuard names the interface whose peers are read. Reading needs
// CAP_NET_ADMIN, and changes nothing.
type WireGuard struct {
	Interface string `json:"interface,omitempty"`
}

// Router is how the agent identifies itself to the REST API of this site's
// router (RouterOS 7), for the counters of WireGuard and the static DNS entries.
// It only reads: the user's group needs the policies read and rest-api.
type Router struct {
	URL          string `json:"url,omitempty"` // https://ADDRESS, service www-ssl
	User         string `json:"user,omitempty"`
	PasswordFile string `json:"password_file,omitempty"` // one line
	CAFile       string `json:"ca_file,omitempty"`       // authority that signed the router's certificate
	Fingerprint  string `json:"fingerprint,omitempty"`   // or: the certificate itself, SHA-256
	Interface    string `json:"interface,omitempty"`     // only peers of this WireGuard interface; default: of all
}

// Fence puts a host off, by a program or by disabling its port on this site's router
// or switch, or only looks whether it is off. Exactly one of Command, Port and Quiet is set.
type Fence struct {
	// Command is run with the verb status (it prints on or off) or off as its last argument.
	Command []string `json:"command,omitempty"`
	Port    string   `json:"port,omitempty"` // name of the ethernet interface, such as ether3
	// Router is how the agent identifies itself to the device with the port. The
	// user's group needs the policies read, write and rest-api.
	Router Router `json:"router,omitzero"`
	// Quiet proves the host off by the silence of its addresses.
	Quiet Quiet `json:"quiet,omitzero"`
}

// Quiet are the addresses, in networks of this machine, at which nobody answers ARP or ping any
// more when a host is off: its own and those of its guests. All are IPv4.
type Quiet struct {
	Addresses []netip.Addr `json:"addresses,omitempty"`
	Witnesses []netip.Addr `json:"witnesses,omitempty"` // neighbours that must answer meanwhile, one in each of these networks
}

// Program is a command line that an operation may have run here.
type Program struct {
	Command []string `json:"command"` // the program's path, then its arguments
}

// TSIGKey is a key for DNS updates. SecretFile holds it in base64, one line.
type TSIGKey struct {
	Algorithm  string `json:"algorithm,omitempty"` // hmac-sha256 (default), hmac-sha384, hmac-sha512
	SecretFile string `json:"secret_file"`
}

// Fingerprints are the SHA-256 fingerprints of a host's certificates, as PVE
// and PBS show them: hex pairs with or without colons.
type Fingerprints struct {
	PVE string `json:"pve,omitempty"`
	PBS string `json:"pbs,omitempty"`
}

// Log says what the agent writes to standard error.
type Log struct {
	Level  string `json:"level,omitempty"`  // debug | info (default) | warn | error
	Format string `json:"format,omitempty"` // text (default) | json
}

// Lab are settings for networks on one machine. They are refused unless the
// agent listens on loopback addresses only.
type Lab struct {
	StartupGrace network.Duration `json:"startup_grace,omitempty"` // observers do not count before; unset: the observer's own
	PlainDisk    bool             `json:"plain_disk,omitempty"`    // doctor does not complain that the data lies on an unencrypted device
}

// WithDefaults returns a copy in which every unset field that has a default
// carries it.
func (c Config) WithDefaults() *Config {
	c.DataDir = cmp.Or(c.DataDir, DefaultDataDir)
	c.Socket = cmp.Or(c.Socket, DefaultSocket)
	c.HelperSocket = cmp.Or(c.HelperSocket, DefaultHelperSocket)
	c.Listen.Mesh = withPort(c.Listen.Mesh, network.DefaultMeshPort)
	c.Listen.Metrics = withPort(c.Listen.Metrics, DefaultMetricsPort)
	c.Listen.DNS = slices.Clone(c.Listen.DNS)
	for i, a := range c.Listen.DNS {
		c.Listen.DNS[i] = withPort(a, network.DefaultDNSPort)
	}
	c.Advertise = cmp.Or(withPort(c.Advertise, network.DefaultMeshPort), c.Listen.Mesh)
	c.Dial.Mesh = cmp.Or(c.Dial.Mesh, c.Listen.Mesh.Addr())
	certs := filepath.Join(c.DataDir, "certs")
	c.TLS.CA = cmp.Or(c.TLS.CA, filepath.Join(certs, "ca.crt"))
	c.TLS.Cert = cmp.Or(c.TLS.Cert, filepath.Join(certs, "agent.crt"))
	c.TLS.Key = cmp.Or(c.TLS.Key, filepath.Join(certs, "agent.key"))
	c.TLS.CAKey = cmp.Or(c.TLS.CAKey, filepath.Join(filepath.Dir(c.TLS.CA), "ca.key"))
	c.PBS.Node = cmp.Or(c.PBS.Node, "localhost")
	keys := make(map[string]TSIGKey, len(c.TSIG))
	for name, k := range c.TSIG {
		k.Algorithm = cmp.Or(k.Algorithm, "hmac-sha256")
		keys[name] = k
	}
	c.TSIG = keys
	c.ReadyEvery = cmp.Or(c.ReadyEvery, network.Duration(time.Minute))
	c.Log.Level = cmp.Or(c.Log.Level, "info")
	c.Log.Format = cmp.Or(c.Log.Format, "text")
	return &c
}

func withPort(a netip.AddrPort, port uint16) netip.AddrPort {
	if a.Addr().IsValid() && a.Port() == 0 {
		return netip.AddrPortFrom(a.Addr(), port)
	}
	return a
}

// Pins returns ProbeFingerprints by the name of a probe's target, "pve:HOST"
// and "pbs:HOST".
func (c *Config) Pins() map[string]string {
	out := map[string]string{}
	for host, f := range c.ProbeFingerprints {
		if f.PVE != "" {
			out["pve:"+string(host)] = f.PVE
		}
		if f.PBS != "" {
			out["pbs:"+string(host)] = f.PBS
		}
	}
	return out
}

// Load reads an agent's file, expands its defaults and checks it and the
// files that it names. The config is nil if there is any error among the
// problems; warnings come along with a config. Problems are sorted by place.
func Load(path string) (*Config, []network.Problem) {
	b, err := readFile(path)
	if err != nil {
		p := network.Problem{
			Code: network.CodeFileUnread, Severity: network.Error, At: network.Position{File: path},
			Message: err.Error(), Hint: "run as root or as the user of the service: sudo -u wwwd wwwd check",
		}
		if errors.Is(err, fs.ErrNotExist) {
			p.Code, p.Message = network.CodeFileMissing, "there is no such file"
			p.Hint = "copy the example and edit it: cp /usr/share/doc/www-agent/examples/wwwd.yaml " + path
		}
		return nil, []network.Problem{p}
	}
	return parse(path, b, (*Config).CheckFiles)
}

// Parse reads an agent's file from memory, like Load but without looking at
// the disk; file is only used to name it.
func Parse(file string, b []byte) (*Config, []network.Problem) {
	return parse(file, b, func(*Config) []network.Problem { return nil })
}

func parse(file string, b []byte, more func(*Config) []network.Problem) (*Config, []network.Problem) {
	var raw Config
	index, problems := netyaml.Read(file, b, &raw)
	c := raw.WithDefaults()
	problems = index.Merge(problems, c.Validate())
	if !network.HasErrors(problems) { // else the paths may be wrong ones
		problems = index.Merge(problems, more(c))
	}
	if network.HasErrors(problems) {
		return nil, problems
	}
	return c, problems
}

// readFile reads a regular file of bounded size.
func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // only read
	if info, err := f.Stat(); err != nil {
		return nil, err
	} else if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("read %s: not a regular file", path)
	}
	b, err := io.ReadAll(io.LimitReader(f, netyaml.MaxSize+1)) // one more, so that the reader sees the excess
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return b, nil
}
