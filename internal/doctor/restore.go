package doctor

import (
	"slices"
	"strconv"
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
			if !h.judged(o) {
				r.add(found(Restore, h.obstacle(o), h.Local.Site, subject(a.Guest, a.Line), "key", o.Key, "text", o.Text, "guest", string(a.Guest)))
			}
		}
		h.machine(&r, a)
		h.processor(&r, a)
	}
	for _, sid := range f.HA {
		if _, id, _ := strings.Cut(sid, ":"); h.inRange(id) {
			r.add(found(Restore, CodeHA, h.Local.Site, sid, "sid", sid, "range", rangeText(h.host.Restore.IDs)))
		}
	}
	if f.Bridges != nil {
		h.bridge(&r)
	}
	if f.Entries != nil {
		r.checked++
		h.targetStorage(&r)
	}
	return r
}

// inRange says whether the text of an id lies in the range for restored guests.
func (h here) inRange(id string) bool {
	n, err := strconv.Atoi(id)
	return err == nil && h.host.Restore.IDs.Contains(n)
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
	case Firewall:
		return CodeFirewall
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
