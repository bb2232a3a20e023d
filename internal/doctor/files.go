package doctor

import (
	"maps"
	"slices"
	"strings"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/network"
)

// LocalFile is what an agent tells of its own wwwd.yaml, as it runs: names and
// addresses that others need to compare, no secret and no path. It tells a little of its
// backup server, too, which other agents cannot ask.
type LocalFile struct {
	Site      failover.SiteID   `json:"site"`
	Version   string            `json:"version"` // of the agent
	Digest    string            `json:"digest"`  // of the whole configuration: differs where anything does
	Advertise string            `json:"advertise"`
	Metrics   string            `json:"metrics,omitempty"`
	DNS       []string          `json:"dns,omitempty"`       // where it answers as a name server
	PVE       bool              `json:"pve,omitempty"`       // it has a token for its site's PVE
	PBS       bool              `json:"pbs,omitempty"`       // and for its PBS
	Hands     []network.HostID  `json:"hands,omitempty"`     // PVEs whose guests it may move
	Inventory []network.HostID  `json:"inventory,omitempty"` // PVEs whose guests it lists
	Fences    []string          `json:"fences,omitempty"`
	Programs  []string          `json:"programs,omitempty"`  // that operations may call there
	TSIG      []string          `json:"tsig,omitempty"`      // names of keys
	Pins      map[string]string `json:"pins,omitempty"`      // certificates that it expects, by "pve:HOST" and "pbs:HOST"
	PublicCA  bool              `json:"public_ca,omitempty"` // it trusts further authorities for public names

	// Of its backup server, as its doctor read it last: what sync jobs bring of later lineages.
	CopiesRead bool     `json:"copies_read,omitempty"`
	Copies     []Copied `json:"copies,omitempty"`
}

// Told is the answer of one agent, or why there is none.
type Told struct {
	File *LocalFile
	Why  string
}

// files compares the agents' own files with what is declared for all, and with
// each other. Nothing else does: each agent reads only its own.
func (in Input) files() result {
	r := result{}
	if in.State.Network == nil {
		return r
	}
	for _, site := range sorted(in.Files) {
		decl, declared := in.State.Network.Sites[site]
		switch f := in.Files[site].File; {
		case f == nil:
			r.add(found(Files, CodeFileUntold, site, fileOf(site), "why", in.Files[site].Why))
		case declared:
			r.checked++
			in.fileFits(&r, site, decl, *f)
		}
	}
	in.filesAgree(&r)
	return r
}

func fileOf(site failover.SiteID) string { return "wwwd.yaml of " + string(site) }

// fileFits holds one file against what is declared for its site.
func (in Input) fileFits(r *result, site failover.SiteID, decl network.Site, f LocalFile) {
	add := func(code string, pairs ...string) { r.add(found(Files, code, site, fileOf(site), pairs...)) }
	if decl.Mesh.IsValid() && f.Advertise != decl.Mesh.String() {
		add(CodeFileMesh, "file", f.Advertise, "declared", decl.Mesh.String())
	}
	if decl.DNS.IsValid() && len(f.DNS) == 0 {
		add(CodeFileNoDNS, "declared", decl.DNS.String())
	}
	if _, host, ok := in.State.Network.Target(site); ok {
		for _, token := range []struct {
			kind         string
			needed, have bool
		}{{"pve", host.PVE != nil, f.PVE}, {"pbs", host.PBS != nil, f.PBS}} {
			if token.needed && !token.have {
				add(CodeFileNoToken, "kind", token.kind)
			}
		}
	}
	for _, id := range decl.HostIDs() {
		if fence := decl.Hosts[id].Fence; fence != "" && !slices.Contains(f.Fences, fence) {
			add(CodeFileNoFence, "fence", fence, "host", string(id))
		}
	}
	for _, id := range in.handless(site, decl, f) {
		add(CodeFileNoHands, "host", string(id))
	}
	for _, name := range in.programsAt(site) {
		if !slices.Contains(f.Programs, name) {
			add(CodeFileNoProgram, "program", name)
		}
	}
	for _, name := range sorted(in.State.Network.Zones) {
		if key := in.State.Network.Zones[name].Key; key != "" && !slices.Contains(f.TSIG, key) {
			add(CodeFileNoTSIG, "key", key, "zone", name)
		}
	}
	for _, id := range append(slices.Clone(f.Hands), f.Inventory...) {
		if _, here := decl.Hosts[id]; !here {
			add(CodeFileStranger, "host", string(id), "site", string(site))
		}
	}
	for _, target := range sorted(f.Pins) {
		if _, id, _ := strings.Cut(target, ":"); in.State.Network.SiteOf(network.HostID(id)) == "" {
			add(CodeFileStranger, "host", id)
		}
	}
}

