package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/raoull/worldwidewelsh/internal/api"
	"github.com/raoull/worldwidewelsh/internal/message"
	"github.com/raoull/worldwidewelsh/internal/network"
)

// usesAtOnce bounds the questions that are under way.
const usesAtOnce = 4

// usesOf asks what each copy of the guests was used for since they parted, by the records of the hosts: who has to choose one
// wants to know which of them people have worked in. It is no error if that cannot be known.
func (a *app) usesOf(ctx context.Context, plan api.Plan) []api.CopyUses {
	uses := make([]api.CopyUses, len(plan.Branches))
	var each sync.WaitGroup
	slots := make(chan struct{}, usesAtOnce)
	for i, b := range plan.Branches {
		each.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			uses[i], _ = request(ctx, a, func(ctx context.Context) (api.CopyUses, error) { return a.client.CopyUses(ctx, b.Guest, "") })
		})
	}
	each.Wait()
	return uses
}

// usesLines has a line for each copy.
func (a *app) usesLines(p *page, plan api.Plan, uses []api.CopyUses) {
	first := true
	for i, b := range plan.Branches {
		for _, u := range uses[i].Copies {
			if first {
				p.wrap("", "  ", "Used since the copies parted, by their hosts' records:")
				first = false
			}
			p.prose("  ", "    ", fmt.Sprintf("%s at %s: %s", b.Guest, u.Site, a.useText(u)))
		}
	}
}

func (a *app) useText(u api.CopyUse) string {
	switch {
	case u.Unread != "":
		return "not known, " + a.show.text(u.Unread)
	case u.Until.IsZero():
		return "nothing recorded: it was off, or they parted just now"
	case u.Written == 0: // what a container writes to ZFS its host does not record
		return fmt.Sprintf("%s received, %s sent", message.Bytes(u.Received), message.Bytes(u.Sent))
	}
	return fmt.Sprintf("%s written, %s received, %s sent", message.Bytes(u.Written), message.Bytes(u.Received), message.Bytes(u.Sent))
}

// quietTime proposes when to do it: in the window in which its structure lets guests come home, else at night.
func (a *app) quietTime(p *page, plan api.Plan) {
	if len(plan.Assignments) == 0 || len(plan.Branches) == 0 {
		return
	}
	window := plan.Branches[0].Window
	for _, b := range plan.Branches {
		if b.Window != window {
			window = network.Window{}
		}
	}
	if window.From == window.To {
		p.wrap("", "  ", "Does nobody need it at night? Add --at 02:00 to the line.")
		return
	}
	now := plan.Meta.At.UTC()
	opens := time.Date(now.Year(), now.Month(), now.Day(), window.From/60, window.From%60, 0, 0, time.UTC).In(a.show.zone)
	p.wrap("", "  ", fmt.Sprintf("In its structure's window, %s UTC? Add --at %s to the line.", window, opens.Format("15:04")))
}
