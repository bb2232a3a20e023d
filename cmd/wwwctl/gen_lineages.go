package main

import (
	"cmp"
	"context"
	"net/url"
	"slices"
	"strings"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/network"
)

// genLineages prints the commands that make the places of later lines of backups: the
// namespaces, the storage entries, and the jobs that bring them to other sites. An agent
// may make none of them.
func (a *app) genLineages(ctx context.Context, file string, args []string) error {
	spec, err := a.declared(ctx, file)
	if err != nil {
		return err
	}
	sites := spec.SiteIDs()
	if len(args) == 1 {
		sites = []network.SiteID{network.SiteID(args[0])}
	}
	t := &text{}
	for _, site := range sites {
		lineagesAt(t, spec, site)
	}
	if t.Len() == 0 {
		return fail(exitFailure, "WWW-3014", "why", "no such site receives guests of another one (hosts.NAME.restore and sources)")
	}
	a.printf("%s", t.String())
	return nil
}

// lineage is one place for backups at a site: an entry of its PVE, a namespace of its PBS.
type lineage struct{ entry, ns, key string }

// lineagesOf are the places that a host has to have, those of away guests first: for every
// home whose backups it can restore, its own site's too, since what is sealed at home or
// comes back to it lies there.
func lineagesOf(host network.Host) (out []lineage) {
	for _, kind := range []string{"away", "sealed"} {
		for _, home := range network.SortedKeys(host.Sources) {
			if len(host.Sources[home]) == 0 {
				continue
			}
			l, declared := lineage{key: host.Sources[home][0]}, host.Lineages[home]
			if kind == "away" {
				l.entry, l.ns = cmp.Or(declared.Away, "pbs-away-"+string(home)), failover.AwayNamespace(home)
			} else {
				l.entry, l.ns = cmp.Or(declared.Sealed, "pbs-sealed-"+string(home)), failover.SealedNamespace(home)
			}
			out = append(out, l)
		}
	}
	return out
}

// pull is a job that brings a line of backups from the site that made it.
type pull struct {
	lineage
	from  network.SiteID
	store string // of that site
}

// pullsTo are the jobs by which a site gets the later lines that other sites have, each to
// its namesake.
func pullsTo(spec *network.Spec, site network.SiteID) (out []pull) {
	for _, from := range spec.SiteIDs() {
		_, host, ok := spec.Target(from)
		_, store, stores := spec.Store(from)
		if from == site || !ok || !stores {
			continue
		}
		for _, l := range lineagesOf(host) {
			out = append(out, pull{l, from, store.PBS.Datastore})
		}
	}
	return out
}

