package main

import (
	"context"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/agent"
	"github.com/raoull/worldwidewelsh/internal/api"
)

// browser compares the files of backups at this site, or has another site's agent do it.
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
