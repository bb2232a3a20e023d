package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/agent"
	"github.com/raoull/worldwidewelsh/internal/api"
	"github.com/raoull/worldwidewelsh/internal/proxmox"
)

// browser looks into copies and backups at this site, or has another site's agent do it.
type browser struct{ d *daemon }

var _ api.Browser = browser{}

const noPVE = "the agent there has no token for a PVE that could read the backups (wwwd.yaml: pve)"

// Diff implements api.Browser.
func (b browser) Diff(ctx context.Context, pair failover.FilePair, req api.DiffRequest) (failover.FileDiff, error) {
	if pair.Site != b.d.conf.Site {
		m := b.d.node.State().Members[pair.Site]
		req.Site = pair.Site
		answer, err := b.d.peers.client(m.Address).FileDiff(ctx, req)
		return answer.FileDiff, err
	}
	m := b.d.site.machines.Load()
	if m == nil || m.PVE == nil {
		return failover.FileDiff{Changes: []failover.FileChange{}, Unread: []failover.UnreadDir{{Path: req.Path, Volid: pair.Sealed.Volid, Why: noPVE}}}, nil
	}
	files := agent.Browser{PVE: m.PVE, Now: time.Now}
	return files.Diff(ctx, pair.Sealed.Volid, pair.Running.Volid, req.Path, agent.DefaultDiffLimits), nil
}

// Use implements api.Browser.
func (b browser) Use(ctx context.Context, g failover.GuestID, of api.CopyUse) api.CopyUse {
	s := b.d.node.State()
	if of.Site != b.d.conf.Site {
		answer, err := b.d.peers.client(s.Members[of.Site].Address).CopyUses(ctx, g, of.Site)
		i := slices.IndexFunc(answer.Copies, func(c api.CopyUse) bool { return c.Host == of.Host && c.VMID == of.VMID })
		switch {
		case err != nil:
			of.Unread = err.Error()
		case i < 0:
			of.Unread = "its agent knows of no such copy yet"
		default:
			return answer.Copies[i]
		}
		return of
	}
	var pve *proxmox.PVE
	if house := b.d.site.house.Load(); house != nil {
		pve = house.Hosts[of.Host]
	}
	if pve == nil {
		of.Unread = fmt.Sprintf("the agent there has no token for %s (wwwd.yaml: hands)", of.Host)
		return of
	}
	use, err := pve.GuestUse(ctx, proxmox.Kind(s.Network.Guests[g].Type), of.VMID, of.Since, time.Now())
	if err != nil {
		of.Unread = err.Error()
		return of
	}
	of.From, of.Until, of.Written, of.Received, of.Sent = use.From, use.Until, use.Written, use.Received, use.Sent
	return of
}
