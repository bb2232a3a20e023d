package site

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/raoull/worldwidewelsh/internal/lab"
	"github.com/raoull/worldwidewelsh/internal/lab/fabric"
	"github.com/raoull/worldwidewelsh/internal/network"
)

// Ports of a lab on loopback, the same on every address; see Lab.Ports.
const (
	MeshPort    = network.DefaultMeshPort
	MetricsPort = 9978
	GuardPort   = 12099 // held by the supervisor: the block of addresses is taken
	RouterPort  = 12022
	RESTPort    = 12023 // of the router, for its site's agent
	GuestPort   = 12080
	EntryPort   = 12443
	DNSPort     = 12053
	PVEPort     = 18006
	PBSPort     = 18007
)

// Names within every host.
const (
	Datastore    = "backups"
	LocalStorage = "local-zfs"
	Bridge       = "vmbr0"
	PVEToken     = "wwwd@pve!agent"
	PBSToken     = "wwwd@pbs!agent"
	backupToken  = "backup@pbs!pve" // of the storage entries: owner of the backups
	syncToken    = "sync@pbs!pull"  // of the other sites' sync jobs
	ownBackups   = "pbs-local"      // storage entry that a structure's host backs up to
)

// Lab is a whole network on one machine. Everything else follows from it: addresses
// from the block, passwords and keys from the secret. It is kept as lab.json, mode 0600.
type Lab struct {
	Network string `json:"network"`
	Zone    string `json:"zone"`
	// DNSServer is the program that serves the zone: one of nameserver.Kinds, or embedded (also for "").
	DNSServer string `json:"dns_server,omitempty"`
	Block     byte   `json:"block"` // second octet of every address
	// Routed says that each site has a network of its own with real addresses and
	// ports (internal/lab/netns) instead of a share of the loopback.
	Routed bool     `json:"routed,omitempty"`
	Rescue bool     `json:"rescue,omitempty"` // in a routed lab, too, a site rescues its own guests
	Return bool     `json:"return,omitempty"` // and they come home to its structure's host
	Secret string   `json:"secret"`           // passwords and backup keys are derived from it
	Timing Timing   `json:"timing"`
	Rate   int64    `json:"rate"`          // of restores, bytes per second and host
	PVE    string   `json:"pve,omitempty"` // release of the Proxmox VE hosts, "" = the newest
	PBS    string   `json:"pbs,omitempty"` // release of the Proxmox Backup Servers
	Sites  []Site   `json:"sites"`
	Guests []Member `json:"guests"`
}

// Timing says how often copies are made.
type Timing struct {
	First  network.Duration `json:"first"`  // from a guest's first line to its first backup
	Backup network.Duration `json:"backup"` // between backups of a guest
	Sync   network.Duration `json:"sync"`   // between pulls of another site's backups
	// Away is how often guests that live away from home are backed up there, and such backups are pulled by the
	// other sites; unset: as often as the agents think right, and each minute.
	Away network.Duration `json:"away,omitempty"`
}

// Site is one site; its number is its place in Lab.Sites.
type Site struct {
	Name      string       `json:"name"`
	Kind      network.Kind `json:"kind"`
	Structure string       `json:"structure,omitempty"` // briques: at home here
	VLAN      int          `json:"vlan,omitempty"`      // of the structure
}

// Member is one guest of a structure.
type Member struct {
	Name      string            `json:"name"`
	ID        int               `json:"id"`
	Type      network.GuestType `json:"type"`
	Structure string            `json:"structure"`
	Number    int               `json:"number"`           // within the structure: its address
	Raoull    bool              `json:"raoull,omitempty"` // it lives on Raoull's machine of the site, not on the structure's
	Priority  int               `json:"priority"`
	Warm      bool              `json:"warm,omitempty"` // it is kept restored at another site
	After     []string          `json:"after,omitempty"`
	Disk      int64             `json:"disk"`   // bytes
	Memory    int64             `json:"memory"` // bytes
	Names     []string          `json:"names"`
}

