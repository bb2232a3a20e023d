package sim

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/doctor"
	"github.com/raoull/worldwidewelsh/internal/lab"
	"github.com/raoull/worldwidewelsh/internal/network"
	"github.com/raoull/worldwidewelsh/internal/privileges"
)

// The simulated machines restore so slowly that there is time for trouble.
const (
	restoreRate = 12 << 10 // bytes/s, shared
	hostMemory  = 16 << 30 // default
	hostStorage = 1 << 30
	guestMemory = 512 << 20
	reserved    = 2 << 30 // of a target's memory, for residents: the default of network.yaml
	pveVersion  = "9.2.1"
)

// Site is one simulated place: its machines, and who runs on them.
type Site struct {
	place
	index    int
	power    bool          // of the place; off: nothing of it answers
	host     bool          // Raoull's machine runs (with the PBS, and the agent's)
	own      bool          // the structure's machine runs
	ownGone  time.Time     // when it last stopped
	ownBack  time.Time     // when it last began
	handed   time.Time     // when a person last started a guest of it
	burnt    bool          // it is destroyed, disks and all
	plug     bool          // it was put off by its fence
	mute     bool          // that fence does not answer
	unfenced bool          // it was never set up
	programs string        // what its programs do instead of ending well
	uplink   bool          // the line to everybody else
	skew     time.Duration // of its wall clock, which also
	drift    float64       // gains so many seconds a second,
	kept     time.Duration // but for this long, in which somebody set it
	refuses  bool          // every connection
	sick     bool          // its agent sees nothing, and does not know why
	liar     bool          // its agent sees everything well, whatever is
	dns      dnsFault

	structure *lab.PVE // the association's, nil without
	raoull    *lab.PVE // the target of restores, nil without
	pbs       *lab.PBS // nil at a witness
	agent     *Agent
}

// wall is what the clock of a site's agent shows.
func (s *Site) wall(now time.Time) time.Time {
	return now.Add(s.skew + time.Duration(s.drift*float64(now.Sub(Epoch)-s.kept)))
}

// hosts opens the fakes of all sites.
func (w *World) openHosts() error {
	keys := map[network.SiteID]*lab.Key{}
	for _, p := range w.places {
		keys[p.name] = lab.NewKey(w.streams.Stream("key " + string(p.name)))
	}
	for i, p := range w.places {
		s := &Site{place: p, index: i, power: true, host: true, own: p.kind == network.Brique, uplink: true}
		w.sites[p.name] = s
		if p.kind == network.Witness {
			continue
		}
		var err error
		if s.pbs, err = lab.NewPBS(w.pbsConfig(i)); err != nil {
			return err
		}
		if p.kind != network.Brique {
			continue
		}
		own := []lab.StorageConfig{w.entry(i, ownBackups, p.name, keys)}
		home := w.pveConfig(s, 0, own)
		home.ACL = map[string]map[string][]string{pveToken: privileges.ACL(privileges.NeededToLeave(home.Node, ownBackups))}
		if w.opts.Homeward && p.saved() {
			home.Storages = append(home.Storages, w.laterEntries(i, p.name, keys)...)
			if home.ACL[pveToken], err = homeRights(home.Node, p.name); err != nil {
				return err
			}
		}
		if s.structure, err = lab.NewPVE(home); err != nil {
			return err
		}
		var sources []lab.StorageConfig
		for _, o := range w.places {
			if o.saved() {
				sources = append(sources, w.entry(i, sourceEntry(o.name), o.name, keys))
				sources = append(sources, w.laterEntries(i, o.name, keys)...)
			}
		}
		target := w.pveConfig(s, 1, sources)
		if target.ACL, err = w.nodeRights(p.name); err != nil {
			return err
		}
		if s.raoull, err = lab.NewPVE(target); err != nil {
			return err
		}
		if err := w.populate(s); err != nil {
			return err
		}
	}
	return nil
}

func (w *World) rand(name string) *rand.Rand { return w.streams.Stream(name) }

// disks are those of the next PBS: as a rule all share what never changes.
func (w *World) disks() *lab.Store {
	if w.opts.Apart {
		return lab.NewMemStore()
	}
	return w.chunks
}

func (w *World) pbsConfig(i int) lab.PBSConfig {
	p := w.places[i]
	c := lab.PBSConfig{
		Node: "pbs-" + string(p.name), Datastore: datastore, Rand: w.rand("pbs " + string(p.name)), Clock: w.loop.Now,
		Store:  w.disks(),
		Tokens: map[string]string{pbsToken: secret, backupUser: secret},
		ACL:    map[string]map[string][]string{pbsToken: w.storeRights(p.name)},
	}
	for _, o := range w.places {
		if o.saved() {
			c.Namespaces = append(c.Namespaces, string(o.name))
		}
		if o.saved() && o.name != p.name {
			c.Jobs = append(c.Jobs, pullOf(o.name))
		}
		c.Namespaces = append(c.Namespaces, w.laterSpaces(o)...)
		if w.opts.Homeward {
			c.Jobs = append(c.Jobs, w.laterJobs(p.name, o)...)
		}
	}
	c.Remote = func(name string) lab.SyncSource {
		if from := network.SiteID(name); w.net.mesh(from, p.name) {
			return w.sites[from].pbs
		}
		return nil
	}
	return c
}

// pullOf is the job with which a store pulls a site's backups.
func pullOf(of network.SiteID) lab.SyncJob {
	return lab.SyncJob{
		ID: "pull-" + string(of), Remote: string(of), RemoteStore: datastore, FromNS: string(of), NS: string(of),
		Owner: pbsToken, // so that the agent may protect what it restores
	}
}

