package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync/atomic"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/message"
)

// maxAnswer bounds what a client reads of one answer.
const maxAnswer = 64 << 20

// Client talks to one agent. Deadlines come with each context. Errors are
// *Error; the sentinels of this package and failover's tell them apart.
type Client struct {
	endpoint string // for messages
	base     string // scheme and host
	http     *http.Client
	look     bool // see OnlyLook
}

// NewSocketClient returns a client of the agent behind a unix socket.
func NewSocketClient(path string) *Client {
	var d net.Dialer
	return &Client{
		endpoint: path, base: "http://wwwd", // the host is not looked up
		http: &http.Client{Transport: &http.Transport{
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return d.DialContext(ctx, "unix", path)
			},
		}},
	}
}

// NewClient returns a client of the agent at base ("https://10.77.2.1:9977"),
// over an HTTP client whose transport proves who both are.
func NewClient(base string, c *http.Client) *Client {
	return &Client{endpoint: base, base: strings.TrimSuffix(base, "/"), http: c}
}

// ErrOnlyLook says that a request was not sent, since it would have changed something.
var ErrOnlyLook = errors.New("a dry run changes nothing")

// OnlyLook has the client ask for nothing that changes anything, whatever is wanted of it: ErrOnlyLook.
// What says itself that it is a dry run goes out.
func (c *Client) OnlyLook() { c.look = true }

// may says whether a request may go out.
func (c *Client) may(method, path string, payload []byte) error {
	var said struct {
		DryRun bool `json:"dry_run"`
	}
	if !c.look || method == http.MethodGet || json.Unmarshal(payload, &said) == nil && said.DryRun {
		return nil
	}
	return fmt.Errorf("%s %s was not asked for: %w", method, path, ErrOnlyLook)
}

// Endpoint names the agent that the client talks to, for messages.
func (c *Client) Endpoint() string { return c.endpoint }

// Close drops idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Health asks for the short answer for probes.
func (c *Client) Health(ctx context.Context) (Health, error) {
	return get[Health](ctx, c, KindHealth, "/v1/health", nil)
}

// Version asks for the agent's build.
func (c *Client) Version(ctx context.Context) (VersionInfo, error) {
	return get[VersionInfo](ctx, c, KindVersion, "/v1/version", nil)
}

// Status asks for the one screen.
func (c *Client) Status(ctx context.Context) (failover.Status, error) {
	return get[failover.Status](ctx, c, KindStatus, "/v1/status", nil)
}

// Sites asks for every site.
func (c *Client) Sites(ctx context.Context) (SiteList, error) {
	return get[SiteList](ctx, c, KindSites, "/v1/sites", nil)
}

// Site asks for one site; the error Is ErrNotFound when there is none.
func (c *Client) Site(ctx context.Context, id failover.SiteID) (Site, error) {
	return get[Site](ctx, c, KindSite, "/v1/sites/"+url.PathEscape(string(id)), nil)
}

// Guests asks for every guest.
func (c *Client) Guests(ctx context.Context) (GuestList, error) {
	return get[GuestList](ctx, c, KindGuests, "/v1/guests", nil)
}

// Guest asks for one guest; the error Is ErrNotFound when there is none.
func (c *Client) Guest(ctx context.Context, id failover.GuestID) (Guest, error) {
	return get[Guest](ctx, c, KindGuest, "/v1/guests/"+url.PathEscape(string(id)), nil)
}

// PlanAsLoss asks what would happen if the thing were lost now.
func (c *Client) PlanAsLoss(ctx context.Context, req FailoverRequest) (Plan, error) {
	return get[Plan](ctx, c, KindPlan, "/v1/plan", planQuery(req))
}

// PlanByHand asks what Failover would do now.
func (c *Client) PlanByHand(ctx context.Context, req FailoverRequest) (Plan, error) {
	q := planQuery(req)
	q.Set("by_hand", "true")
	return get[Plan](ctx, c, KindPlan, "/v1/plan", q)
}

func planQuery(req FailoverRequest) url.Values {
	q := url.Values{}
	for name, v := range map[string]string{
		"site": string(req.Site), "host": string(req.Host), "guest": string(req.Guest), "to": string(req.To), "switchover": req.Switchover,
		"failback": req.Failback, "keep": string(req.Keep),
	} {
		if v != "" {
			q.Set(name, v)
		}
	}
	for _, g := range req.Only {
		q.Add("only", string(g))
	}
	for _, g := range req.Stop {
		q.Add("stop", string(g))
	}
	for _, c := range req.Replace {
		q.Add("replace", c)
	}
	if req.Rescue {
		q.Set("rescue", "true")
	}
	if req.Undo {
		q.Set("undo", "true")
	}
	return q
}

