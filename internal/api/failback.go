package api

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/raoull/worldwidewelsh/failover"
)

// failbackCase is that of a site, a structure or a guest that comes home, or of a guest of
// which that is undone. A name that means several things is written KIND:NAME.
func failbackCase(s *failover.State, req FailoverRequest) (failoverCase, error) {
	switch {
	case req.Site != "" || req.Host != "" || req.Guest != "" || req.Rescue || req.Switchover != "" || req.To != "":
		return failoverCase{}, malformedf("failback: names what comes home, nothing else does")
	case req.Undo:
		return undoCase(s, req)
	case req.Keep != failover.KeepAway && req.Keep != failover.KeepHome:
		return failoverCase{}, malformedf("keep: %q is neither away nor home", req.Keep)
	}
	c, err := returning(s, req)
	if err != nil {
		return c, err
	}
	if len(req.Only) > 0 {
		for _, g := range req.Only {
			if !slices.Contains(c.loss.Guests, g) {
				return c, malformedf("only: %s is not of %s, or it is at home", g, c.name)
			}
		}
		c.loss.Guests = slices.Compact(slices.Sorted(slices.Values(req.Only)))
	}
	if !req.At.IsZero() && req.At.Before(s.Clock) {
		return c, malformedf("at: %s is past", req.At.Format("2006-01-02 15:04:05 MST"))
	}
	for _, g := range req.Stop {
		if _, ok := s.Guests[g]; !ok {
			return c, notFound("guest", string(g))
		}
	}
	c.loss.Planned, c.loss.Keep, c.loss.HardStop = true, req.Keep, slices.Compact(slices.Sorted(slices.Values(req.Stop)))
	c.loss.Replace, err = replaced(s, c.loss, req)
	return c, err
}

// replaced finds the guests whose copies at home a person has named to be given up.
func replaced(s *failover.State, loss failover.Loss, req FailoverRequest) ([]failover.GuestID, error) {
	var out []failover.GuestID
	for _, name := range req.Replace {
		if req.Keep != failover.KeepAway {
			return nil, malformedf("replace: with keep away only; with keep home the copy at home is the one that goes on")
		}
		i := slices.IndexFunc(loss.Guests, func(g failover.GuestID) bool {
			at, left := s.HomeBranch(g)
			return left && name == fmt.Sprintf("%s/%d", at.Host, at.VMID)
		})
		if i < 0 {
			return nil, refusedFor(failover.Reason{Code: failover.CodeNothing, Args: args("what", "copy "+name+" left at home", "domain", req.Failback)})
		}
		out = append(out, loss.Guests[i])
	}
	return slices.Compact(slices.Sorted(slices.Values(out))), nil
}

// returning finds the guests that a name stands for and that live elsewhere.
func returning(s *failover.State, req FailoverRequest) (failoverCase, error) {
	return named(s, req.Failback, "guests to bring home", func(g failover.GuestID) bool { return !s.AtHome(g) })
}

// named finds the guests that the name of a site, of a structure or of a guest stands for, of those that
// may be meant: a guest that is named itself is.
func named(s *failover.State, name, what string, may func(failover.GuestID) bool) (failoverCase, error) {
	kind, rest, written := strings.Cut(name, ":")
	if !written {
		kind, rest = "", name
	}
	var found []failoverCase
	add := func(what string, is bool, home failover.SiteID, of func(failover.GuestID) bool) {
		if !is || kind != "" && kind != what {
			return
		}
		c := failoverCase{failover.Loss{Site: home}, failover.SiteDomain(home), rest}
		for _, g := range s.Network.GuestIDs() {
			if of(g) && s.Network.Home(g) == home && (what == "guest" || may(g)) {
				c.loss.Guests = append(c.loss.Guests, g)
			}
		}
		found = append(found, c)
	}
	_, isSite := s.Network.Sites[failover.SiteID(rest)]
	add("site", isSite, failover.SiteID(rest), func(failover.GuestID) bool { return true })
	st, isStructure := s.Network.Structures[failover.StructureID(rest)]
	add("structure", isStructure, st.Home, func(g failover.GuestID) bool {
		return s.Network.Guests[g].Structure == failover.StructureID(rest)
	})
	_, isGuest := s.Guests[failover.GuestID(rest)]
	add("guest", isGuest, s.Network.Home(failover.GuestID(rest)), func(g failover.GuestID) bool { return string(g) == rest })
	switch {
	case len(found) == 0:
		return failoverCase{}, notFound("site, structure or guest", name)
	case len(found) > 1:
		return failoverCase{}, malformedf("failback: %s is a site, a structure or a guest; write site:%[1]s, structure:%[1]s or guest:%[1]s", rest)
	case len(found[0].loss.Guests) == 0:
		return failoverCase{}, refusedFor(failover.Reason{Code: failover.CodeNothing, Args: args("what", what, "domain", rest)})
	}
	return found[0], nil
}

