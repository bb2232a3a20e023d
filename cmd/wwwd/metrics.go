package main

import (
	"time"

	"github.com/raoull/worldwidewelsh/dnsctl"
	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/api"
)

// raftSample is what metrics tell of this agent's Raft.
func (d *daemon) raftSample() api.RaftSample {
	out := api.RaftSample{Heard: map[failover.SiteID]time.Time{}}
	node := d.opened.Load()
	if node == nil {
		return out
	}
	snapshot, err := node.LastSnapshot()
	if err != nil {
		d.log.Debug("the newest snapshot is not known", "err", err)
	}
	out.Snapshot = snapshot
	stats := node.Stats()
	leader := node.LeaderAddr()
	for _, m := range node.Members() {
		switch {
		case m.Site == "" || m.Site == d.conf.Site:
		case stats.Role == "leader":
			out.Heard[m.Site] = stats.Peers[m.ServerID].Heard
		case m.Address == leader:
			if age, heard := node.LastContact(); heard {
				out.Heard[m.Site] = time.Now().Add(-age)
			}
		}
	}
	return out
}

// counted has the questions to DNS servers counted.
func (d *daemon) counted(next dnsctl.Exchanger) dnsctl.Exchanger {
	return dnsctl.Told{Exchanger: next, Tell: func(code string, took time.Duration) { d.calls.Called("dns", code, took) }}
}