// Ops asks for every operation that State still holds, newest first.
func (c *Client) Ops(ctx context.Context) (OpList, error) {
	return get[OpList](ctx, c, KindOps, "/v1/ops", nil)
}

// Op asks for one operation; the error Is ErrNotFound when there is none.
func (c *Client) Op(ctx context.Context, id failover.OpID) (Op, error) {
	return get[Op](ctx, c, KindOp, "/v1/ops/"+url.PathEscape(string(id)), nil)
}

// Incident asks for the report on one operation, of only one structure's guests unless structure
// is empty; the error Is ErrNotFound when there is no such operation or structure.
func (c *Client) Incident(ctx context.Context, id failover.OpID, structure failover.StructureID) (Incident, error) {
	q := url.Values{}
	if structure != "" {
		q.Set("structure", string(structure))
	}
	return get[Incident](ctx, c, KindIncident, "/v1/ops/"+url.PathEscape(string(id))+"/report", q)
}

// EventQuery narrows a list of events; empty fields do not.
type EventQuery struct {
	Since string // log index (exclusive), RFC 3339 time or duration back from now
	Site  failover.SiteID
	Code  string
	Limit int // newest that many; 0: DefaultEvents
}

// Events asks for a part of the history, oldest first.
func (c *Client) Events(ctx context.Context, query EventQuery) (EventList, error) {
	q := url.Values{}
	for name, v := range map[string]string{"since": query.Since, "site": string(query.Site), "code": query.Code} {
		if v != "" {
			q.Set(name, v)
		}
	}
	if query.Limit > 0 {
		q.Set("limit", fmt.Sprint(query.Limit))
	}
	return get[EventList](ctx, c, KindEvents, "/v1/events", q)
}

// DNS asks for the decided names and the servers' state; with ask, the agent also asks every server now.
func (c *Client) DNS(ctx context.Context, ask bool) (DNS, error) {
	q := url.Values{}
	if ask {
		q.Set("ask", "1")
	}
	return get[DNS](ctx, c, KindDNS, "/v1/dns", q)
}

// Network asks for the declared network in force.
func (c *Client) Network(ctx context.Context) (Network, error) {
	return get[Network](ctx, c, KindNetwork, "/v1/network", nil)
}

// Peers asks for the Raft configuration.
func (c *Client) Peers(ctx context.Context) (PeerList, error) {
	return get[PeerList](ctx, c, KindPeers, "/v1/cluster/peers", nil)
}

// ApplyNetwork declares the network anew, or says with DryRun what would change.
func (c *Client) ApplyNetwork(ctx context.Context, req ApplyRequest) (Applied, error) {
	return roundTrip[Applied](ctx, c, KindApplied, http.MethodPost, "/v1/network", req)
}

// Failover starts a failover by hand. The error Is ErrStillAlive when the
// name has to be confirmed, ErrStalePlan when the plan is another one now.
func (c *Client) Failover(ctx context.Context, req FailoverRequest) (Accepted, error) {
	return roundTrip[Accepted](ctx, c, KindAccepted, http.MethodPost, "/v1/failover", req)
}

// AckSeal says that nothing of a guest's sealed branches is missed.
func (c *Client) AckSeal(ctx context.Context, g failover.GuestID) (Accepted, error) {
	return roundTrip[Accepted](ctx, c, KindAccepted, http.MethodPost, "/v1/guests/"+url.PathEscape(string(g))+"/ack", nil)
}

// RemoveCopy has a copy removed that a guest has left.
func (c *Client) RemoveCopy(ctx context.Context, g failover.GuestID, req RemoveRequest) (Accepted, error) {
	return roundTrip[Accepted](ctx, c, KindAccepted, http.MethodPost, "/v1/guests/"+url.PathEscape(string(g))+"/remove", req)
}

// ForkCopy has a copy that a guest has left made a guest of its own.
func (c *Client) ForkCopy(ctx context.Context, g failover.GuestID, req RemoveRequest) (Accepted, error) {
	return roundTrip[Accepted](ctx, c, KindAccepted, http.MethodPost, "/v1/guests/"+url.PathEscape(string(g))+"/fork", req)
}

