package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/message"
)

// Backend is the agent behind the handlers.
type Backend interface {
	// Local is what the agent knows of itself; State cannot tell.
	Local() failover.LocalView
	// State is shared: the handlers never change it.
	State() *failover.State
	// Propose has the contract of failover.Log.
	Propose(ctx context.Context, c failover.Command) (failover.Stamp, error)
	// Node is the agent's build and its place in Raft.
	Node() Node
	// Now is the agent's wall clock.
	Now() time.Time
}

// Node is an agent's build and its place in Raft.
type Node struct {
	Boot     string // random per start
	Revision string // of the source, empty when not known
	Role     string // leader, follower, candidate
	Term     uint64
	Commit   uint64
	Applied  uint64
}

// Raft is the part of an agent that only other agents may use.
type Raft interface {
	// ProposeEnvelope proposes an encoded command that another agent forwards;
	// its errors are those of failover.Log.Propose.
	ProposeEnvelope(ctx context.Context, envelope []byte) (failover.Stamp, error)
	// Confirm answers failover.Log.Confirm as the leader.
	Confirm(ctx context.Context, t failover.Token) error
	// Join admits the agent to the Raft configuration.
	Join(ctx context.Context, req JoinRequest) error
}

// Options of a Handler.
type Options struct {
	Backend Backend
	Raft    Raft     // nil: the routes between agents answer 404
	Doctor  Examiner // nil: the doctor knows State only
	Zones   Zones    // nil: nobody can ask the DNS servers
	Access  Access   // nil: the routes of tokens, certificates and members answer 404
	Browser Browser  // nil: the route of files in backups answers 404
	Files   Files    // nil: the routes of local files answer 404
	Rates   Rates    // what is not set: DefaultRates
	Log     *slog.Logger
}

// NewHandler returns the routes of the API. Who calls is taken from the
// request's context (WithActor); the servers of this package put it there.
func NewHandler(o Options) http.Handler {
	h := &handler{Options: o, callers: newCallers(o.Rates)}
	mux := http.NewServeMux()
	for _, r := range h.routes() {
		mux.HandleFunc(r.pattern, r.serve)
	}
	mux.HandleFunc("/", h.notFound)
	return h.guard(h.limited(h.methods(mux)))
}

type handler struct {
	Options
	callers *callers
}

type route struct {
	pattern string
	serve   http.HandlerFunc
}

func (h *handler) routes() []route {
	list := []route{
		{"GET /v1/health", withTime(h.read(KindHealth, h.health))},
		{"GET /v1/version", h.read(KindVersion, h.version)},
		{"GET /v1/status", h.read(KindStatus, h.status)},
		{"GET /v1/sites", h.read(KindSites, h.sites)},
		{"GET /v1/sites/{site}", h.read(KindSite, h.site)},
		{"GET /v1/guests", h.read(KindGuests, h.guests)},
		{"GET /v1/guests/{guest}", h.read(KindGuest, h.guest)},
		{"GET /v1/plan", h.read(KindPlan, h.plan)},
		{"GET /v1/simulate", h.read(KindForecast, h.simulate)},
		{"GET /v1/ops", h.read(KindOps, h.ops)},
		{"GET /v1/ops/{op}", h.read(KindOp, h.op)},
		{"GET /v1/ops/{op}/report", h.read(KindIncident, h.incident)},
		{"GET /v1/events", h.read(KindEvents, h.events)},
		{"GET /v1/events/stream", h.stream},
		{"GET /v1/openapi.yaml", h.description},
		{"GET /v1/doctor", h.read(KindDoctor, h.doctor)},
		{"GET /v1/network", h.read(KindNetwork, h.network)},
		{"GET /v1/cluster/peers", h.read(KindPeers, h.peers)},
		{"POST /v1/network", h.admin(KindApplied, h.applyNetwork)},
		{"POST /v1/sites/{site}/retire", h.admin(KindRetired, h.retireSite)},
		{"POST /v1/failover", h.write(KindAccepted, h.failover)},
		{"POST /v1/guests/{guest}/ack", h.write(KindAccepted, h.ackSeal)},
		{"POST /v1/guests/{guest}/remove", h.write(KindAccepted, h.removeCopy)},
		{"POST /v1/guests/{guest}/fork", h.write(KindAccepted, h.forkCopy)},
		{"POST /v1/guests/{guest}/give-up", h.write(KindAccepted, h.giveUpSeal)},
		{"POST /v1/ops/{op}/{action}", h.write(KindAccepted, h.action)},
		{"POST /v1/pause", h.write(KindAccepted, h.pause)},
		{"DELETE /v1/pause", h.write(KindAccepted, h.resume)},
		{"POST /v1/maintenance", h.write(KindAccepted, h.beginMaintenance)},
		{"DELETE /v1/maintenance", h.write(KindAccepted, h.endMaintenance)},
		{"POST /v1/observers", h.write(KindAccepted, h.excludeObserver)},
		{"DELETE /v1/observers", h.write(KindAccepted, h.includeObserver)},
	}
	list = append(list, h.dnsRoutes()...)
	if h.Browser != nil {
		list = append(list, route{"GET /v1/guests/{guest}/diff", h.read(KindFileDiff, h.fileDiff)})
		list = append(list, route{"GET /v1/guests/{guest}/use", h.read(KindCopyUses, h.copyUses)})
	}
	if h.Files != nil {
		list = append(list, route{"GET /v1/cluster/file", h.read(KindFile, h.file)})
	}
	if h.Access != nil {
		list = append(list, h.accessRoutes()...)
	}
	if h.Raft != nil {
		list = append(list,
			route{"POST /v1/raft/propose", h.between(KindCommitted, h.propose)},
			route{"POST /v1/raft/confirm", h.between(KindConfirmed, h.confirm)},
			route{"POST /v1/raft/join", h.between(KindJoined, h.join)},
		)
	}
	return list
}