// Host is one machine of a site; Index is its place in the address plan.
type Host struct {
	Name  string
	Index int
	Owner network.Owner
	PVE   bool
	PBS   bool
}

// FileName is the name of the file that keeps a Lab, in the lab's directory.
const FileName = "lab.json"

// Save writes lab.json into dir.
func (l *Lab) Save(dir string) error {
	b, err := json.MarshalIndent(l, "", "  ")
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, FileName), append(b, '\n'), 0o600)
	}
	if err != nil {
		return fmt.Errorf("save lab: %w", err)
	}
	return nil
}

// Load reads lab.json from dir.
func Load(dir string) (*Lab, error) {
	b, err := os.ReadFile(filepath.Join(dir, FileName))
	if err != nil {
		return nil, fmt.Errorf("load lab: %w", err)
	}
	var l Lab
	if err := json.Unmarshal(b, &l); err != nil {
		return nil, fmt.Errorf("load lab: %s: %w", filepath.Join(dir, FileName), err)
	}
	if l.Network == "" || l.Secret == "" || len(l.Sites) == 0 || l.Timing.Backup <= 0 || l.Timing.Sync <= 0 {
		return nil, fmt.Errorf("load lab: %s: network, secret, sites and timing are needed", filepath.Join(dir, FileName))
	}
	if err := lab.CheckVersions(l.PVE, l.PBS); err != nil {
		return nil, fmt.Errorf("load lab: %s: %w", filepath.Join(dir, FileName), err)
	}
	return &l, nil
}

// Plan returns the lab's addresses.
func (l *Lab) Plan() fabric.Plan {
	p := fabric.Plan{Block: l.Block, Routed: l.Routed}
	for _, s := range l.Sites {
		if s.VLAN != 0 {
			p.VLANs = append(p.VLANs, s.VLAN)
		}
	}
	return p
}

// PortPlan says where a lab's services listen, on every address alike.
type PortPlan struct{ Mesh, Metrics, Router, Guest, Entry, DNS, PVE, PBS uint16 }

// Ports returns the lab's ports: those of the trade where every site has addresses of
// its own, else high ones that need no privilege.
func (l *Lab) Ports() PortPlan {
	if l.Routed {
		return PortPlan{Mesh: MeshPort, Metrics: MetricsPort, Guest: 80, Entry: 443, DNS: 53, PVE: 8006, PBS: 8007}
	}
	return PortPlan{
		Mesh: MeshPort, Metrics: MetricsPort, Router: RouterPort, Guest: GuestPort,
		Entry: EntryPort, DNS: DNSPort, PVE: PVEPort, PBS: PBSPort,
	}
}

// Names returns the sites' names in the order of their numbers.
func (l *Lab) Names() []string {
	var names []string
	for _, s := range l.Sites {
		names = append(names, s.Name)
	}
	return names
}

// Index returns the number of a site.
func (l *Lab) Index(site string) (int, error) {
	i := slices.IndexFunc(l.Sites, func(s Site) bool { return s.Name == site })
	if i < 0 {
		return 0, fmt.Errorf("no site %q in this lab: it has %v", site, l.Names())
	}
	return i, nil
}

// Hosts returns the machines of a site.
func (l *Lab) Hosts(i int) []Host {
	name := l.Sites[i].Name
	switch l.Sites[i].Kind {
	case network.Brique:
		return []Host{
			{Name: "pve-" + name, Index: 0, Owner: network.OwnerStructure, PVE: true},
			{Name: "raoull-" + name, Index: 1, Owner: network.OwnerRaoull, PVE: true, PBS: true},
		}
	case network.Parpaing:
		hosts := []Host{{Name: "pbs-" + name, Index: 0, Owner: network.OwnerRaoull, PBS: true}}
		if l.Sites[i].Structure != "" {
			hosts = append(hosts, Host{Name: "pve-" + name, Index: 1, Owner: network.OwnerStructure, PVE: true})
		}
		return hosts
	}
	return nil
}

