package doctor

import (
	"slices"
	"strings"

	"github.com/raoull/worldwidewelsh/internal/privileges"
)

// restore checks what a restore by token would refuse, lose or leave out, and
// the place that it goes to.
func (h here) restore() result {
	var r result
	f := h.Facts
	for _, a := range f.Archives {
		if a.Shut != "" {
			continue // told among the keys
		}
		r.checked++
		for _, o := range a.Warnings {
			r.add(found(Restore, h.obstacle(o), h.Local.Site, "guest "+string(a.Guest), "key", o.Key, "text", o.Text, "guest", string(a.Guest)))
		}
	}
	for _, kind := range sorted(f.Residents) {
		for _, g := range f.Residents[kind] {
			if h.host.Restore.IDs.Contains(g.ID) && g.HA {
				r.add(found(Restore, CodeHA, h.Local.Site, guestLabel(string(g.Kind), g.ID, g.Name), "sid", string(g.Kind)+":"+itoa(g.ID)))
			}
		}
	}
	if f.Entries != nil {
		r.checked++
		h.targetStorage(&r)
	}
	return r
}

// obstacle names the code of an archive's warning.
func (h here) obstacle(o Obstacle) string {
	switch o.What {
	case BindMount:
		return CodeBindMount
	case Privileged:
		if release, err := privileges.ParseRelease(h.Facts.Release); err == nil && release < 9 {
			return CodePrivileged8
		}
		return CodePrivileged
	case NotSaved:
		return CodeNotSaved
	case RootOnly:
		return CodeRootOnly
	case HostBound:
		if o.Key == "cpu" || o.Key == "machine" {
			return CodeHostModel
		}
		return CodeHostDevice
	case Template:
		return CodeTemplate
	}
	return CodeUnreadConfig
}

// targetStorage checks the storage that restored disks go to. PVE keeps disks
// of VMs as content "images" and those of containers as "rootdir".
func (h here) targetStorage(r *result) {
	f, name := h.Facts, h.host.Restore.Storage
	subject := "storage " + name
	e, ok := f.Entries[name]
	if !ok || e.Disabled || len(e.Nodes) > 0 && !slices.Contains(e.Nodes, f.Node) {
		r.add(found(Restore, CodeNoTarget, h.Local.Site, subject, "storage", name, "node", f.Node))
		return
	}
	var lack []string
	for _, kind := range h.kinds() {
		content := map[Kind]string{"vm": "images", "ct": "rootdir"}[kind]
		if !slices.Contains(e.Content, content) {
			lack = append(lack, content)
		}
	}
	if len(lack) > 0 {
		all := append(slices.Clone(e.Content), lack...)
		r.add(found(Restore, CodeTargetContent, h.Local.Site, subject,
			"storage", name, "lack", strings.Join(lack, ", "), "content", strings.Join(all, ",")))
	}
}

// kinds are the kinds of the guests that this host may receive.
func (h here) kinds() []Kind {
	var out []Kind
	spec := h.State.Network
	for _, g := range spec.GuestIDs() {
		k := Kind(spec.Guests[g].Type)
		if _, source := h.host.Sources[spec.Home(g)]; source && !slices.Contains(out, k) {
			out = append(out, k)
		}
	}
	return out
}