// TimeHeader tells, in an answer to GET /v1/health, what the wall clock of the agent's machine
// says (RFC 3339): that of the body is the log's, which all agents share.
const TimeHeader = "Www-Time"

func withTime(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set(TimeHeader, time.Now().UTC().Format(time.RFC3339Nano))
		next(w, r)
	}
}

// guard limits every body and turns a panic of a handler into an answer.
func (h *handler) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			if p := recover(); p != nil {
				h.Log.Error("handler panicked", "method", r.Method, "path", r.URL.Path, "panic", p, "stack", string(debug.Stack()))
				h.refuse(w, r, errInternal)
			}
		}()
		r.Body = http.MaxBytesReader(w, r.Body, bodyLimit(r.URL.Path))
		next.ServeHTTP(w, r)
	})
}

// bodyLimit is what a request may hold: a whole network only where one is declared,
// by a person or in a command that another agent forwards.
func bodyLimit(path string) int64 {
	if path == "/v1/network" || path == "/v1/raft/propose" {
		return MaxBody
	}
	return maxSmallBody
}

// methods answers in JSON where the mux would answer in plain text that the
// path exists and the method does not.
func (h *handler) methods(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, pattern := mux.Handler(r); pattern != "/" && pattern != "" {
			mux.ServeHTTP(w, r)
			return
		}
		for _, m := range []string{http.MethodGet, http.MethodPost, http.MethodDelete} {
			other := r.Clone(r.Context())
			other.Method = m
			if _, pattern := mux.Handler(other); pattern != "/" && pattern != "" {
				h.refuse(w, r, &Error{Status: http.StatusMethodNotAllowed, Code: CodeMethod, Args: args("method", r.Method, "path", r.URL.Path)})
				return
			}
		}
		h.notFound(w, r)
	})
}

func (h *handler) notFound(w http.ResponseWriter, r *http.Request) {
	h.refuse(w, r, notFound("route", r.URL.Path))
}

// read wraps a handler that answers from State to whoever was let in.
func (h *handler) read(kind string, f func(*http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if _, ok := ActorFrom(r.Context()); !ok {
			h.refuse(w, r, notAllowed("nobody", "the caller is not known"))
			return
		}
		h.answer(w, r, kind, f)
	}
}

// write wraps a handler that changes something: for operators. An agent that is cut off says so at once: what it
// forwards to whoever led last would be answered by nobody, and then it is not known whether it was heard.
func (h *handler) write(kind string, f func(*http.Request) (any, error)) http.HandlerFunc {
	return h.person(failover.RoleOperator, kind, func(r *http.Request) (any, error) {
		if h.cutOff() {
			return nil, failover.ErrNoLeader
		}
		return f(r)
	})
}

