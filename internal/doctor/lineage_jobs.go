package doctor

import (
	"slices"
	"strings"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/network"
	"github.com/raoull/worldwidewelsh/internal/privileges"
)

// AllDepths is the depth of a job that takes every namespace below its own.
const AllDepths = -1

// takes says whether a job of a namespace, with so many levels below it, takes another
// namespace; stops, whether it would if it went deeper.
func takes(of string, depth int, ns string) (covered, stops bool) {
	below, inside := ns, true
	if of != "" {
		below, inside = strings.CutPrefix(ns+"/", of+"/")
	}
	if !inside {
		return false, false
	}
	levels := len(strings.FieldsFunc(below, func(r rune) bool { return r == '/' }))
	covered = depth == AllDepths || levels <= depth
	return covered, !covered
}

// laterSpaces are the namespaces of later lineages at this site: those that its storage
// entries read, and those that its host declares.
func (in Input) laterSpaces() []string {
	out := in.spaces()
	if in.State.Network != nil {
		if _, host, ok := in.State.Network.Target(in.Local.Site); ok {
			for home := range host.Lineages {
				out = append(out, failover.AwayNamespace(home), failover.SealedNamespace(home))
			}
		}
	}
	out = slices.DeleteFunc(out, func(ns string) bool { return !later(ns) })
	slices.Sort(out)
	return slices.Compact(out)
}

// lineageJob checks a job that pulls into a namespace of later lineages, or from one: each
// is brought to its own namesake only and whole, and nothing that vanished elsewhere
// vanishes here.
func (in Input) lineageJob(r *result, j SyncJob) {
	if !j.Pull {
		return
	}
	subject := "sync job " + j.ID
	tell := func(code string, pairs ...string) {
		r.add(found(Backups, code, in.Local.Site, subject, append([]string{"job", j.ID, "remote", j.Remote}, pairs...)...))
	}
	if mixed := later(j.NS) || later(j.RemoteNS); mixed && j.NS != j.RemoteNS {
		tell(CodeLineageMixed, "from", space(j.RemoteNS), "ns", space(j.NS))
	}
	reaches := later(j.NS) || slices.ContainsFunc(in.laterSpaces(), func(ns string) bool {
		covered, _ := takes(j.NS, j.MaxDepth, ns)
		return covered
	})
	switch {
	case j.RemoveVanished && reaches:
		tell(CodeLineageDropped, "ns", j.NS)
	case j.RemoveVanished:
		tell(CodeRemoveVanished, "ns", j.NS)
	}
	if !reaches {
		return
	}
	if len(j.GroupFilter) > 0 {
		tell(CodeLineageFilter, "filter", strings.Join(j.GroupFilter, ", "))
	}
	if j.TransferLast > 0 {
		tell(CodeLineageHoles, "option", "transfer-last", "value", itoa(j.TransferLast))
	}
	if j.VerifiedOnly {
		tell(CodeLineageHoles, "option", "verified-only", "value", "true")
	}
}

func space(ns string) string {
	if ns == "" {
		return "the root namespace"
	}
	return "namespace '" + ns + "'"
}

// spaces are the namespaces that the storage entries of this site read.
func (in Input) spaces() (out []string) {
	for _, id := range sorted(in.Facts.Entries) {
		out = append(out, in.Facts.Entries[id].Namespace)
	}
	return out
}

// lineagePulls checks that what other sites keep of a home's later lineages can come here:
// the agent runs the jobs of just these namespaces for the way home and for the second
// copy of a sealed branch.
func (h here) lineagePulls(r *result, home failover.SiteID) {
	if !h.Facts.Store.JobsRead || !h.othersKeep(home) {
		return
	}
	for _, ns := range []string{failover.AwayNamespace(home), failover.SealedNamespace(home)} {
		r.checked++
		if h.jobsHidden(ns) || slices.ContainsFunc(h.Facts.Jobs, func(j SyncJob) bool { return j.Pull && j.NS == ns }) {
			continue
		}
		short, covered := SyncJob{}, false
		for _, j := range h.Facts.Jobs {
			in, stops := takes(j.NS, j.MaxDepth, ns)
			covered = covered || j.Pull && in
			if j.Pull && stops && short.ID == "" {
				short = j
			}
		}
		if short.ID != "" && !covered {
			r.add(found(Backups, CodeLineageDepth, h.Local.Site, "sync job "+short.ID, "job", short.ID, "depth", itoa(short.MaxDepth), "of", space(short.NS), "ns", ns))
			continue
		}
		r.add(found(Backups, CodeLineageNoPull, h.Local.Site, "namespace "+ns, "ns", ns, "home", string(home), "site", string(h.Local.Site)))
	}
}

