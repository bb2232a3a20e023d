package api

import (
	"io"
	"net/http"
	"net/netip"

	"github.com/raoull/worldwidewelsh/failover"
)

// Committed is the answer to a forwarded proposal that is in the log.
type Committed struct {
	Stamp failover.Stamp `json:"stamp"`
	// Rejected is set when the entry was applied and refused.
	Rejected *failover.RejectedError `json:"rejected,omitempty"`
}

// propose takes an encoded command from another agent. The three outcomes are
// told apart: 200 (committed; applied or refused), 503 (surely not proposed),
// 409 (unknown).
func (h *handler) propose(r *http.Request) (any, error) {
	envelope, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, malformed(err)
	}
	if len(envelope) == 0 {
		return nil, malformedf("empty envelope")
	}
	st, err := h.Raft.ProposeEnvelope(r.Context(), envelope)
	if err != nil {
		if e := asError(err); e.Status == http.StatusUnprocessableEntity {
			return Committed{Stamp: st, Rejected: &failover.RejectedError{Reason: failover.Reason{Code: e.Code, Args: e.Args}}}, nil
		}
		return nil, err
	}
	return Committed{Stamp: st}, nil
}

func (h *handler) confirm(r *http.Request) (any, error) {
	var req ConfirmRequest
	if err := decode(r, &req); err != nil {
		return nil, err
	}
	if req.Token.Op == "" || req.Token.Guest == "" || req.Token.Step == "" {
		return nil, malformedf("token: op, guest and step are required")
	}
	if err := h.Raft.Confirm(r.Context(), req.Token); err != nil {
		if e := asError(err); e.Code != CodeInternal {
			return nil, err
		}
		return nil, &Error{Status: http.StatusUnprocessableEntity, Code: CodeUnconfirmed, Args: args("why", err.Error())}
	}
	return Done{}, nil
}

// join admits the caller under the name in its own certificate, and no other.
func (h *handler) join(r *http.Request) (any, error) {
	var req JoinRequest
	if err := decode(r, &req); err != nil {
		return nil, err
	}
	actor, _ := ActorFrom(r.Context())
	if req.Site != actor.Site || req.ServerID != actor.ServerID {
		return nil, notAllowed(actor.String(), "the certificate is another agent's")
	}
	addr, err := netip.ParseAddrPort(req.Address)
	if err != nil || addr.Port() == 0 || addr.Addr().IsUnspecified() {
		return nil, malformedf("address: %q is not an address and port that others can reach", req.Address)
	}
	if err := h.Raft.Join(r.Context(), req); err != nil {
		return nil, err
	}
	return Done{}, nil
}
