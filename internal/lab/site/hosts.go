package site

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/raoull/worldwidewelsh/internal/doctor"
	"github.com/raoull/worldwidewelsh/internal/lab"
	"github.com/raoull/worldwidewelsh/internal/network"
	"github.com/raoull/worldwidewelsh/internal/privileges"
)

// How large the lab's machines are. Nothing of it exists: only the guests' disks do.
const (
	hostMemory  = 16 << 30
	hostStorage = 64 << 30
	pbsSize     = 64 << 30
)

// machine is one host of the site with what runs on it.
type machine struct {
	Host
	power  *mains
	broken bool     // by crashHost, until it is repaired; under process.mu
	store  *mains   // of its PBS alone
	halted bool     // its PBS is, by stopStore; under process.mu
	pve    *lab.PVE // nil: none
	pbs    *lab.PBS // nil: none
}

// openHosts opens the fakes with the state that they left on disk. The PBS comes
// first, for the storage entries of the PVE hosts.
func (p *process) openHosts(ctx context.Context) error {
	var pbs *lab.PBS
	hosts := p.lab.Hosts(p.index)
	for _, h := range hosts {
		m := &machine{Host: h, power: newMains(), store: newMains()}
		if h.PBS {
			var err error
			if m.pbs, err = p.openPBS(ctx, h); err != nil {
				return err
			}
			pbs = m.pbs
		}
		p.machines = append(p.machines, m)
	}
	for _, m := range p.machines {
		if m.PVE {
			var err error
			if m.pve, err = p.openPVE(m.Host, pbs); err != nil {
				return err
			}
		}
	}
	p.powerOn(time.Now())
	return nil
}

// powerOn gives power to whatever may have it: not to what is broken, nor to what its
// plug keeps off.
func (p *process) powerOn(now time.Time) {
	plug, err := PlugOn(p.dir, p.name)
	for _, m := range p.machines {
		p.mu.Lock()
		broken, halted := m.broken, m.halted
		p.mu.Unlock()
		unplugged := m.Owner == network.OwnerStructure && !plug && err == nil
		if broken || unplugged {
			continue
		}
		m.boot(now, halted)
		if m.Owner != network.OwnerStructure || !p.portOff() {
			m.power.on()
		}
	}
}

func (m *machine) boot(now time.Time, halted bool) {
	if m.pbs != nil && !halted {
		m.pbs.PowerOn(now)
	}
	if m.pve != nil {
		m.pve.PowerOn(now)
	}
}

func (m *machine) crash(now time.Time) {
	m.power.cut()
	if m.pve != nil {
		m.pve.PowerLoss(now)
	}
	if m.pbs != nil {
		m.pbs.PowerLoss(now)
	}
}

func (p *process) stateDir(kind, host string) string {
	return filepath.Join(SiteDir(p.dir, p.name), kind+"-"+host)
}

func (p *process) openPBS(ctx context.Context, h Host) (*lab.PBS, error) {
	print, err := Fingerprint(p.dir, p.name, "pbs", h.Name)
	if err != nil {
		return nil, err
	}
	cfg := lab.PBSConfig{
		Node: h.Name, Version: p.lab.PBS, Datastore: Datastore, Size: pbsSize, Fingerprint: print,
		Tokens: map[string]string{}, ACL: map[string]map[string][]string{PBSToken: p.storeRights()},
		Rand: p.lab.rand("pbs " + h.Name), Clock: time.Now, Dir: p.stateDir("pbs", h.Name),
	}
	for _, token := range []string{PBSToken, backupToken, syncToken} {
		cfg.Tokens[token] = p.lab.TokenSecret(p.name, token)
	}
	p.sources = map[string]lab.SyncSource{}
	for _, other := range p.lab.homes(p.index) {
		source, err := p.source(ctx, h, other)
		if err != nil {
			return nil, err
		}
		p.sources[other] = source
		cfg.Namespaces = append(cfg.Namespaces, other)
		p.jobs = append(p.jobs, lab.SyncJob{
			ID: "pull-" + other, Remote: other, RemoteStore: Datastore, FromNS: other, NS: other,
			Owner:         PBSToken, // so that the agent may protect what it restores
			EncryptedOnly: true, Every: p.lab.Timing.Sync.D(),
		})
	}
	if p.lab.Sites[p.index].Structure != "" {
		cfg.Namespaces = append(cfg.Namespaces, p.name)
	}
	for _, home := range append(p.lab.homes(p.index), p.name) {
		for _, ns := range laterSpaces(home) {
			cfg.Namespaces = append(cfg.Namespaces, ns)
			p.jobs = append(p.jobs, p.laterJobs(ns)...)
		}
	}
	cfg.Jobs = p.jobs
	for _, parent := range []string{"away", "sealed"} { // in a lab nothing grows old: they are there to be seen, and to be run by hand
		cfg.PruneJobs = append(cfg.PruneJobs, lab.MaintenanceJob{ID: "prune-" + parent, NS: parent, Below: true, Keep: lab.Keep{Last: 3, Daily: 7, Weekly: 4}})
	}
	cfg.Remote = func(name string) lab.SyncSource { return p.sources[name] }
	return lab.NewPBS(cfg)
}

