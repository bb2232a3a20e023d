package sim

import (
	"context"
	"log/slog"
	"time"

	"github.com/raoull/worldwidewelsh/internal/network"
	"github.com/raoull/worldwidewelsh/internal/roothelper"
)

// rootHelper is the root helper of a site's machine: the real one, asked
// without its socket, over the fake host's root.
type rootHelper struct {
	a      *Agent
	server *roothelper.Server
}

func newRootHelper(a *Agent) *rootHelper {
	ids := a.w.spec.Sites[a.site.name].Hosts[raoullHost(a.site.name)].Restore.IDs
	host := a.site.raoull.Root()
	return &rootHelper{a: a, server: &roothelper.Server{
		Rules:  func() (roothelper.Rules, error) { return roothelper.Rules{IDs: []network.IDRange{ids}}, nil },
		Runner: host, MountInfo: host.MountInfo, Log: slog.New(slog.DiscardHandler),
	}}
}

// Umount implements agent.RootHelper.
func (h *rootHelper) Umount(ctx context.Context, id int) error {
	return h.do(ctx, roothelper.Request{Verb: roothelper.Umount, ID: id})
}

// Unlock implements agent.RootHelper.
func (h *rootHelper) Unlock(ctx context.Context, id int) error {
	return h.do(ctx, roothelper.Request{Verb: roothelper.Unlock, ID: id})
}

func (h *rootHelper) do(ctx context.Context, r roothelper.Request) error {
	w := h.a.w
	w.charge(5 * time.Second) // five or six Proxmox commands of about a second
	err := h.server.Do(ctx, r)
	w.tell("root helper of %s: %s %d → %v", h.a.site.name, r.Verb, r.ID, err)
	if err == nil {
		w.freed++
		w.check.freed(h.a.site, r.ID)
	}
	life := h.a.life
	if at := life.at; at != "" {
		life.at = ""
		h.a.dies("after " + at)
	}
	return err
}
