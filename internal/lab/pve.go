package lab

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// The figures of a fake that are not configured.
const (
	defaultRestoreRate = 64 << 20 // bytes/s
	defaultMemory      = 16 << 30
	taskStep           = 250 * time.Millisecond // how finely running tasks are followed
	restoreOverhead    = time.Second            // client calls and checks before the first byte
	powerTask          = time.Second            // start, stop, delete
	bootTime           = 2 * time.Second        // from start to the agent's and the service's first answer
	keptTasks          = 1000                   // ended tasks kept in the list
	statCacheAge       = 10 * time.Second       // how late pvestatd shows a new guest
)

// StorageConfig is one entry of storage.cfg. Type "pbs" uses the fields from Server on.
type StorageConfig struct {
	ID       string
	Type     string // "pbs", "dir", "zfspool", "lvmthin"
	Content  string // "images,rootdir", "backup"; defaults by type
	Size     int64  // bytes
	Disabled bool
	Shared   bool // on several nodes of a cluster: allocation takes a cluster-wide lock

	Server, Datastore, Namespace string
	Username, Password           string // Password is the token secret; checked only when the PBS has tokens
	Fingerprint                  string
	Latency                      time.Duration // of a listing of the whole namespace; of one guest a tenth
	Key                          *Key          // nil = backups through this entry are not encrypted
	Prune                        string        // prune-backups as listed; "" = keep-all=1
}

// BridgeConfig is one bridge of the node.
type BridgeConfig struct {
	Name      string
	Ports     string // physical ports; with VLANAware false a tagged NIC needs one
	VLANAware bool
	VIDs      string // "2-4094", "10 20"; "" = 2-4094 when VLANAware
	Address   string // of the host on the bridge, "10.10.1.20/24"; "" = none
}

// DiskSpec is a further disk of a guest ("scsi1", "mp0"). NoBackup leaves it out of backups (backup=0).
type DiskSpec struct {
	Key      string
	Size     int64
	NoBackup bool
}

// GuestSpec describes a guest to put on a fake PVE.
type GuestSpec struct {
	ID          int
	Kind        string // "qemu" or "lxc"; "vm" and "ct" are taken too
	Name        string
	Memory      int64 // bytes; default 512 MiB
	DiskSize    int64 // bytes of the first disk, rounded up to whole chunks
	Disks       []DiskSpec
	Storage     string            // default: the first storage with the right content
	Nets        map[string]string // "net0" -> "virtio=BC:24:11:00:00:01,bridge=vmbr0,tag=120"
	Addresses   map[string]string // "net0" -> "10.10.120.5/24": what the system inside has configured
	HostNames   []string          // public names that the guest's web server answers
	Onboot      int
	Deaf        bool // its system ignores a request to shut down
	Tags        string
	Description string
	Extra       map[string]string // further configuration keys
}

// PVEConfig configures a fake Proxmox VE host.
type PVEConfig struct {
	Site     string // shown by the guests' web service
	Node     string
	Address  string // of the node, in /cluster/status
	Version  string // PVE9 (default) or PVE8, or "9.1", "8.4.3"
	Storages []StorageConfig
	Bridges  []BridgeConfig
	Tokens   map[string]string // "user@realm!token" -> secret
	// ACL gives tokens their privileges by path; a deeper path replaces what is above it. A token without
	// an entry has every privilege that a token can have. An entry of its user ("user@realm") limits it too:
	// with privilege separation a token has what both have.
	ACL         map[string]map[string][]string
	Memory      int64         // bytes
	RestoreRate int64         // bytes/s, shared by the running restores
	WriteEvery  time.Duration // how often a running guest writes a line; default 1 s
	HA          []string      // "vm:100"
	BackupJobs  []BackupJob
	Pools       []string
	Cluster     string // name of the corosync cluster; "" = a stand-alone host
	Peers       []Peer // the cluster's other nodes
	QEMU        string // newest machine version of its QEMU; by default what its release has
	Rand        *rand.Rand
	Clock       Clock  // if set, every request first advances the fake to it; it must not call the fake
	Dir         string // "" = in memory
	// DialPBS returns the PBS behind the server of a storage entry, nil if it cannot be reached. It is
	// called while the PVE is locked and must not call it.
	DialPBS func(server string) *PBS
}

// PVE is a passive stand-in for one Proxmox VE host. It is safe for concurrent use, except that Advance
// and Flush are called by one driver at a time.
type PVE struct {
	cfg      PVEConfig
	release  version
	routes   []route[*PVE]
	storages map[string]StorageConfig
	wrongKey *Key
	zero     ChunkID // of a chunk of zeros
	local    *Store  // plain chunks of the guests' disks

	mu    sync.Mutex
	st    pveState
	seal  map[sealed]ChunkID // plain chunk -> its cipher chunk, to seal each once
	areas map[string]sealedArea
	dirty bool
	saved time.Time
	noQuo bool
}

