package doctor

import (
	"slices"
	"strconv"
	"strings"

	"github.com/raoull/worldwidewelsh/internal/privileges"
)

// bridge checks the bridge that restored guests are connected to, for each VLAN
// that may come here. PVE looks at it only when a guest starts (proxmox.md
// section 3): a tag on a bridge that is not VLAN-aware is made by a bridge of
// its own on the physical port, and fails where there is none; on a VLAN-aware
// bridge a tag outside its VIDs starts and has no connection.
func (h here) bridge(r *result) {
	name, site := h.host.Restore.Bridge, h.Local.Site
	subject := "bridge " + name
	b, ok := h.Facts.Bridges[name]
	r.checked++
	switch {
	case !ok && h.hidden(name):
		return // what is missing is told among the privileges
	case !ok:
		r.add(found(Restore, CodeNoBridge, site, subject, "bridge", name, "node", h.Facts.Node))
		return
	case !b.Active:
		r.add(found(Restore, CodeBridgeDown, site, subject, "bridge", name))
	}
	vlans := slices.DeleteFunc(tags(h.State.Network, site, h.host), func(tag int) bool { return tag == 0 })
	if len(vlans) == 0 || b.VNet {
		return
	}
	args := []string{"bridge", name, "node", h.Facts.Node, "vlans", numbers(vlans), "address", strings.Join(b.Addresses, ", ")}
	switch {
	case !b.VLANAware && len(b.Ports) == 0:
		r.add(found(Restore, CodeNoPort, site, subject, args...))
	case !b.VLANAware && len(b.Addresses) > 0:
		r.add(found(Restore, CodeNotAwareIP, site, subject, args...))
	case !b.VLANAware:
		r.add(found(Restore, CodeNotAware, site, subject, args...))
	default:
		if out := slices.DeleteFunc(vlans, func(tag int) bool { return inVIDs(b.VIDs, tag) }); len(out) > 0 {
			r.add(found(Restore, CodeOutsideVIDs, site, subject, "bridge", name, "vlans", numbers(out), "vids", b.VIDs))
		}
	}
}

// hidden says whether the token was seen to have no right on a bridge, nor on
// any VLAN of it: PVE does not show it then.
func (h here) hidden(bridge string) bool {
	seen, lacking := 0, 0
	for path := range h.Facts.Permissions {
		if nic := (privileges.NIC{Bridge: bridge}).Path(); path == nic || strings.HasPrefix(path, nic+"/") {
			seen++
			if h.lacks(path, "SDN.Use") {
				lacking++
			}
		}
	}
	return seen > 0 && seen == lacking
}

func numbers(list []int) string {
	var out []string
	for _, n := range list {
		out = append(out, strconv.Itoa(n))
	}
	return strings.Join(out, ", ")
}

// inVIDs says whether a list such as "2-4094" or "10 20,30-40" holds a tag. What
// is not understood holds it: this check is to warn of what is certain.
func inVIDs(vids string, tag int) bool {
	fields := strings.FieldsFunc(vids, func(r rune) bool { return r == ' ' || r == ',' || r == ';' })
	for _, f := range fields {
		first, last, isRange := strings.Cut(f, "-")
		if !isRange {
			last = first
		}
		a, errA := strconv.Atoi(first)
		b, errB := strconv.Atoi(last)
		if errA != nil || errB != nil || a <= tag && tag <= b {
			return true
		}
	}
	return len(fields) == 0
}
