package main

import (
	"context"
	"os/exec"
	"strings"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
)

// announceFor is how long an announced shutdown may take until the silence
// counts: a reboot, and somebody who types the passphrase. It ends earlier when
// the agent is back and well.
const announceFor = 30 * time.Minute

// announceWithin bounds how long the announcement may hold up the shutdown.
const announceWithin = 3 * time.Second

// hostStops says whether the machine is going down, and not only this service:
// systemd's state is "stopping" from the moment that a shutdown or a reboot
// was asked for (systemctl(1), is-system-running). Without systemd: no.
func hostStops(ctx context.Context) bool {
	// The exit status tells "running" from all other states; the word tells which.
	out, _ := exec.CommandContext(ctx, "systemctl", "is-system-running").Output()
	return strings.TrimSpace(string(out)) == "stopping"
}

// lastWords returns a context that ends after ctx, when it has been announced that
// the host goes down, if it does.
func (d *daemon) lastWords(ctx context.Context) (context.Context, context.CancelFunc) {
	run, stop := context.WithCancelCause(context.WithoutCancel(ctx))
	go func() {
		select {
		case <-run.Done():
		case <-ctx.Done():
			d.announce(context.WithoutCancel(ctx))
			stop(context.Cause(ctx))
		}
	}()
	return run, func() { stop(context.Canceled) }
}

// announce puts this site into maintenance when its host goes down. A restart
// of the service alone is not announced: nothing but the agent is silent then.
func (d *daemon) announce(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, announceWithin)
	defer cancel()
	site := failover.SiteDomain(d.conf.Site)
	s := d.node.State()
	if _, member := s.Members[d.conf.Site]; s.Network == nil || !member || !d.hostStops(ctx) {
		return
	}
	if r, ok := s.RestOf(site); ok && r.Boot == "" {
		return // a person has said so, with a limit of their own
	}
	_, err := d.node.Propose(failover.WithActor(ctx, "agent:"+string(d.conf.Site)), failover.BeginMaintenance{
		Domain: site, For: announceFor, Reason: "the agent's host is shut down", Boot: d.boot,
	})
	if err != nil {
		d.log.Warn("shutdown of the host not announced: its silence may pass for a loss", "err", err)
		return
	}
	d.log.Info("shutdown of the host announced", "for", announceFor)
}
