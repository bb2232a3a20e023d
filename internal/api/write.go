package api

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/network"
)

// reasonLimit bounds what a person may write into the log as a reason.
const reasonLimit = 500

// failoverCase is what a request of failover or plan speaks of.
type failoverCase struct {
	loss   failover.Loss
	domain failover.DomainID
	name   string // to be typed when it is not known to be lost
}

// caseOf checks the names in a request against the declared network.
func caseOf(s *failover.State, req FailoverRequest) (failoverCase, error) {
	var c failoverCase
	if s.Network == nil {
		return c, refusedFor(failover.Reason{Code: failover.CodeNoNetwork})
	}
	if req.Failback != "" {
		return failbackCase(s, req)
	}
	if req.Switchover != "" {
		return switchoverCase(s, req)
	}
	if req.Rescue {
		return rescueCase(s, req)
	}
	given := 0
	for _, v := range []string{string(req.Site), string(req.Host), string(req.Guest)} {
		if v != "" {
			given++
		}
	}
	if given != 1 {
		return c, malformedf("want exactly one of site, host and guest")
	}
	switch {
	case req.Site != "":
		if _, ok := s.Network.Sites[req.Site]; !ok {
			return c, notFound("site", string(req.Site))
		}
		c = failoverCase{failover.Loss{Site: req.Site}, failover.SiteDomain(req.Site), string(req.Site)}
	case req.Host != "":
		site := s.Network.SiteOf(req.Host)
		if site == "" {
			return c, notFound("host", string(req.Host))
		}
		c = failoverCase{failover.Loss{Site: site, Host: req.Host}, failover.HostDomain(req.Host), string(req.Host)}
	default:
		p, ok := s.Guests[req.Guest]
		if !ok {
			return c, notFound("guest", string(req.Guest))
		}
		c = failoverCase{failover.Loss{Site: p.Owner, Guests: []failover.GuestID{req.Guest}}, failover.SiteDomain(p.Owner), string(req.Guest)}
	}
	return c, c.narrow(s, req)
}

// rescueCase is that of a structure's host whose guests are restored beside it.
func rescueCase(s *failover.State, req FailoverRequest) (failoverCase, error) {
	site := req.Site
	if site == "" {
		site = s.Network.SiteOf(req.Host)
	}
	switch _, known := s.Network.Sites[site]; {
	case req.Guest != "" || req.To != "":
		return failoverCase{}, malformedf("a rescue is of a site or a host, and stays there: choose guests with only")
	case req.Site == "" && site == "":
		return failoverCase{}, notFound("host", string(req.Host))
	case !known:
		return failoverCase{}, notFound("site", string(site))
	}
	host, err := s.RescuedAt(site, req.Host)
	if r, refused := errors.AsType[*failover.RejectedError](err); refused {
		return failoverCase{}, refusedFor(r.Reason)
	}
	c := failoverCase{failover.Loss{Site: site, Host: host, Local: true}, failover.HostDomain(host), string(host)}
	return c, c.narrow(s, req)
}

// narrow applies the target and the choice of guests that a person made.
func (c *failoverCase) narrow(s *failover.State, req FailoverRequest) error {
	if req.To != "" {
		if _, ok := s.Network.Sites[req.To]; !ok {
			return notFound("site", string(req.To))
		}
		if _, _, ok := s.Network.Target(req.To); !ok || req.To == c.loss.Site {
			return refusedFor(failover.Reason{Code: failover.CodeNotTarget, Args: args("site", string(req.To))})
		}
		c.loss.Target = req.To
	}
	for _, g := range req.Only {
		p, ok := s.Guests[g]
		if !ok {
			return notFound("guest", string(g))
		}
		if p.Owner != c.loss.Site || c.loss.Host != "" && p.Host != c.loss.Host {
			return malformedf("only: %s does not run at %s", g, c.name)
		}
	}
	if len(req.Only) > 0 {
		if len(c.loss.Guests) > 0 {
			return malformedf("only: choose guests of a site or host, not of a guest")
		}
		c.loss.Guests = slices.Compact(slices.Sorted(slices.Values(req.Only)))
	}
	return nil
}