// laterEvery is how often the later backups of a home's guests are pulled, unless the lab says otherwise.
const laterEvery = time.Minute

// laterJobs are the jobs that bring the later backups of a home's guests from the sites
// which make some. They are run when a failback asks for it, too.
func (p *process) laterJobs(ns string) []lab.SyncJob {
	var out []lab.SyncJob
	for _, other := range p.lab.homes(p.index) {
		out = append(out, lab.SyncJob{
			ID: "pull-" + strings.ReplaceAll(ns, "/", "-") + "-" + other, Remote: other, RemoteStore: Datastore, FromNS: ns, NS: ns,
			Owner: PBSToken, EncryptedOnly: true, Every: cmp.Or(p.lab.Timing.Away.D(), laterEvery),
		})
	}
	return out
}

// pveVersion is that of the hosts with a PVE, unless the lab says otherwise.
const pveVersion = "9.2.1"

// lookRights are what a token needs on /vms to list guests and ask for their
// addresses. PVE 9 has VM.GuestAgent.Audit in place of VM.Monitor and knows the
// latter no more (reference/proxmox.md, section 12).
func lookRights(version string) ([]string, error) {
	release, err := privileges.ParseRelease(version)
	if err != nil {
		return nil, err
	}
	if release < 9 {
		return []string{"VM.Audit", "VM.Monitor"}, nil
	}
	return []string{"VM.Audit", "VM.GuestAgent.Audit"}, nil
}

// storeRights are what the set-up gives the agent's token on its site's PBS; on a
// machine of the lab, too, it has no right more.
func (p *process) storeRights() map[string][]string {
	_, host, _ := p.lab.Spec().Target(network.SiteID(p.name))
	facts := doctor.Facts{Store: doctor.StoreFacts{Datastore: Datastore}, Entries: map[string]doctor.Entry{}}
	for _, other := range p.lab.homes(p.index) {
		facts.Entries[sourceEntry(other)] = doctor.Entry{Type: "pbs", Datastore: Datastore, Namespace: other}
		facts.Jobs = append(facts.Jobs, doctor.SyncJob{Remote: other, RemoteStore: Datastore, Pull: true})
	}
	for _, home := range append(p.lab.homes(p.index), p.name) {
		l, spaces := lineages(home)[network.SiteID(home)], laterSpaces(home)
		for i, name := range []string{l.Away, l.Sealed} {
			facts.Entries[name] = doctor.Entry{Type: "pbs", Datastore: Datastore, Namespace: spaces[i]}
		}
	}
	if p.lab.Sites[p.index].Structure == "" {
		return privileges.ACL(doctor.StoreGrants(host, facts))
	}
	facts.Entries[sourceEntry(p.name)] = doctor.Entry{Type: "pbs", Datastore: Datastore, Namespace: p.name}
	rights := privileges.ACL(doctor.StoreGrants(host, facts))
	// Its own structure's backups belong to that structure's host: to protect one the
	// agent needs the right to what is others' (reference/proxmox.md, section 9).
	own := privileges.StorePath(Datastore, p.name)
	rights[own] = append(rights[own], "Datastore.Modify")
	return rights
}

// How long a pull waits for another site: sync jobs run one after another, and a dead
// site must not keep the others' copies waiting.
const (
	pullDial   = 2 * time.Second
	pullAnswer = 5 * time.Second
)