// HostOf returns the name of the machine of site i that a guest lives on.
func (l *Lab) HostOf(i int, g Member) string {
	for _, h := range l.Hosts(i) {
		if h.PVE && h.lodges(g) {
			return h.Name
		}
	}
	return ""
}

// lodges says whether a guest of the host's site lives on it.
func (h Host) lodges(g Member) bool { return g.Raoull == (h.Owner == network.OwnerRaoull) }

// store returns the machine with the PBS of a site.
func (l *Lab) store(i int) (Host, bool) {
	for _, h := range l.Hosts(i) {
		if h.PBS {
			return h, true
		}
	}
	return Host{}, false
}

// GuestsOf returns the guests that are at home at a site.
func (l *Lab) GuestsOf(site string) []Member {
	var out []Member
	for _, g := range l.Guests {
		if l.Home(g) == site {
			out = append(out, g)
		}
	}
	return out
}

// Guest returns the guest of a name.
func (l *Lab) Guest(name string) (Member, bool) {
	i := slices.IndexFunc(l.Guests, func(g Member) bool { return g.Name == name })
	if i < 0 {
		return Member{}, false
	}
	return l.Guests[i], true
}

// Home returns the site of a guest's structure.
func (l *Lab) Home(g Member) string {
	for _, s := range l.Sites {
		if s.Structure == g.Structure {
			return s.Name
		}
	}
	return ""
}

// VLAN returns the tag of a structure, 0 when there is no such structure.
func (l *Lab) VLAN(structure string) int {
	for _, s := range l.Sites {
		if s.Structure == structure {
			return s.VLAN
		}
	}
	return 0
}

// address is where a guest answers when it runs at site i.
func (l *Lab) address(i int, g Member) netip.Addr {
	return l.Plan().Guest(i, l.VLAN(g.Structure), g.Number)
}

// Entry is the declared public entry of site i; a witness has none.
func (l *Lab) Entry(i int) (netip.AddrPort, bool) {
	return netip.AddrPortFrom(l.Plan().Public(i), l.Ports().Entry), l.Sites[i].Kind != network.Witness
}

// DNS is the declared address of the authoritative server of site i.
func (l *Lab) DNS(i int) netip.AddrPort { return netip.AddrPortFrom(l.Plan().Public(i), l.Ports().DNS) }

// TokenSecret returns the secret of an API token at a site, in the form of a UUID as
// the vendor makes them.
func (l *Lab) TokenSecret(site, token string) string {
	s := hex.EncodeToString(l.derive("token " + site + " " + token))
	return s[:8] + "-" + s[8:12] + "-4" + s[13:16] + "-8" + s[17:20] + "-" + s[20:32]
}

// BackupKey returns the key with which a site encrypts its backups.
func (l *Lab) BackupKey(site string) *lab.Key { return lab.NewKey(l.rand("key " + site)) }

// rand returns a source of its own for one purpose.
func (l *Lab) rand(purpose string) *rand.Rand {
	return rand.New(rand.NewChaCha8([32]byte(l.derive(purpose))))
}

func (l *Lab) derive(purpose string) []byte {
	mac := hmac.New(sha256.New, []byte(l.Secret))
	mac.Write([]byte(purpose))
	return mac.Sum(nil)
}

// SiteDir is where a site keeps everything; Socket is where its process is asked.
func SiteDir(dir, site string) string { return filepath.Join(dir, site) }

// Socket returns the control socket of a site's process.
func Socket(dir, site string) string { return filepath.Join(dir, site, "ctl.sock") }

// maxSocket is what fits into a unix address (unix(7): 108 bytes with the NUL).
const maxSocket = 107

// CheckDir says whether the names of the sockets in dir would fit: the longest.
func (l *Lab) CheckDir(dir string) error {
	var errs []error
	for _, s := range l.Names() {
		if p := HelperSocket(dir, s); len(p) > maxSocket {
			errs = append(errs, fmt.Errorf("socket %s: the name is longer than %d bytes; choose a shorter --dir", p, maxSocket))
		}
	}
	return errors.Join(errs...)
}

func seconds(n int) network.Duration { return network.Duration(n) * network.Duration(time.Second) }