// undoCase is the move of guests back to where they served before their failback: with all that they have, or, where the
// copy at home was kept, to their copies there.
func undoCase(s *failover.State, req FailoverRequest) (failoverCase, error) {
	c, err := named(s, req.Failback, "failback to undo", func(g failover.GuestID) bool {
		_, err := s.UndoOf(g, s.Clock)
		return err == nil
	})
	if err != nil {
		return c, err
	}
	c.loss.Planned = true
	for _, g := range c.loss.Guests {
		undo, err := s.UndoOf(g, s.Clock)
		if r, refused := errors.AsType[*failover.RejectedError](err); refused {
			return c, refusedFor(r.Reason)
		}
		all := failover.Undo{Site: c.loss.Target, Keep: c.loss.Keep}
		if all.Site != "" && (undo.Keep != all.Keep || undo.Keep == "" && undo.Site != all.Site) {
			return c, refusedFor(failover.Reason{Code: failover.CodeInvalid, Args: args("what",
				fmt.Sprintf("undo of %s: %s %s, and %s %s; name the guests one by one", c.name, c.loss.Guests[0], undoText(all), g, undoText(undo)))})
		}
		c.loss.Target, c.loss.Keep = undo.Site, undo.Keep
	}
	if c.loss.Keep != "" {
		c.loss.Target = "" // each copy stands where it was left
	}
	return c, nil
}

func undoText(u failover.Undo) string {
	if u.Keep != "" {
		return fmt.Sprintf("has a copy of its own at %s", u.Site)
	}
	return fmt.Sprintf("moves to %s", u.Site)
}

// ackSeal takes a person's word that nothing of a guest's sealed branches is missed.
func (h *handler) ackSeal(r *http.Request) (any, error) {
	g := failover.GuestID(r.PathValue("guest"))
	if _, ok := h.Backend.State().Guests[g]; !ok {
		return nil, notFound("guest", string(g))
	}
	return h.accept(r, failover.AckSeal{Guest: g})
}

// RemoveRequest names a copy that a guest has left.
type RemoveRequest struct {
	Host failover.HostID `json:"host"`
	VMID int             `json:"vmid"`
}

// GiveUpRequest names a sealed branch of a guest.
type GiveUpRequest struct {
	Lineage failover.LineageID `json:"lineage"`
}

// removeCopy has a copy removed that a guest has left.
func (h *handler) removeCopy(r *http.Request) (any, error) {
	var req RemoveRequest
	if err := decode(r, &req); err != nil {
		return nil, err
	}
	g := failover.GuestID(r.PathValue("guest"))
	return h.begun(r, g, failover.RemoveCopy{Guest: g, Host: req.Host, VMID: req.VMID})
}

// forkCopy has a copy that a guest has left made a guest of its own.
func (h *handler) forkCopy(r *http.Request) (any, error) {
	var req RemoveRequest
	if err := decode(r, &req); err != nil {
		return nil, err
	}
	g := failover.GuestID(r.PathValue("guest"))
	return h.begun(r, g, failover.ForkCopy{Guest: g, Host: req.Host, VMID: req.VMID})
}

// giveUpSeal lets the backups of a sealed branch be pruned.
func (h *handler) giveUpSeal(r *http.Request) (any, error) {
	var req GiveUpRequest
	if err := decode(r, &req); err != nil {
		return nil, err
	}
	g := failover.GuestID(r.PathValue("guest"))
	return h.begun(r, g, failover.GiveUpSeal{Guest: g, Lineage: req.Lineage})
}

// begun proposes what begins an operation of one guest.
func (h *handler) begun(r *http.Request, g failover.GuestID, cmd failover.Command) (any, error) {
	if _, ok := h.Backend.State().Guests[g]; !ok {
		return nil, notFound("guest", string(g))
	}
	st, err := h.Backend.Propose(r.Context(), cmd)
	if err != nil {
		return nil, err
	}
	return Accepted{Op: failover.OpID(fmt.Sprintf("op-%d", st.Index)), Index: st.Index, Term: st.Term}, nil
}