func (h *handler) cutOff() bool { return h.Backend.State().CutOff(h.Backend.Local()) }

// admin wraps a handler that changes the network, its members or who may do what.
func (h *handler) admin(kind string, f func(*http.Request) (any, error)) http.HandlerFunc {
	return h.person(failover.RoleAdmin, kind, f)
}

// person wraps a handler for people of a role, and writes down who asked for
// what and whether they got it.
func (h *handler) person(need failover.Role, kind string, f func(*http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		a, ok := ActorFrom(r.Context())
		var err error
		switch {
		case !ok:
			err = notAllowed("nobody", "the caller is not known")
		case a.Kind == ActorAgent:
			err = notAllowed(a.String(), "agents change nothing in a person's name")
		case !a.role().May(need):
			err = notAllowed(a.String(), fmt.Sprintf("this needs the role %s, the certificate has %s", need, a.role()))
		}
		if err != nil {
			h.Log.Warn("request refused", "audit", true, "actor", a.String(), "method", r.Method, "path", r.URL.Path, "from", r.RemoteAddr)
			h.refuse(w, r, err)
			return
		}
		h.answer(w, r, kind, func(r *http.Request) (any, error) {
			v, err := f(r)
			outcome := "done"
			if err != nil {
				outcome = asError(err).Code
			}
			h.Log.Info("request of a person", "audit", true, "actor", a.String(), "role", string(a.role()),
				"method", r.Method, "path", r.URL.Path, "outcome", outcome)
			return v, err
		})
	}
}

// between wraps a handler that only agents of the same network may call.
func (h *handler) between(kind string, f func(*http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		a, ok := ActorFrom(r.Context())
		switch {
		case !ok:
			h.refuse(w, r, notAllowed("nobody", "the caller is not known"))
		case a.Kind != ActorAgent:
			h.refuse(w, r, notAllowed(a.String(), "only agents talk about Raft"))
		default:
			h.answer(w, r, kind, f)
		}
	}
}

func (h *handler) answer(w http.ResponseWriter, r *http.Request, kind string, f func(*http.Request) (any, error)) {
	v, err := f(r)
	if err != nil {
		h.refuse(w, r, err)
		return
	}
	body, err := Marshal(kind, v)
	if err != nil {
		h.Log.Error("answer not encoded", "kind", kind, "error", err)
		h.refuse(w, r, errInternal)
		return
	}
	send(w, http.StatusOK, body)
}

// refuse writes an error as an answer.
func (h *handler) refuse(w http.ResponseWriter, r *http.Request, err error) {
	e := asError(err)
	if e.Status >= http.StatusInternalServerError && e.Code == CodeInternal {
		h.Log.Error("request failed", "method", r.Method, "path", r.URL.Path, "error", err)
	}
	e.Message = message.Text(message.English, e.Code, e.Args)
	e.Hint = message.Hint(message.English, e.Code, e.Args)
	body, err := Marshal(KindError, errorBody{*e})
	if err != nil {
		body = fmt.Appendf(nil, `{"apiVersion":%q,"kind":%q,"error":{"code":%q}}`, Version, KindError, e.Code)
	}
	send(w, e.Status, body)
}

func send(w http.ResponseWriter, status int, body []byte) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)+1))
	w.WriteHeader(status)
	// A caller that has gone away is no event of ours.
	_, _ = w.Write(append(body, '\n'))
}

// decode reads a request strictly: one JSON object, no unknown keys.
func decode(r *http.Request, v any) error {
	b, err := io.ReadAll(r.Body)
	if err != nil {
		if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok {
			return &Error{Status: http.StatusRequestEntityTooLarge, Code: CodeTooLarge, Args: args("limit", strconv.FormatInt(tooLarge.Limit, 10)+" bytes")}
		}
		return malformed(fmt.Errorf("read body: %w", err))
	}
	return decodeBytes(b, v)
}

func decodeBytes(b []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		if errors.Is(err, io.EOF) {
			err = errors.New("empty body")
		}
		return malformed(err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return malformed(errors.New("more than one JSON value"))
	}
	return nil
}

// decodeOptional is decode for requests whose body may be left out.
func decodeOptional(r *http.Request, v any) error {
	if r.ContentLength == 0 {
		return nil
	}
	return decode(r, v)
}