type sealed struct {
	key   string
	plain ChunkID
}

type pveState struct {
	Now     time.Time       `json:"now"`
	Booted  time.Time       `json:"booted"`
	Off     bool            `json:"off"`
	Seq     int             `json:"seq"`
	Guests  map[int]*guest  `json:"guests"`
	Stray   []disk          `json:"stray"` // volumes that no guest names
	Tasks   []*task         `json:"tasks"`
	Mounted map[int]bool    `json:"mounted,omitempty"` // rootfs that dead restores have left mounted
	HAGone  map[string]bool `json:"haGone,omitempty"`  // HA resources that a delete with purge removed
	NoACL   map[string]bool `json:"noACL,omitempty"`   // ACL paths that went with their guest
	wounds
}

// NewPVE returns a host that is on; with a directory that holds a state, one that lost power when the
// process before it ended: call PowerOn.
func NewPVE(cfg PVEConfig) (*PVE, error) {
	if cfg.Node == "" {
		return nil, errors.New("new PVE: node name is missing")
	}
	var err error
	if cfg.Version, _, err = fullVersion("Proxmox VE", cfg.Version, PVE8, PVE9); err != nil {
		return nil, fmt.Errorf("new PVE %s: %w", cfg.Node, err)
	}
	if cfg.Memory == 0 {
		cfg.Memory = defaultMemory
	}
	if cfg.WriteEvery <= 0 {
		cfg.WriteEvery = time.Second
	}
	if cfg.RestoreRate <= 0 {
		cfg.RestoreRate = defaultRestoreRate
	}
	if cfg.Rand == nil {
		cfg.Rand = seededRand(cfg.Node)
	}
	p := &PVE{cfg: cfg, storages: map[string]StorageConfig{}, seal: map[sealed]ChunkID{}}
	if p.release, err = parseVersion(cfg.Version); err != nil {
		return nil, fmt.Errorf("new PVE %s: %w", cfg.Node, err)
	}
	p.routes = gate(pveRoutes(), p.release)
	if err := p.checkACL(); err != nil {
		return nil, fmt.Errorf("new PVE %s: %w", cfg.Node, err)
	}
	p.zero = sha256.Sum256(make([]byte, ChunkSize))
	p.wrongKey = NewKey(seededRand("wrong key of " + cfg.Node))
	p.st = pveState{Guests: map[int]*guest{}, Mounted: map[int]bool{}, HAGone: map[string]bool{}, wounds: newWounds()}
	for _, s := range cfg.Storages {
		if s.Content == "" {
			s.Content = map[string]string{"pbs": "backup", "dir": "images,rootdir,vztmpl,iso"}[s.Type]
		}
		if s.Content == "" {
			s.Content = "images,rootdir"
		}
		if _, twice := p.storages[s.ID]; twice || len(s.ID) < 2 {
			return nil, fmt.Errorf("new PVE %s: storage id %q is used twice or shorter than 2 characters", cfg.Node, s.ID)
		}
		p.storages[s.ID] = s
	}
	return p, p.load()
}

// Node returns the node's name.
func (p *PVE) Node() string { return p.cfg.Node }

// Routes lists the operations that every fake PVE serves.
func (p *PVE) Routes() []RouteInfo { return infos(p.routes) }

// Advance moves the host to now: tasks proceed, guests write. A time before the last one changes nothing.
// With a directory the state is saved every few seconds of lab time; see Flush for errors.
func (p *PVE) Advance(now time.Time) {
	p.mu.Lock()
	p.advance(now)
	save := p.cfg.Dir != "" && p.dirty && now.Sub(p.saved) >= saveEvery
	p.mu.Unlock()
	if save {
		// A failed save leaves dirty set, so the next one tries again and Flush reports it.
		_ = p.Flush()
	}
}

func (p *PVE) advance(now time.Time) {
	if !now.After(p.st.Now) {
		return
	}
	p.dirty = true
	if p.st.Now.IsZero() || p.st.Off {
		p.st.Now = now
		if p.st.Booted.IsZero() {
			p.st.Booted = now
		}
		return
	}
	for p.st.Now.Before(now) {
		next := now
		if p.anyRunning() && now.Sub(p.st.Now) > taskStep {
			next = p.st.Now.Add(taskStep)
		}
		dt := next.Sub(p.st.Now)
		p.st.Now = next
		p.stepTasks(dt)
		for _, id := range p.guestIDs() {
			if g := p.st.Guests[id]; g.Running && p.stalled(g) {
				g.Written = next // what it would have written is not
			} else {
				g.write(next, p.cfg.WriteEvery)
			}
		}
	}
}

// PowerLoss cuts the host's power: running tasks die where they stand and leave their locks, guests stop.
func (p *PVE) PowerLoss(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.advance(now)
	p.powerLoss()
}