// source returns the PBS of another site, as this site's PBS reaches it: over the mesh.
func (p *process) source(ctx context.Context, from Host, other string) (lab.SyncSource, error) {
	j, err := p.lab.Index(other)
	if err != nil {
		return nil, err
	}
	h, ok := p.lab.store(j)
	if !ok {
		return nil, fmt.Errorf("sync from %s: it has no PBS", other)
	}
	want, err := Fingerprint(p.dir, other, "pbs", h.Name)
	if err != nil {
		return nil, err
	}
	plan := p.lab.Plan()
	dialer := &net.Dialer{
		Timeout:   pullDial,
		LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(plan.HostBackend(p.index, from.Index), 0)),
	}
	transport := &http.Transport{
		DialContext: dialer.DialContext, TLSHandshakeTimeout: pullDial, ResponseHeaderTimeout: pullAnswer,
		TLSClientConfig: &tls.Config{
			// The certificate is self-signed, as the vendor's: the fingerprint decides.
			InsecureSkipVerify: true, MinVersion: tls.VersionTLS12,
			VerifyConnection: func(s tls.ConnectionState) error {
				if got := fingerprint(s.PeerCertificates[0].Raw); got != want {
					return fmt.Errorf("fingerprint '%s' not verified", strings.ToLower(got))
				}
				return nil
			},
		},
	}
	context.AfterFunc(ctx, transport.CloseIdleConnections)
	base := fmt.Sprintf("https://%s/sync", netip.AddrPortFrom(plan.Host(j, h.Index), p.lab.Ports().PBS))
	return lab.RemoteSource(ctx, transport, base, syncToken+":"+p.lab.TokenSecret(other, syncToken)), nil
}

func (p *process) openPVE(h Host, pbs *lab.PBS) (*lab.PVE, error) {
	store, ok := p.lab.store(p.index)
	if !ok || pbs == nil {
		return nil, errors.New("a site with a PVE needs a PBS")
	}
	server := p.lab.Plan().Host(p.index, store.Index).String()
	print, err := Fingerprint(p.dir, p.name, "pbs", store.Name)
	if err != nil {
		return nil, err
	}
	entry := func(id, ns, home string) lab.StorageConfig {
		return lab.StorageConfig{
			ID: id, Type: "pbs", Server: server, Datastore: Datastore, Namespace: ns, Fingerprint: print,
			Username: backupToken, Password: p.lab.TokenSecret(p.name, backupToken), Key: p.lab.BackupKey(home),
		}
	}
	later := func(home string) []lab.StorageConfig {
		l, spaces := lineages(home)[network.SiteID(home)], laterSpaces(home)
		out := []lab.StorageConfig{entry(l.Away, spaces[0], home), entry(l.Sealed, spaces[1], home)}
		for i := range out { // by the agent's own token, so that it may protect what it makes there
			out[i].Username, out[i].Password = PBSToken, p.lab.TokenSecret(p.name, PBSToken)
		}
		return out
	}
	cfg := lab.PVEConfig{
		Site: p.name, Node: h.Name, Version: cmp.Or(p.lab.PVE, pveVersion), Address: p.lab.Plan().Host(p.index, h.Index).String(),
		Storages: []lab.StorageConfig{{ID: LocalStorage, Type: "zfspool", Size: hostStorage}},
		Bridges:  []lab.BridgeConfig{{Name: Bridge, Ports: "eno1", VLANAware: true}},
		Tokens:   map[string]string{PVEToken: p.lab.TokenSecret(p.name, PVEToken)},
		Memory:   hostMemory, RestoreRate: p.lab.Rate,
		Rand: p.lab.rand("pve " + h.Name), Clock: time.Now, Dir: p.stateDir("pve", h.Name),
		DialPBS: func(to string) *lab.PBS {
			if to != server {
				return nil
			}
			return pbs
		},
	}
	if h.Owner == network.OwnerStructure {
		look, err := lookRights(cfg.Version)
		if err != nil {
			return nil, err
		}
		release, err := privileges.ParseRelease(cfg.Version)
		if err != nil {
			return nil, err
		}
		rights := privileges.ACL(privileges.NeededToComeHome(release, privileges.Paths{
			Node: h.Name, Storages: []string{LocalStorage}, Networks: []privileges.NIC{{Bridge: Bridge}},
			Backups: []string{ownBackups, lineages(p.name)[network.SiteID(p.name)].Away, lineages(p.name)[network.SiteID(p.name)].Sealed},
		}))
		for _, right := range look {
			if !slices.Contains(rights["/vms"], right) {
				rights["/vms"] = append(rights["/vms"], right)
			}
		}
		cfg.ACL = map[string]map[string][]string{PVEToken: rights}
		cfg.Storages = append(cfg.Storages, entry(ownBackups, p.name, p.name))
		cfg.Storages = append(cfg.Storages, later(p.name)...)
	} else {
		for _, home := range append(p.lab.homes(p.index), p.name) { // its own for a rescue
			cfg.Storages = append(cfg.Storages, entry(sourceEntry(home), home, home))
			cfg.Storages = append(cfg.Storages, later(home)...)
		}
		grants, err := doctor.Grants(p.lab.Spec(), network.SiteID(p.name), cfg.Version)
		if err != nil {
			return nil, err
		}
		cfg.ACL = map[string]map[string][]string{PVEToken: privileges.ACL(grants)}
	}
	pve, err := lab.NewPVE(cfg)
	if err != nil {
		return nil, err
	}
	if len(pve.Guests()) == 0 {
		err = p.populate(pve, h)
	}
	return pve, err
}

