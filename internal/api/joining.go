package api

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/netip"
	"time"
)

// joinsAtOnce bounds the callers who have no certificate.
const joinsAtOnce = 4

// maxJoinBody holds a request for a certificate many times over.
const maxJoinBody = 16 << 10

// joinRoute is the only route for callers without a certificate.
const joinRoute = "POST /v1/join"

// Redeemer checks tokens and signs.
type Redeemer interface {
	Redeem(ctx context.Context, req RedeemRequest, addr netip.AddrPort, token JoinToken) (Redeemed, error)
}

// NewJoinServer returns the server for callers who have no certificate yet. It
// has one route.
func NewJoinServer(redeemer Redeemer, log *slog.Logger) *http.Server {
	h := &handler{Options: Options{Log: log}}
	slots := make(chan struct{}, joinsAtOnce)
	mux := http.NewServeMux()
	mux.HandleFunc(joinRoute, func(w http.ResponseWriter, r *http.Request) {
		select {
		case slots <- struct{}{}:
			defer func() { <-slots }()
		default:
			h.refuse(w, r, &Error{Status: http.StatusTooManyRequests, Code: CodeTooMany, Args: args("wait", "a few seconds")})
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxJoinBody)
		h.answer(w, r, KindRedeemed, func(r *http.Request) (any, error) {
			v, err := redeem(r, redeemer)
			log.Info("join token shown", "audit", true, "from", r.RemoteAddr, "done", err == nil, "err", err)
			return v, err
		})
	})
	mux.HandleFunc("/", h.notFound)
	s := newServer(h.guard(mux), log)
	s.ReadTimeout, s.IdleTimeout = 10*time.Second, 10*time.Second
	return s
}

func redeem(r *http.Request, redeemer Redeemer) (any, error) {
	var req RedeemRequest
	if err := decode(r, &req); err != nil {
		return nil, err
	}
	token, err := ParseJoinToken(req.Token)
	if err != nil {
		return nil, malformed(err)
	}
	addr, err := netip.ParseAddrPort(req.Address)
	if err != nil || addr.Port() == 0 || addr.Addr().IsUnspecified() {
		return nil, malformedf("address: %q is not an address and port that others can reach", req.Address)
	}
	return redeemer.Redeem(r.Context(), req, addr, token)
}

// NewWaitingHandler answers everything with the code that says that this agent
// belongs to no network yet.
func NewWaitingHandler(log *slog.Logger) http.Handler {
	h := &handler{Options: Options{Log: log}}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.refuse(w, r, &Error{Status: http.StatusServiceUnavailable, Code: CodeWaiting})
	})
}

// AnswerVerb writes the answer of a verb of the local socket. An error without a
// code is told as the reason why it is not possible.
func AnswerVerb(w http.ResponseWriter, text string, err error) {
	h := &handler{Options: Options{Log: slog.New(slog.DiscardHandler)}}
	switch e := asError(err); {
	case err == nil:
		body, _ := json.Marshal(VerbAnswer{Text: text}) // a string always encodes
		send(w, http.StatusOK, body)
	case e.Code == CodeInternal:
		h.refuse(w, nil, NotNow(err.Error()))
	default:
		h.refuse(w, nil, e)
	}
}