func (p *PVE) powerLoss() {
	p.dirty = true
	p.st.Off = true
	p.killRestores()
	p.st.Mounted = map[int]bool{} // a boot mounts nothing
	p.endTasks()
	for _, id := range p.guestIDs() {
		p.st.Guests[id].Running = false
	}
}

// PowerOn starts the host; guests with onboot=1 start by themselves, before any agent is asked
// (pve-guests.service). On a host that is on it does nothing.
func (p *PVE) PowerOn(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.advance(now)
	if !p.st.Off {
		return
	}
	p.st.Off = false
	p.st.Booted = p.st.Now
	for _, id := range p.guestIDs() {
		g := p.st.Guests[id]
		if g.Conf["onboot"] == "1" && g.Conf["lock"] == "" && p.canStart(g, &task{}) == nil {
			p.startByRoot(g)
		}
	}
}

// startByRoot starts a guest as the console and the boot of the host do: with a start task of root's in the
// list, which qm, pct and startall leave as the API does.
func (p *PVE) startByRoot(g *guest) {
	p.begin(taskType(g.Kind, "start"), strconv.Itoa(g.ID), "root@pam").finish(p.wall(), nil)
	g.start(p.st.Now)
}

// SetQuorum says whether the host's corosync cluster has a majority. It matters only with a Cluster.
func (p *PVE) SetQuorum(quorate bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.noQuo = !quorate
}

// AddGuest creates a stopped guest whose data area holds the given lines ("" or text ending in a
// newline). Start it with StartGuest, or by onboot and power.
func (p *PVE) AddGuest(spec GuestSpec, data []byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	g, err := p.newGuest(spec, data)
	if err != nil {
		return fmt.Errorf("add guest %d: %w", spec.ID, err)
	}
	p.st.Guests[spec.ID] = g
	p.dirty = true
	return nil
}

// StartGuest starts a guest as a person at the console does; StopGuest stops it hard. An error says why
// the guest does not start, or that it does not exist.
func (p *PVE) StartGuest(id int, now time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.advance(now)
	g, ok := p.st.Guests[id]
	if !ok {
		return fmt.Errorf("start guest %d: no such guest", id)
	}
	if err := p.canStart(g, &task{}); err != nil {
		return fmt.Errorf("start guest %d: %w", id, err)
	}
	if !g.Running {
		p.startByRoot(g)
	}
	return nil
}

// StopGuest stops a guest hard, whatever its state.
func (p *PVE) StopGuest(id int, now time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.advance(now)
	g, ok := p.st.Guests[id]
	if !ok {
		return fmt.Errorf("stop guest %d: no such guest", id)
	}
	g.Running = false
	return nil
}

// SetOption changes one key of a guest's configuration as `qm set` and `pct set` at the console do.
func (p *PVE) SetOption(id int, key, value string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	g, ok := p.st.Guests[id]
	if !ok {
		return fmt.Errorf("set %s of guest %d: no such guest", key, id)
	}
	g.Conf[key] = value
	p.dirty = true
	return nil
}

// RemoveGuest deletes a guest with its disks as a person at the console does: whatever
// protects it from the API.
func (p *PVE) RemoveGuest(id int, now time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.advance(now)
	g, ok := p.st.Guests[id]
	if !ok {
		return fmt.Errorf("remove guest %d: no such guest", id)
	}
	if g.Conf["lock"] != "" {
		return fmt.Errorf("remove guest %d: VM is locked (%s)", id, g.Conf["lock"])
	}
	delete(p.st.Guests, id)
	p.begin(taskType(g.Kind, "destroy"), strconv.Itoa(id), "root@pam").finish(p.wall(), nil)
	return nil
}

// Unlock removes a guest's lock, as `qm unlock` and `pct unlock` do for local root; there is no API call.
func (p *PVE) Unlock(id int) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	g, ok := p.st.Guests[id]
	if !ok {
		return fmt.Errorf("unlock guest %d: Configuration file does not exist", id)
	}
	delete(g.Conf, "lock")
	p.dirty = true
	return nil
}

func (p *PVE) guestIDs() []int { return slices.Sorted(maps.Keys(p.st.Guests)) }

func seededRand(name string) *rand.Rand {
	return rand.New(rand.NewChaCha8(sha256.Sum256([]byte(name))))
}

// newMAC draws an address from Proxmox's own range.
func (p *PVE) newMAC() string {
	n := p.cfg.Rand.Uint32()
	return fmt.Sprintf("BC:24:11:%02X:%02X:%02X", byte(n>>16), byte(n>>8), byte(n))
}

func (p *PVE) newUUID() string {
	a, b := p.cfg.Rand.Uint64(), p.cfg.Rand.Uint64()
	s := fmt.Sprintf("%016x%016x", a, b)
	return strings.Join([]string{s[:8], s[8:12], "4" + s[13:16], "8" + s[17:20], s[20:]}, "-")
}

func (p *PVE) major() int { return p.release.major }
