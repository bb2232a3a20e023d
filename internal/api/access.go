package api

import (
	"context"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
)

// Kinds of answers about who may do what.
const (
	KindAccess    = "Access"
	KindToken     = "Token"
	KindLogin     = "Login"
	KindRedeemed  = "Redeemed"
	KindAuthority = "Authority"
	KindSnapshot  = "Snapshot"
)

// Access is the part of an agent that admits and expels, and that changes the
// group. Every agent has it; what needs the authority's key or the lead says so
// when this agent has it not.
type Access interface {
	// CreateToken makes a token of the given life.
	CreateToken(ctx context.Context, site failover.SiteID, life time.Duration) (TokenMade, error)
	// AdmitOperator makes a person's login file.
	AdmitOperator(ctx context.Context, name string, role failover.Role, life time.Duration) (Login, error)
	// SetMember gives or takes a vote, or expels ("removed").
	SetMember(ctx context.Context, site failover.SiteID, set string) error
	// SetMemberHere does so if this agent leads.
	SetMemberHere(ctx context.Context, site failover.SiteID, set string) error
	// StepDown has the leader restart, so that another leads.
	StepDown(ctx context.Context) (leader failover.SiteID, err error)
	// Snapshot is the state in the form that can be restored.
	Snapshot() ([]byte, error)
	// Renew signs the certificate request of an agent that has a certificate.
	Renew(ctx context.Context, who Actor, request string) (string, error)
	// Authority is the authority's key, for voters.
	Authority(ctx context.Context, who Actor) (AuthorityKey, error)
	// Leave has the leader expel an agent at its own wish.
	Leave(ctx context.Context, who Actor) error
	// StepDownHere restarts this agent if it leads.
	StepDownHere(ctx context.Context) error
}

// AuthorityKey is the authority of the network, PEM. It goes to voters only.
type AuthorityKey struct {
	Cert string `json:"cert"`
	Key  string `json:"key"`
}

// OperatorView is what can be told of a person's certificate.
type OperatorView struct {
	Serial  string        `json:"serial"`
	Name    string        `json:"name"`
	Role    failover.Role `json:"role"`
	Until   time.Time     `json:"until"`
	Revoked bool          `json:"revoked"`
	By      string        `json:"by,omitempty"`
}

// RevocationView is a certificate that is refused.
type RevocationView struct {
	Key    string    `json:"key"` // agent:SERVERID, operator:SERIAL
	Name   string    `json:"name"`
	Reason string    `json:"reason,omitempty"`
	At     time.Time `json:"at"`
	By     string    `json:"by,omitempty"`
}

// AccessList is who may do what.
type AccessList struct {
	Meta
	Tokens    []TokenView      `json:"tokens"`
	Operators []OperatorView   `json:"operators"`
	Revoked   []RevocationView `json:"revoked"`
}

// OperatorRequest asks for a person's login file.
type OperatorRequest struct {
	Name    string        `json:"name"`
	Role    failover.Role `json:"role"`
	Seconds float64       `json:"for"`
}

// MemberRequest changes one member of the group, which is a person's act
// always: nobody is removed for being silent.
type MemberRequest struct {
	Site    failover.SiteID `json:"site"`
	Set     string          `json:"set"` // voter, nonvoter or removed
	Confirm string          `json:"confirm,omitempty"`
}

// Values of MemberRequest.Set.
const (
	SetVoter    = "voter"
	SetNonvoter = "nonvoter"
	SetRemoved  = "removed"
)

// SnapshotFile is the state, in the form that a rebuild reads.
type SnapshotFile struct {
	Snapshot []byte `json:"snapshot"`
}

func (h *handler) accessRoutes() []route {
	return []route{
		{"GET /v1/access", h.read(KindAccess, h.access)},
		{"POST /v1/tokens", h.admin(KindToken, h.createToken)},
		{"DELETE /v1/tokens/{token}", h.admin(KindAccepted, h.endToken)},
		{"POST /v1/operators", h.admin(KindLogin, h.admitOperator)},
		{"DELETE /v1/operators/{operator}", h.admin(KindAccepted, h.revokeOperator)},
		{"POST /v1/cluster/members", h.admin(KindConfirmed, h.setMember)},
		{"POST /v1/cluster/step-down", h.admin(KindAccepted, h.stepDown)},
		{"GET /v1/cluster/snapshot", h.admin(KindSnapshot, h.snapshot)},
		{"POST /v1/raft/renew", h.between(KindRedeemed, h.renew)},
		{"POST /v1/raft/authority", h.between(KindAuthority, h.authority)},
		{"POST /v1/raft/member", h.between(KindConfirmed, h.setMemberHere)},
		{"POST /v1/raft/leave", h.between(KindConfirmed, h.leave)},
		{"POST /v1/raft/step-down", h.between(KindConfirmed, h.stepDownHere)},
	}
}