func lineagesAt(t *text, spec *network.Spec, site network.SiteID) {
	_, host, ok := spec.Target(site)
	_, store, stores := spec.Store(site)
	places := lineagesOf(host)
	if !ok || !stores || len(places) == 0 {
		return
	}
	if t.Len() > 0 {
		t.line("")
	}
	pulls := pullsTo(spec, site)
	t.line("# %s: on the backup server, as root. The namespaces for guests that live away from home for a while (away)", site)
	t.line("# and for branches that nobody may lose (sealed):")
	made := map[string]bool{}
	create := func(ns string) {
		if !made[ns] {
			t.line("proxmox-backup-client namespace create %s --repository 'root@pam@localhost:%s'", ns, store.PBS.Datastore)
		}
		made[ns] = true
	}
	for _, l := range slices.Concat(places, placesOf(pulls)) {
		parent, _, _ := strings.Cut(l.ns, "/")
		create(parent)
		create(l.ns)
	}
	t.line("# Then run deploy/proxmox/setup-pbs.sh again, with these among NAMESPACES (and among SHARED, for the others to")
	t.line("# pull from here): the agent's token gets its rights there. The jobs that bring what other sites have, so that each")
	t.line("# is at two sites; the remotes are those of the jobs that there are (proxmox-backup-manager remote list):")
	for _, p := range pulls {
		kind, home, _ := strings.Cut(p.ns, "/")
		t.line("proxmox-backup-manager sync-job create %s-%s-%s --store %s --ns %s --remote %s --remote-store %s --remote-ns %s --max-depth 0 --remove-vanished false --owner 'wwwd@pbs!agent' --schedule hourly",
			kind, home, p.from, store.PBS.Datastore, p.ns, p.from, p.store, p.ns)
	}
	t.line("# No agent deletes backups: these jobs do. They spare the newest of each guest and what is protected, as sealed")
	t.line("# branches are. Keep at least as much as you do of the homes' own backups:")
	for _, parent := range []string{"away", "sealed"} {
		t.line("proxmox-backup-manager prune-job create prune-%s --store %s --ns %s --schedule daily --keep-last 3 --keep-daily 7 --keep-weekly 4", parent, store.PBS.Datastore, parent)
	}
	t.line("# %s: on the PVE that receives guests, as root. SECRET is that of the agent's token on this site's PBS,", site)
	t.line("# FINGERPRINT its certificate's (proxmox-backup-manager cert info); the key is that of the home's backups here:")
	for _, l := range places {
		t.line("pvesm add pbs %s --server %s --datastore %s --namespace %s --username 'wwwd@pbs!agent' --password SECRET --fingerprint FINGERPRINT --content backup --encryption-key /etc/pve/priv/storage/%s.enc",
			l.entry, hostOf(store.PBS.URL), store.PBS.Datastore, l.ns, l.key)
	}
	t.line("# Then run deploy/proxmox/setup-pve.sh again, with these among BACKUPS; and in network.yaml, under this host:")
	t.line("#   lineages: {%s}", lineagesText(places))
	lineagesAtHome(t, spec, site, store)
}

// lineagesAtHome prints what a structure's PVE needs so that its guests can come home to it.
// Its people type it: nothing is ever installed there.
func lineagesAtHome(t *text, spec *network.Spec, site network.SiteID, store network.Host) {
	for _, id := range spec.Sites[site].HostIDs() {
		host := spec.Sites[site].Hosts[id]
		if host.Owner != network.OwnerStructure || host.PVE == nil {
			continue
		}
		t.line("# %s: on the structure's PVE, as root, by its people. The key is that of its own backups:", id)
		declared := host.Lineages[site]
		for _, l := range []lineage{
			{entry: cmp.Or(declared.Away, "pbs-away-"+string(site)), ns: failover.AwayNamespace(site)},
			{entry: cmp.Or(declared.Sealed, "pbs-sealed-"+string(site)), ns: failover.SealedNamespace(site)},
		} {
			t.line("pvesm add pbs %s --server %s --datastore %s --namespace %s --username 'wwwd@pbs!agent' --password SECRET --fingerprint FINGERPRINT --content backup --encryption-key /etc/pve/priv/storage/pbs-own.enc",
				l.entry, hostOf(store.PBS.URL), store.PBS.Datastore, l.ns)
		}
		t.line("# and in network.yaml, under this host, with a range of ids that no guest there has (hands: in wwwd.yaml has the token,")
		t.line("# see deploy/proxmox/README.md):")
		t.line("#   restore: {storage: local-zfs, bridge: vmbr0, ids: 95000-95999}")
		t.line("#   lineages: {%s: {away: %s, sealed: %s}}", site,
			cmp.Or(declared.Away, "pbs-away-"+string(site)), cmp.Or(declared.Sealed, "pbs-sealed-"+string(site)))
	}
}

func placesOf(pulls []pull) (out []lineage) {
	for _, p := range pulls {
		out = append(out, p.lineage)
	}
	return out
}

func lineagesText(places []lineage) string {
	half := len(places) / 2 // away, then sealed, of the same homes
	var out []string
	for i, l := range places[:half] {
		_, home, _ := strings.Cut(l.ns, "/")
		out = append(out, home+": {away: "+l.entry+", sealed: "+places[half+i].entry+"}")
	}
	return strings.Join(out, ", ")
}

func hostOf(rawURL string) string {
	u, err := url.Parse(rawURL)
	if err != nil {
		return "SERVER"
	}
	if port := u.Port(); port != "" && port != "8007" {
		return u.Hostname() + " --port " + port
	}
	return u.Hostname()
}