// jobsHidden says whether the token is known to see no job of a namespace.
func (in Input) jobsHidden(ns string) bool {
	need := []privileges.Grant{{Path: privileges.StorePath(in.Facts.Store.Datastore, ns), Privilege: "Datastore.Audit"}}
	return len(privileges.Missing(in.Facts.Store.Permissions, need)) > 0
}

// othersKeep says whether another site has places for the later lineages of a home.
func (h here) othersKeep(home failover.SiteID) bool {
	return slices.ContainsFunc(h.State.Network.SiteIDs(), func(site failover.SiteID) bool {
		return site != h.Local.Site && slices.Contains(written(h.State.Network, site), failover.SealedNamespace(home))
	})
}

// written are the namespaces of later lineages that a site's hosts write: guests of other
// homes live there, and branches are sealed there.
func written(spec *network.Spec, site failover.SiteID) (out []string) {
	for _, id := range spec.Sites[site].HostIDs() {
		lineages := spec.Sites[site].Hosts[id].Lineages
		for _, home := range sorted(lineages) {
			if home != site && lineages[home].Away != "" {
				out = append(out, failover.AwayNamespace(home))
			}
			if lineages[home].Sealed != "" {
				out = append(out, failover.SealedNamespace(home))
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Copied is a namespace of later lineages that a sync job brings to another site.
type Copied struct {
	From string `json:"from"` // the remote's name, as a rule that of its site
	NS   string `json:"ns"`   // there
}

// Copies lists what the sync jobs of a site bring from other sites, or to them (push); ok
// is false while its agent has not read them.
func Copies(spec *network.Spec, site failover.SiteID, f *Facts) (out []Copied, ok bool) {
	if spec == nil || f == nil || !f.Store.JobsRead {
		return nil, false
	}
	for _, home := range spec.SiteIDs() {
		for _, ns := range []string{failover.AwayNamespace(home), failover.SealedNamespace(home)} {
			for _, j := range f.Jobs {
				c, of := Copied{From: j.Remote, NS: ns}, j.RemoteNS
				if !j.Pull {
					c.From, of = string(site), j.NS
				}
				if in, _ := takes(of, j.MaxDepth, ns); in && !slices.Contains(out, c) {
					out = append(out, c)
				}
			}
		}
	}
	return out, true
}

// replicated checks that what a site writes of later lineages is brought to another one, as
// far as the agents tell of their sync jobs.
func (in Input) replicated(r *result) {
	spec := in.State.Network
	if spec == nil || in.Files == nil {
		return
	}
	for _, site := range spec.SiteIDs() {
		for _, ns := range written(spec, site) {
			r.checked++
			in.brought(r, site, ns)
		}
	}
}

// brought checks one namespace of a site.
func (in Input) brought(r *result, site failover.SiteID, ns string) {
	spec, others := in.State.Network, 0
	var untold []string
	for _, other := range spec.SiteIDs() {
		_, _, stores := spec.Store(other)
		file := in.Files[other].File
		if !stores {
			continue
		}
		if other != site {
			others++
		}
		if file == nil || !file.CopiesRead {
			untold = append(untold, string(other))
			continue
		}
		for _, c := range file.Copies {
			_, named := spec.Sites[failover.SiteID(c.From)]
			if from := c.From == string(site) || !named; c.NS == ns && from && (other != site || c.From == string(site)) {
				return // a remote that is not called like a site may be any
			}
		}
	}
	if others == 0 || len(untold) > 0 && !in.Local.HasLeader {
		return // who is cut off is told by nobody, which says nothing of the jobs there
	}
	f := found(Backups, CodeLineageAlone, site, "namespace "+ns, "ns", ns, "site", string(site), "untold", strings.Join(untold, ", "))
	if len(untold) > 0 {
		f.Severity = Warning
	}
	r.add(f)
}