func (h *handler) access(*http.Request) (any, error) {
	s := h.Backend.State()
	out := AccessList{Meta: h.meta(s), Tokens: []TokenView{}, Operators: []OperatorView{}, Revoked: []RevocationView{}}
	for id, t := range s.Tokens {
		out.Tokens = append(out.Tokens, TokenView{
			ID: id, Site: t.Site, Until: t.Until, Used: t.UsedBy != "", Ended: !h.Backend.Now().Before(t.Until), By: t.By.Actor,
		})
	}
	for serial, o := range s.Operators {
		_, revoked := s.Revoked[failover.OperatorKey(serial)]
		out.Operators = append(out.Operators, OperatorView{
			Serial: serial, Name: o.Name, Role: o.Role, Until: o.Until, Revoked: revoked, By: o.By.Actor,
		})
	}
	for key, r := range s.Revoked {
		out.Revoked = append(out.Revoked, RevocationView{Key: key, Name: r.Name, Reason: r.Reason, At: r.By.At, By: r.By.Actor})
	}
	slices.SortFunc(out.Tokens, func(a, b TokenView) int { return strings.Compare(a.ID, b.ID) })
	slices.SortFunc(out.Operators, func(a, b OperatorView) int { return strings.Compare(a.Name+a.Serial, b.Name+b.Serial) })
	slices.SortFunc(out.Revoked, func(a, b RevocationView) int { return strings.Compare(a.Key, b.Key) })
	return out, nil
}

// life reads how long something is to be valid.
func life(seconds float64, most time.Duration) (time.Duration, error) {
	if !(seconds > 0) || seconds > most.Seconds() {
		return 0, malformedf("for: want more than 0 seconds and at most %s; it must end by itself", most)
	}
	return time.Duration(seconds * float64(time.Second)), nil
}

func (h *handler) createToken(r *http.Request) (any, error) {
	var req TokenRequest
	if err := decode(r, &req); err != nil {
		return nil, err
	}
	d, err := life(req.Seconds, failover.MaxTokenLife)
	if err != nil {
		return nil, err
	}
	return h.Access.CreateToken(r.Context(), req.Site, d)
}

func (h *handler) endToken(r *http.Request) (any, error) {
	return h.accept(r, failover.EndToken{ID: r.PathValue("token")})
}

var operatorName = regexp.MustCompile(`^[a-z][a-z0-9._-]{0,31}$`)

func (h *handler) admitOperator(r *http.Request) (any, error) {
	var req OperatorRequest
	if err := decode(r, &req); err != nil {
		return nil, err
	}
	d, err := life(req.Seconds, failover.MaxOperatorLife)
	switch {
	case err != nil:
		return nil, err
	case !operatorName.MatchString(req.Name):
		return nil, malformedf("name: want a letter, then letters, digits, dots, dashes, all small, at most 32")
	case !req.Role.Valid():
		return nil, malformedf("role: %q is none of viewer, operator, admin", req.Role)
	}
	return h.Access.AdmitOperator(r.Context(), req.Name, req.Role, d)
}

func (h *handler) revokeOperator(r *http.Request) (any, error) {
	reason := r.URL.Query().Get("reason")
	if err := checkReason(reason); err != nil {
		return nil, err
	}
	return h.accept(r, failover.RevokeOperator{Name: r.PathValue("operator"), Reason: reason})
}

func (h *handler) setMember(r *http.Request) (any, error) {
	var req MemberRequest
	if err := decode(r, &req); err != nil {
		return nil, err
	}
	switch {
	case !slices.Contains([]string{SetVoter, SetNonvoter, SetRemoved}, req.Set):
		return nil, malformedf("set: %q is none of voter, nonvoter, removed", req.Set)
	case req.Set != SetVoter && req.Confirm != string(req.Site):
		return nil, &Error{Status: http.StatusPreconditionRequired, Code: CodeTakesVote, Args: args("site", string(req.Site))}
	}
	return Done{}, h.Access.SetMember(r.Context(), req.Site, req.Set)
}

// MemberOrder is a MemberRequest that another agent passes on to the leader.
type MemberOrder struct {
	Site  failover.SiteID `json:"site"`
	Set   string          `json:"set"`
	Actor string          `json:"actor"` // who asked the other agent
}

func (h *handler) setMemberHere(r *http.Request) (any, error) {
	var req MemberOrder
	if err := decode(r, &req); err != nil {
		return nil, err
	}
	who, _ := ActorFrom(r.Context())
	ctx := failover.WithActor(r.Context(), req.Actor+" via "+string(who.Site))
	return Done{}, h.Access.SetMemberHere(ctx, req.Site, req.Set)
}

func (h *handler) stepDown(r *http.Request) (any, error) {
	leader, err := h.Access.StepDown(r.Context())
	if err != nil {
		return nil, err
	}
	return Accepted{Leader: leader}, nil
}

func (h *handler) snapshot(*http.Request) (any, error) {
	b, err := h.Access.Snapshot()
	return SnapshotFile{Snapshot: b}, err
}

// RenewRequest asks for the next certificate of the agent that calls.
type RenewRequest struct {
	Request string `json:"request"` // certificate request, PEM
}

func (h *handler) renew(r *http.Request) (any, error) {
	var req RenewRequest
	if err := decode(r, &req); err != nil {
		return nil, err
	}
	who, _ := ActorFrom(r.Context())
	cert, err := h.Access.Renew(r.Context(), who, req.Request)
	return Redeemed{Certificate: cert}, err
}

func (h *handler) authority(r *http.Request) (any, error) {
	who, _ := ActorFrom(r.Context())
	return h.Access.Authority(r.Context(), who)
}

func (h *handler) leave(r *http.Request) (any, error) {
	who, _ := ActorFrom(r.Context())
	return Done{}, h.Access.Leave(r.Context(), who)
}

func (h *handler) stepDownHere(r *http.Request) (any, error) {
	return Done{}, h.Access.StepDownHere(r.Context())
}