// nodeRights are what the set-up gives an agent's token on the PVE that restores, and
// storeRights those on its site's PBS: a simulated agent has no right more.
func (w *World) nodeRights(site network.SiteID) (map[string]map[string][]string, error) {
	grants, err := doctor.Grants(w.spec, site, pveVersion)
	return map[string]map[string][]string{pveToken: privileges.ACL(grants)}, err
}

func (w *World) storeRights(site network.SiteID) map[string][]string {
	_, host, _ := w.spec.Target(site)
	facts := doctor.Facts{Store: doctor.StoreFacts{Datastore: datastore}, Entries: map[string]doctor.Entry{}}
	for _, of := range w.spec.SiteIDs() {
		facts.Entries[sourceEntry(of)] = doctor.Entry{Type: "pbs", Datastore: datastore, Namespace: string(of)}
		facts.Entries[awayEntry(of)] = doctor.Entry{Type: "pbs", Datastore: datastore, Namespace: failover.AwayNamespace(of)}
		facts.Entries[sealedEntry(of)] = doctor.Entry{Type: "pbs", Datastore: datastore, Namespace: failover.SealedNamespace(of)}
		if of != site || w.opts.Homeward {
			facts.Jobs = append(facts.Jobs, doctor.SyncJob{Remote: string(of), RemoteStore: datastore, Pull: true})
		}
	}
	acl := privileges.ACL(doctor.StoreGrants(host, facts))
	// The backups of the site's own structure belong to its host, and a rescue
	// pins them (docs/operations.md).
	own := "/datastore/" + datastore + "/" + string(site)
	acl[own] = append(slices.Clone(acl[own]), "Datastore.Modify")
	return acl
}

func (w *World) entry(i int, id string, of network.SiteID, keys map[network.SiteID]*lab.Key) lab.StorageConfig {
	return lab.StorageConfig{
		ID: id, Type: "pbs", Server: hostAddr(i, 1), Datastore: datastore, Namespace: string(of),
		Username: backupUser, Password: secret, Key: keys[of],
	}
}

func (w *World) pveConfig(s *Site, h int, entries []lab.StorageConfig) lab.PVEConfig {
	node, memory := string(structureHost(s.name)), int64(hostMemory)
	if h == 1 {
		node, memory = string(raoullHost(s.name)), w.opts.HostMemory
	}
	return lab.PVEConfig{
		Version: pveVersion, Site: string(s.name), Node: node, Address: hostAddr(s.index, h), Memory: memory, RestoreRate: cmp.Or(w.opts.RestoreRate, restoreRate), WriteEvery: w.opts.Chatter,
		Storages: append([]lab.StorageConfig{{ID: localDisks, Type: "zfspool", Size: hostStorage}}, entries...),
		Bridges:  []lab.BridgeConfig{{Name: bridge, Ports: "eno1", VLANAware: true}},
		Tokens:   map[string]string{pveToken: secret},
		Rand:     w.rand("pve " + node), Clock: w.loop.Now,
		DialPBS: func(server string) *lab.PBS {
			if server == hostAddr(s.index, 1) {
				return s.pbs
			}
			return nil
		},
	}
}

// populate puts a structure's guests on its host and starts them.
func (w *World) populate(s *Site) error {
	s.structure.Advance(Epoch)
	for n, m := range s.guests {
		mac := fmt.Sprintf("BC:24:11:00:%02X:%02X", s.index, n)
		addr := guestAddr(s.index, n) + "/24"
		spec := lab.GuestSpec{
			ID: homeID(s.index, n), Kind: string(m.kind), Name: string(guestID(s.place, m)), DiskSize: m.chunks << 16,
			Storage: localDisks, HostNames: []string{publicName(s.place, m)}, Onboot: 1,
			Nets:      map[string]string{"net0": fmt.Sprintf("virtio=%s,bridge=%s,tag=%d", mac, bridge, s.vlan)},
			Addresses: map[string]string{"net0": addr},
		}
		if n == 0 {
			spec.Memory = w.opts.FirstMemory
		}
		if m.kind == network.CT {
			spec.Nets["net0"] = fmt.Sprintf("name=eth0,hwaddr=%s,bridge=%s,tag=%d,ip=%s", mac, bridge, s.vlan, addr)
		}
		if err := s.structure.AddGuest(spec, nil); err != nil {
			return err
		}
		if err := s.structure.StartGuest(spec.ID, Epoch); err != nil {
			return err
		}
	}
	return nil
}

// backup makes a backup of every guest whose home has power, and has the other
// stores that are reachable pull it.
func (w *World) backup() {
	now := w.loop.Now()
	for _, id := range w.ids {
		s := w.sites[id]
		if !s.own || !s.power || !s.host {
			continue
		}
		for n := range s.guests {
			if err := s.structure.Backup(w.declared(s, n), ownBackups, now); err != nil {
				w.tell("backup of %s/%d: %v", id, w.declared(s, n), err)
			}
		}
		for _, other := range w.ids {
			o := w.sites[other]
			if o.pbs == nil || other == id || !w.net.mesh(id, other) {
				continue
			}
			if _, _, err := o.pbs.Sync(s.pbs, pullOf(id), now); err != nil {
				w.tell("sync %s to %s: %v", id, other, err)
			}
		}
	}
}

// running returns the running guest of a site that has an address, wherever on
// the site it runs.
func (s *Site) running(addr string) (lab.GuestView, bool) {
	for _, p := range []*lab.PVE{s.raoull, s.structure} {
		if p == nil {
			continue
		}
		for _, g := range p.Guests() {
			for _, n := range g.Nets {
				if a, _, _ := strings.Cut(n.Address, "/"); a == addr && g.Serving && n.Connected {
					return g, true
				}
			}
		}
	}
	return lab.GuestView{}, false
}
