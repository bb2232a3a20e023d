package doctor

import (
	"strconv"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/network"
)

// Input is all that the checks look at.
type Input struct {
	State *failover.State
	Local failover.LocalView
	Facts *Facts // nil: the agent has not read its machines yet
	Now   time.Time
	Leads []Lead                   // where the names of guests lead for the members in this site's LAN
	Files map[failover.SiteID]Told // what the agents tell of their own files; nil: nobody was asked
}

// result of the checks of one category.
type result struct {
	findings []Finding
	checked  int
}

func (r *result) add(f ...Finding) { r.findings = append(r.findings, f...) }

// here is what the checks of this site's machines work on.
type here struct {
	Input
	id   network.HostID // of the host that receives guests
	host network.Host
}

// Examine runs every check.
func Examine(in Input) Report {
	out := Report{Site: in.Local.Site, Items: []Finding{}}
	if in.Facts != nil {
		out.ReadAt = in.Facts.Ended
	}
	for _, c := range Categories() {
		if c == Files && in.Files == nil {
			continue // nothing was compared, which is not to look like nothing found
		}
		r := in.category(c)
		if in.Facts != nil {
			for _, f := range in.Facts.Failed {
				if f.Category == c {
					r.add(found(c, CodeUnread, in.Local.Site, "", "why", f.Why))
				}
			}
		}
		if len(r.findings) == 0 {
			r.add(fine(c, r.checked))
		}
		out.Items = append(out.Items, r.findings...)
	}
	sortFindings(out.Items)
	return out
}

func (in Input) category(c Category) result {
	switch c {
	case Base:
		return in.base()
	case Quorum:
		return in.quorum()
	case DNS:
		return in.dns()
	case Network:
		return in.network()
	case Files:
		return in.files()
	case Guests:
		return in.guests()
	case Backups:
		r := in.replicas()
		if in.Facts != nil {
			in.syncJobs(&r)
			if h, why := in.target(); why == nil && in.Facts.Entries != nil {
				h.lineages(&r)
			}
		}
		in.replicated(&r)
		return r
	}
	h, why := in.target()
	if why != nil {
		f := *why
		f.Category = c
		return result{findings: []Finding{f}}
	}
	switch c {
	case Privileges:
		return h.privileges()
	case Keys:
		return h.keys()
	default:
		return h.restore()
	}
}

// target returns this site's restoring host, or why its machines tell nothing.
func (in Input) target() (here, *Finding) {
	stop := func(code string, pairs ...string) (here, *Finding) {
		f := found("", code, in.Local.Site, "", pairs...)
		return here{}, &f
	}
	var id network.HostID
	var host network.Host
	ok := false
	if in.State.Network != nil {
		id, host, ok = in.State.Network.Target(in.Local.Site)
	}
	switch {
	case !ok:
		return stop(CodeNotHere, "site", string(in.Local.Site))
	case in.Facts == nil:
		return stop(CodeNotYet)
	case in.Facts.Access != "":
		return stop(CodeNoAccess, "why", in.Facts.Access)
	}
	return here{Input: in, id: id, host: host}, nil
}

// entries returns the storage entries that the host declares, each with what
// it is for, in order of declaration.
func entries(h network.Host) []use {
	var out []use
	for _, site := range sorted(h.Sources) {
		for _, name := range h.Sources[site] {
			out = append(out, use{name: name, source: site})
		}
	}
	for _, site := range sorted(h.Lineages) {
		for _, name := range []string{h.Lineages[site].Away, h.Lineages[site].Sealed} {
			if name != "" {
				out = append(out, use{name: name, source: site})
			}
		}
	}
	return out
}

type use struct {
	name   string
	source failover.SiteID
}

func guestLabel(kind string, id int, name string) string {
	s := kind + ":" + strconv.Itoa(id)
	if name != "" {
		s += " " + name
	}
	return s
}