// populate puts the guests that live on a host there; they start when it gets power.
func (p *process) populate(pve *lab.PVE, h Host) error {
	now := time.Now()
	pve.Advance(now)
	for _, g := range p.lab.GuestsOf(p.name) {
		if !h.lodges(g) {
			continue
		}
		vlan := p.lab.VLAN(g.Structure)
		nic := fmt.Sprintf("virtio=%s,bridge=%s,tag=%d", mac(g), Bridge, vlan)
		kind := "qemu"
		if g.Type == network.CT {
			kind, nic = "lxc", fmt.Sprintf("name=eth0,hwaddr=%s,bridge=%s,tag=%d,ip=dhcp", mac(g), Bridge, vlan)
		}
		spec := lab.GuestSpec{
			ID: g.ID, Kind: kind, Name: g.Name, Memory: g.Memory, DiskSize: g.Disk, Storage: LocalStorage,
			Nets: map[string]string{"net0": nic}, HostNames: g.Names, Onboot: 1,
		}
		if err := pve.AddGuest(spec, nil); err != nil {
			return err
		}
		if err := pve.StartGuest(g.ID, now); err != nil {
			return err
		}
	}
	return nil
}

// mac is a guest's address in Proxmox's own range.
func mac(g Member) string {
	return fmt.Sprintf("BC:24:11:%02X:%02X:%02X", g.ID>>16, g.ID>>8&0xff, g.ID&0xff)
}

// serveHosts puts every API behind its listener.
func (p *process) serveHosts(ctx context.Context) error {
	for _, m := range p.machines {
		addr := p.lab.Plan().HostBackend(p.index, m.Index)
		if m.pve != nil {
			h := leases{next: m.pve, address: func(id int) (netip.Addr, bool) { return p.leased(m.pve, id) }}
			api := p.restores.watch(m.Name, lab.WithFaults("pve:"+m.Name, faulty{leases: h, PVE: m.pve, done: p.effects.on(m.Name)}, p.faults))
			if err := p.serveAPI(ctx, m, "pve", netip.AddrPortFrom(addr, p.lab.Ports().PVE), api); err != nil {
				return err
			}
		}
		if m.pbs != nil {
			mux := http.NewServeMux()
			mux.Handle("/sync/", http.StripPrefix("/sync", m.pbs.SyncHandler()))
			mux.Handle("/", lab.WithFaults("pbs:"+m.Name, m.pbs, p.faults))
			if err := p.serveAPI(ctx, m, "pbs", netip.AddrPortFrom(addr, p.lab.Ports().PBS), mux); err != nil {
				return err
			}
		}
	}
	return nil
}

// faulty answers with leases and lets faults reach the host behind them.
type faulty struct {
	leases
	*lab.PVE
	done func(next http.Handler, w http.ResponseWriter, r *http.Request)
}

// ServeHTTP answers with the leases; what reaches the host is noted, as often as it does.
func (f faulty) ServeHTTP(w http.ResponseWriter, r *http.Request) { f.done(f.leases, w, r) }

func (p *process) serveAPI(ctx context.Context, m *machine, kind string, at netip.AddrPort, h http.Handler) error {
	cert, err := loadCert(certFile(p.dir, p.name, kind+"-"+m.Name))
	if err != nil {
		return err
	}
	ln, err := p.listen(ctx, at)
	if err != nil {
		return err
	}
	if ln = m.power.listen(ln); kind == "pbs" {
		ln = m.store.listen(ln)
	}
	h = lab.Waiting(h, Sleep, func(where string) {
		p.log.Warn("host crashes by a fault", "host", m.Name, "where", where)
		m.crash(time.Now())
	})
	config := &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}}
	p.serve(ctx, tls.NewListener(ln, config), h)
	return nil
}

// Sleep waits for d or the end of ctx, whose cause it returns then.
func Sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// errorLog hides what net/http prints of every probe that hangs up.
func (p *process) errorLog() *slog.Logger { return p.log.With("component", "http") }
