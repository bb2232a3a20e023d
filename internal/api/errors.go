package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/message"
	"github.com/raoull/worldwidewelsh/internal/network"
)

// Codes of the API's own errors; internal/message holds their text.
const (
	CodeNoAgent     = "WWW-3001"
	CodeNoLeader    = "WWW-3002"
	CodeUnknown     = "WWW-3003"
	CodeMalformed   = "WWW-3004"
	CodeNotFound    = "WWW-3005"
	CodeTooLarge    = "WWW-3006"
	CodeNotAllowed  = "WWW-3007"
	CodeInternal    = "WWW-3010"
	CodeMethod      = "WWW-3011"
	CodeStillAlive  = "WWW-3012"
	CodeBadAnswer   = "WWW-3013"
	CodeBadNetwork  = "WWW-3015"
	CodeTimeout     = "WWW-3016"
	CodeUnconfirmed = "WWW-3019"

	CodeWaiting     = "WWW-3030" // the agent belongs to no network yet
	CodeNoAuthority = "WWW-3031" // only voters hold the key
	CodeTakesVote   = "WWW-3032"
	CodeNotNow      = "WWW-3033"
	CodeTooMany     = "WWW-3037"
)

// Error is a refusal or failure as the API tells it. Use errors.AsType to get
// at the code, or errors.Is with one of the sentinels below.
type Error struct {
	Status   int               `json:"-"` // of HTTP; 0 when no answer came
	Code     string            `json:"code"`
	Message  string            `json:"message"`
	Hint     string            `json:"hint,omitempty"`
	Args     map[string]string `json:"args,omitempty"`
	Problems []network.Problem `json:"problems,omitempty"` // of a refused network
	Cause    error             `json:"-"`
}

type errorBody struct {
	Error Error `json:"error"`
}

// Sentinels for errors.Is. ErrNoLeader and ErrUnknown are failover's, so that
// a forwarded proposal fails in the words of failover.Log.
var (
	ErrNoAgent     = errors.New("no agent answers")
	ErrNotAllowed  = errors.New("not allowed")
	ErrNotFound    = errors.New("not found")
	ErrRefused     = errors.New("refused")
	ErrStalePlan   = errors.New("plan is stale")
	ErrStillAlive  = errors.New("needs confirmation by name")
	ErrBadRequest  = errors.New("malformed request")
	ErrUnconfirmed = errors.New("not confirmed by the leader")
)

func (e *Error) Error() string {
	switch {
	case e.Message != "":
		return e.Code + ": " + e.Message
	case e.Cause != nil:
		return e.Code + ": " + e.Cause.Error()
	}
	return e.Code + ": " + message.Text(message.English, e.Code, e.Args)
}

func (e *Error) Unwrap() error { return e.Cause }

// Is matches the sentinels.
func (e *Error) Is(target error) bool {
	switch target {
	case ErrNoAgent:
		return e.Code == CodeNoAgent
	case failover.ErrNoLeader:
		return e.Code == CodeNoLeader
	case failover.ErrUnknown:
		return e.Code == CodeUnknown
	case ErrNotAllowed:
		return e.Status == http.StatusForbidden
	case ErrNotFound:
		return e.Status == http.StatusNotFound
	case ErrStalePlan:
		return e.Code == failover.CodeStalePlan
	case ErrStillAlive:
		return e.Code == CodeStillAlive || e.Code == failover.CodeDropsReplica
	case ErrRefused:
		return e.Status == http.StatusUnprocessableEntity || e.Status == http.StatusPreconditionRequired
	case ErrBadRequest:
		return e.Status == http.StatusBadRequest || e.Status == http.StatusRequestEntityTooLarge
	case ErrUnconfirmed:
		return e.Code == CodeUnconfirmed
	}
	return false
}

var errInternal = &Error{Status: http.StatusInternalServerError, Code: CodeInternal}

// asError gives every error of a handler its status and code.
func asError(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		c := *e
		return &c
	}
	if rejected, ok := errors.AsType[*failover.RejectedError](err); ok {
		return refusedFor(rejected.Reason)
	}
	switch {
	case errors.Is(err, failover.ErrNoLeader):
		return &Error{Status: http.StatusServiceUnavailable, Code: CodeNoLeader}
	case errors.Is(err, failover.ErrUnknown), errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return &Error{Status: http.StatusConflict, Code: CodeUnknown}
	}
	return &Error{Status: http.StatusInternalServerError, Code: CodeInternal, Cause: err}
}

// refusedFor is the log's word, or a rule's, that a request does not fit.
func refusedFor(r failover.Reason) *Error {
	if r.Code == failover.CodeDropsReplica {
		return &Error{Status: http.StatusPreconditionRequired, Code: r.Code, Args: r.Args}
	}
	return &Error{Status: http.StatusUnprocessableEntity, Code: r.Code, Args: r.Args}
}

func args(pairs ...string) map[string]string {
	m := make(map[string]string, len(pairs)/2)
	for i := 0; i+1 < len(pairs); i += 2 {
		m[pairs[i]] = pairs[i+1]
	}
	return m
}

func notFound(what, name string) *Error {
	return &Error{Status: http.StatusNotFound, Code: CodeNotFound, Args: args("what", what, "name", name)}
}

func malformed(err error) *Error {
	return &Error{Status: http.StatusBadRequest, Code: CodeMalformed, Args: args("why", err.Error())}
}

func malformedf(format string, a ...any) *Error { return malformed(fmt.Errorf(format, a...)) }

// NotNow refuses what does not fit the state of the group, in words.
func NotNow(why string) *Error {
	return &Error{Status: http.StatusUnprocessableEntity, Code: CodeNotNow, Args: args("why", why)}
}

// NoAuthority says that this agent cannot sign, and which agents can.
func NoAuthority(voters string) *Error {
	return &Error{Status: http.StatusUnprocessableEntity, Code: CodeNoAuthority, Args: args("voters", voters)}
}

func notAllowed(actor, why string) *Error {
	return &Error{Status: http.StatusForbidden, Code: CodeNotAllowed, Args: args("actor", actor, "why", why)}
}