// GiveUpSeal lets a sealed branch of a guest be pruned.
func (c *Client) GiveUpSeal(ctx context.Context, g failover.GuestID, req GiveUpRequest) (Accepted, error) {
	return roundTrip[Accepted](ctx, c, KindAccepted, http.MethodPost, "/v1/guests/"+url.PathEscape(string(g))+"/give-up", req)
}

// RetireSite makes the sites where a lost site's guests live their homes.
func (c *Client) RetireSite(ctx context.Context, site failover.SiteID, req RetireRequest) (Retirement, error) {
	return roundTrip[Retirement](ctx, c, KindRetired, http.MethodPost, "/v1/sites/"+url.PathEscape(string(site))+"/retire", req)
}

// Act carries out an action (approve, cancel, retry, ack) on an operation.
func (c *Client) Act(ctx context.Context, id failover.OpID, action string, req ActionRequest) (Accepted, error) {
	path := "/v1/ops/" + url.PathEscape(string(id)) + "/" + url.PathEscape(action)
	return roundTrip[Accepted](ctx, c, KindAccepted, http.MethodPost, path, req)
}

// Pause disarms automatic failover.
func (c *Client) Pause(ctx context.Context, req PauseRequest) (Accepted, error) {
	return roundTrip[Accepted](ctx, c, KindAccepted, http.MethodPost, "/v1/pause", req)
}

// Resume arms it again; site "" is the pause of the whole network.
func (c *Client) Resume(ctx context.Context, site failover.SiteID) (Accepted, error) {
	return roundTrip[Accepted](ctx, c, KindAccepted, http.MethodDelete, "/v1/pause?"+url.Values{"site": {string(site)}}.Encode(), nil)
}

// BeginMaintenance says that a site or host may be silent for a while.
func (c *Client) BeginMaintenance(ctx context.Context, req LimitRequest) (Accepted, error) {
	return roundTrip[Accepted](ctx, c, KindAccepted, http.MethodPost, "/v1/maintenance", req)
}

// EndMaintenance ends it.
func (c *Client) EndMaintenance(ctx context.Context, name string) (Accepted, error) {
	return roundTrip[Accepted](ctx, c, KindAccepted, http.MethodDelete, "/v1/maintenance?"+url.Values{"name": {name}}.Encode(), nil)
}

// ExcludeObserver lets the word of an agent not count for a while.
func (c *Client) ExcludeObserver(ctx context.Context, req LimitRequest) (Accepted, error) {
	return roundTrip[Accepted](ctx, c, KindAccepted, http.MethodPost, "/v1/observers", req)
}

// IncludeObserver lets it count again.
func (c *Client) IncludeObserver(ctx context.Context, site failover.SiteID) (Accepted, error) {
	return roundTrip[Accepted](ctx, c, KindAccepted, http.MethodDelete, "/v1/observers?"+url.Values{"name": {string(site)}}.Encode(), nil)
}

// Simulate asks what would happen if a site or host were lost now, or only
// what cut names of a site (failover.Cuts; "" is all of it).
func (c *Client) Simulate(ctx context.Context, name, cut string) (Forecast, error) {
	q := url.Values{"lose": {name}}
	if cut != "" {
		q.Set("cut", cut)
	}
	return get[Forecast](ctx, c, KindForecast, "/v1/simulate", q)
}

// Propose forwards an encoded command to the leader. Its results are those of
// failover.Log.Propose; an agent that was surely not reached is ErrNoLeader.
func (c *Client) Propose(ctx context.Context, envelope []byte) (failover.Stamp, error) {
	body, err := c.do(ctx, http.MethodPost, "/v1/raft/propose", "application/octet-stream", envelope)
	if err != nil {
		if errors.Is(err, ErrNoAgent) {
			return failover.Stamp{}, fmt.Errorf("forward proposal: %w: %w", failover.ErrNoLeader, err)
		}
		return failover.Stamp{}, err
	}
	var out Committed
	if err := Unmarshal(body, KindCommitted, &out); err != nil {
		return failover.Stamp{}, fmt.Errorf("forward proposal: %w: %w", failover.ErrUnknown, err)
	}
	if out.Rejected != nil {
		return out.Stamp, out.Rejected
	}
	return out.Stamp, nil
}