// planFor is what would happen, and how alive the thing is that would be
// failed over: a person must type its name unless it is known to be lost.
func (h *handler) planFor(s *failover.State, c failoverCase) Plan {
	now := h.Backend.Now()
	v := failover.Judge(s, now)[c.domain]
	out := Plan{Meta: h.meta(s), Plan: failover.PlanFor(s, c.loss, now), Cause: v.Cause}
	if c.loss.Keep != "" {
		out.Branches = failover.BranchesOf(s, c.loss.Keep, c.loss.Guests)
	} else {
		out.Outlook = failover.OutlookOf(s, out.Plan, now)
	}
	for _, vote := range v.Votes {
		for _, target := range vote.Sees {
			out.Answers = append(out.Answers, fmt.Sprintf("%s: %s", vote.Observer, target))
		}
	}
	lost := v.Cause == failover.CauseLost || v.Cause == failover.CauseHostDown
	if (!lost || len(out.Answers) > 0) && !c.loss.Planned {
		out.Confirm = c.name
	}
	if op, ok := s.OpFor(c.domain); ok {
		out.Open = op.ID
	}
	return out
}

func (h *handler) failover(r *http.Request) (any, error) {
	var req FailoverRequest
	if err := decode(r, &req); err != nil {
		return nil, err
	}
	if err := checkReason(req.Reason); err != nil {
		return nil, err
	}
	s := h.Backend.State()
	c, err := caseOf(s, req)
	if err != nil {
		return nil, err
	}
	c.loss.ByHand = true
	plan := h.planFor(s, c)
	switch {
	case req.Plan != "" && !plan.Is(req.Plan):
		return nil, refusedFor(failover.Reason{Code: failover.CodeStalePlan, Args: args("got", req.Plan, "have", plan.Hash)})
	case plan.Open != "" && len(plan.Assignments) == 0:
		return nil, refusedFor(failover.Reason{Code: failover.CodeAlreadyBegun, Args: args("domain", string(c.domain), "op", string(plan.Open))})
	case c.loss.Local && len(plan.Answers) > 0:
		return nil, refusedFor(failover.Reason{Code: failover.CodeStillRuns, Args: args("site", string(c.loss.Site), "host", string(c.loss.Host), "seen", strings.Join(first(plan.Answers, 3), ", "))})
	case len(plan.Assignments) == 0:
		return nil, refusedFor(failover.Reason{Code: failover.CodeNothing, Args: args("domain", string(c.domain))})
	case plan.Confirm != "" && req.Confirm != plan.Confirm:
		return nil, &Error{
			Status: http.StatusPreconditionRequired, Code: CodeStillAlive,
			Args: args("name", plan.Confirm, "seen", strings.Join(first(plan.Answers, 3), ", ")),
		}
	}
	actor, _ := ActorFrom(r.Context())
	h.Log.Info("failover requested", "actor", actor.String(), "domain", string(c.domain), "plan", plan.Hash,
		"to", string(req.To), "guests", len(plan.Assignments), "reason", req.Reason)
	st, err := h.Backend.Propose(r.Context(), c.begin(plan.Plan, req))
	if err != nil {
		return nil, err
	}
	// The id of an operation is the index of the entry that began it.
	return Accepted{Op: failover.OpID(fmt.Sprintf("op-%d", st.Index)), Index: st.Index, Term: st.Term}, nil
}

func first[T any](s []T, n int) []T { return s[:min(n, len(s))] }

func checkReason(reason string) error {
	if len(reason) > reasonLimit {
		return malformedf("reason: longer than %d bytes", reasonLimit)
	}
	return nil
}