// handless lists the hosts of a site that receives guests, of which some are protected, on
// which its agent may not act.
func (in Input) handless(site failover.SiteID, decl network.Site, f LocalFile) []network.HostID {
	net := in.State.Network
	own, _, target := net.Target(site)
	if !target {
		return nil
	}
	var out []network.HostID
	for _, id := range decl.HostIDs() {
		protects := func(g network.Guest) bool { return g.Host == id && g.Priority != 4 }
		if id != own && !slices.Contains(f.Hands, id) && slices.ContainsFunc(slices.Collect(maps.Values(net.Guests)), protects) {
			out = append(out, id)
		}
	}
	return out
}

// programsAt lists what operations may call at a site: of every guest that it may receive,
// from elsewhere or home again.
func (in Input) programsAt(site failover.SiteID) []string {
	found := map[string]bool{}
	if _, _, target := in.State.Network.Target(site); !target {
		return nil
	}
	for _, g := range in.State.Network.Guests {
		if g.Priority == 4 {
			continue
		}
		if g.Check != nil {
			found[g.Check.Exec] = true
		}
		if g.Hooks != nil && g.Hooks.Before != nil {
			found[g.Hooks.Before.Run] = true
		}
		if g.Hooks != nil && g.Hooks.After != nil {
			found[g.Hooks.After.Run] = true
		}
	}
	delete(found, "")
	return sorted(found)
}

// filesAgree tells in what the agents differ from each other.
func (in Input) filesAgree(r *result) {
	versions, pins, authorities := values{}, map[string]values{}, values{}
	for _, site := range sorted(in.Files) {
		f := in.Files[site].File
		if f == nil {
			continue
		}
		versions.add(f.Version, site)
		authorities.add(map[bool]string{true: "with", false: "without"}[f.PublicCA], site)
		for target, print := range f.Pins {
			if pins[target] == nil {
				pins[target] = values{}
			}
			pins[target].add(strings.ToLower(strings.ReplaceAll(print, ":", "")), site)
		}
	}
	if len(versions) > 1 {
		r.add(found(Files, CodeFileVersions, "", "agents", "versions", versions.String()))
	}
	for _, target := range sorted(pins) {
		if len(pins[target]) > 1 {
			r.add(found(Files, CodeFilePins, "", target, "pins", pins[target].String()))
		}
	}
	if len(authorities) > 1 {
		r.add(found(Files, CodeFileAuthorities, "", "public_ca_file", "sites", authorities.String()))
	}
}

// values are what several sites say of one thing.
type values map[string][]string

func (v values) add(value string, site failover.SiteID) { v[value] = append(v[value], string(site)) }

// String is "VALUE (SITE, SITE); VALUE (SITE)"; a fingerprint shows its beginning.
func (v values) String() string {
	var out []string
	for _, value := range slices.Sorted(maps.Keys(v)) {
		short := value
		if len(short) == 64 {
			short = short[:12] + "…"
		}
		out = append(out, short+" ("+strings.Join(v[value], ", ")+")")
	}
	return strings.Join(out, "; ")
}