// Confirm asks the leader whether an irreversible effect may go ahead; only
// nil allows it.
func (c *Client) Confirm(ctx context.Context, t failover.Token) error {
	_, err := roundTrip[Done](ctx, c, KindConfirmed, http.MethodPost, "/v1/raft/confirm", ConfirmRequest{Token: t})
	return err
}

// Join asks the leader to admit this agent.
func (c *Client) Join(ctx context.Context, req JoinRequest) error {
	_, err := roundTrip[Done](ctx, c, KindJoined, http.MethodPost, "/v1/raft/join", req)
	return err
}

// VerbAnswer is the answer of a verb of the local socket, in words.
type VerbAnswer struct {
	Text  string `json:"text,omitempty"`
	Error string `json:"error,omitempty"`
}

// Verb carries out a verb of the local socket: joining, leaving, rebuilding. A
// refusal in words is an Error with CodeNotNow.
func (c *Client) Verb(ctx context.Context, path string, req any) (string, error) {
	payload, err := json.Marshal(req)
	if err != nil {
		return "", fmt.Errorf("encode request: %w", err)
	}
	body, err := c.do(ctx, http.MethodPost, path, "application/json", payload)
	if err != nil {
		return "", err
	}
	var a VerbAnswer
	if err := json.Unmarshal(body, &a); err != nil {
		return "", c.failure(CodeBadAnswer, err)
	}
	return a.Text, nil
}

func get[T any](ctx context.Context, c *Client, kind, path string, q url.Values) (T, error) {
	if len(q) > 0 {
		path += "?" + q.Encode()
	}
	return roundTrip[T](ctx, c, kind, http.MethodGet, path, nil)
}

// roundTrip sends a request with a JSON body (none when req is nil) and reads the
// answer of the given kind.
func roundTrip[T any](ctx context.Context, c *Client, kind, method, path string, req any) (T, error) {
	var out T
	var payload []byte
	contentType := ""
	if req != nil {
		var err error
		if payload, err = json.Marshal(req); err != nil {
			return out, fmt.Errorf("encode request: %w", err)
		}
		contentType = "application/json"
	}
	body, err := c.do(ctx, method, path, contentType, payload)
	if err != nil {
		return out, err
	}
	if err := Unmarshal(body, kind, &out); err != nil {
		return out, c.failure(CodeBadAnswer, err)
	}
	return out, nil
}

func (c *Client) do(ctx context.Context, method, path, contentType string, payload []byte) ([]byte, error) {
	if err := c.may(method, path, payload); err != nil {
		return nil, err
	}
	var sent atomic.Bool // set before any byte of the request leaves
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { sent.Store(true) }})
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, bytes.NewReader(payload))
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.broken(method, &sent, err)
	}
	defer func() { _ = resp.Body.Close() }() // everything wanted of it has been read
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, c.broken(method, &sent, err)
	case len(body) > maxAnswer:
		return nil, c.failure(CodeBadAnswer, errors.New("answer too large"))
	case resp.StatusCode == http.StatusOK:
		return body, nil
	}
	return nil, c.refusal(resp, body)
}

// refusal reads an answer that is an error.
func (c *Client) refusal(resp *http.Response, body []byte) error {
	var e errorBody
	if err := Unmarshal(body, KindError, &e); err != nil || e.Error.Code == "" {
		return c.failure(CodeBadAnswer, fmt.Errorf("status %s without an error in JSON", resp.Status))
	}
	e.Error.Status = resp.StatusCode
	return &e.Error
}

// broken tells a request that was surely not sent from one whose outcome is
// not known; a read has no outcome to worry about.
func (c *Client) broken(method string, sent *atomic.Bool, err error) error {
	switch {
	case !sent.Load():
		return c.failure(CodeNoAgent, err)
	case method != http.MethodGet:
		return c.failure(CodeUnknown, err)
	case errors.Is(err, context.DeadlineExceeded):
		return c.failure(CodeTimeout, err)
	}
	return c.failure(CodeNoAgent, err)
}

func (c *Client) failure(code string, err error) *Error {
	why := err.Error()
	if u, ok := errors.AsType[*url.Error](err); ok {
		why = u.Err.Error()
	}
	a := args("endpoint", c.endpoint, "why", why, "timeout", "the time allowed")
	return &Error{
		Code: code, Args: a, Cause: err,
		Message: message.Text(message.English, code, a), Hint: message.Hint(message.English, code, a),
	}
}