// action carries out POST /v1/ops/{op}/{action}.
func (h *handler) action(r *http.Request) (any, error) {
	var req ActionRequest
	if err := decodeOptional(r, &req); err != nil {
		return nil, err
	}
	if err := checkReason(req.Reason); err != nil {
		return nil, err
	}
	id, s := failover.OpID(r.PathValue("op")), h.Backend.State()
	op, ok := s.Ops[id]
	if !ok {
		return nil, notFound("operation", string(id))
	}
	actor, _ := ActorFrom(r.Context())
	var cmd failover.Command
	switch action := r.PathValue("action"); action {
	case "approve":
		cmd = failover.Approve{Op: id, Hash: req.Hash}
	case "cancel":
		cmd = failover.CancelOp{Op: id, Reason: failover.Reason{Code: "WWW-1409", Args: args("actor", actor.String(), "reason", req.Reason)}}
	case "retry":
		cmd = failover.RetryOp{Op: id, HostOff: req.HostOff}
	case "confirm":
		cmd = failover.ConfirmOp{Op: id}
	case "ack":
		cmd = failover.Ack{Domain: op.Domain}
	default:
		return nil, notFound("action", action)
	}
	h.Log.Info("operation changed by a person", "actor", actor.String(), "op", string(id), "action", r.PathValue("action"), "reason", req.Reason)
	st, err := h.Backend.Propose(r.Context(), cmd)
	if err != nil {
		return nil, err
	}
	return Accepted{Op: id, Index: st.Index, Term: st.Term}, nil
}

// upToOneYear is the length of what people set for a while, 0 for what they end themselves.
func upToOneYear(seconds float64) (time.Duration, error) {
	const longest = 366 * 24 * time.Hour
	if math.IsNaN(seconds) || seconds < 0 || seconds > longest.Seconds() {
		return 0, malformedf("for: want seconds from 0 to one year")
	}
	return time.Duration(seconds * float64(time.Second)), nil
}

func (h *handler) pause(r *http.Request) (any, error) {
	var req PauseRequest
	if err := decodeOptional(r, &req); err != nil {
		return nil, err
	}
	if err := checkReason(req.Reason); err != nil {
		return nil, err
	}
	d, err := upToOneYear(req.Seconds)
	if err != nil {
		return nil, err
	}
	return h.accept(r, failover.SetPause{Site: req.Site, For: d, Reason: req.Reason})
}

func (h *handler) resume(r *http.Request) (any, error) {
	return h.accept(r, failover.EndPause{Site: failover.SiteID(r.URL.Query().Get("site"))})
}

func (h *handler) accept(r *http.Request, cmd failover.Command) (any, error) {
	st, err := h.Backend.Propose(r.Context(), cmd)
	if err != nil {
		return nil, err
	}
	return Accepted{Index: st.Index, Term: st.Term}, nil
}

func (h *handler) applyNetwork(r *http.Request) (any, error) {
	var req ApplyRequest
	if err := decode(r, &req); err != nil {
		return nil, err
	}
	if req.Spec == nil {
		return nil, malformedf("spec: missing")
	}
	spec := req.Spec.WithDefaults()
	problems := spec.Validate()
	if err := sound(problems); err != nil {
		return nil, err
	}
	s := h.Backend.State()
	out := Applied{Version: s.NetworkVersion, DryRun: req.DryRun, Changes: network.Diff(s.Network, spec), Problems: problems}
	if out.Changes == nil {
		out.Changes = []network.Change{}
	}
	cmd := failover.ApplyNetwork{Spec: spec, IfVersion: req.IfVersion, Confirmed: req.Confirm}
	if err := s.MayApply(cmd); err != nil {
		return nil, err
	}
	if req.DryRun {
		return out, nil
	}
	st, err := h.Backend.Propose(r.Context(), cmd)
	if err != nil {
		return nil, err
	}
	out.Version = st.Index
	return out, nil
}
