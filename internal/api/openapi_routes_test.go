package api_test

import (
	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/api"
)

// Who may call a route.
const (
	anybody   = "anybody with a valid token"
	reader    = "viewer"
	operator  = "operator"
	admin     = "admin"
	agentOnly = "agent"
)

// described is what the OpenAPI file says of one route.
type described struct {
	who, summary string
	query        []param
	body         any // nil: none
	bodyOptional bool
	kind         string
	answer       any // nil: see text
	text         string
}

type param struct{ name, about string }

var guestsOnly = param{"only", "only these guests; may be repeated"}

// routesDescribed has one row for each route; a test holds the two together.
var routesDescribed = map[string]described{
	"GET /v1/health":                  {who: reader, summary: "The agent lives, and as who.", kind: api.KindHealth, answer: api.Health{}},
	"GET /v1/version":                 {who: reader, summary: "The agent's build.", kind: api.KindVersion, answer: api.VersionInfo{}},
	"GET /v1/openapi.yaml":            {who: reader, summary: "This description.", text: "application/yaml"},
	"GET /v1/status":                  {who: reader, summary: "The essentials.", kind: api.KindStatus, answer: failover.Status{}},
	"GET /v1/sites":                   {who: reader, summary: "Every site with its verdict.", kind: api.KindSites, answer: api.SiteList{}},
	"GET /v1/sites/{site}":            {who: reader, summary: "One site with its evidence.", kind: api.KindSite, answer: api.Site{}},
	"GET /v1/guests":                  {who: reader, summary: "Every guest.", kind: api.KindGuests, answer: api.GuestList{}},
	"GET /v1/guests/{guest}":          {who: reader, summary: "One guest with its copies.", kind: api.KindGuest, answer: api.Guest{}},
	"GET /v1/guests/{guest}/diff":     {who: reader, summary: "What differs between the files of its sealed branch and of its newest backup. Nothing is touched; it takes up to 55 s.", query: []param{{"copy", "HOST/ID: the sealed branch of this copy; the newest without"}, {"site", "only at this site"}, {"path", "the directory to begin with"}}, kind: api.KindFileDiff, answer: api.FileDiff{}},
	"GET /v1/guests/{guest}/use":      {who: reader, summary: "What each copy of a guest that lives away was used for since they parted, by their hosts' records. Nothing is touched; it takes up to 4 s.", query: []param{{"site", "only the copy at this site"}}, kind: api.KindCopyUses, answer: api.CopyUses{}},
	"GET /v1/plan":                    {who: reader, summary: "What would happen if it were lost now, or moved. Nothing is touched.", query: planParams(), kind: api.KindPlan, answer: api.Plan{}},
	"GET /v1/simulate":                {who: reader, summary: "What would happen and when, by the deciding code on a copy of the state.", query: []param{{"lose", "a site or host"}, {"cut", "only this of a site: mesh or public"}}, kind: api.KindForecast, answer: api.Forecast{}},
	"GET /v1/ops":                     {who: reader, summary: "Every operation that is known, newest first.", kind: api.KindOps, answer: api.OpList{}},
	"GET /v1/ops/{op}":                {who: reader, summary: "One operation with its events.", kind: api.KindOp, answer: api.Op{}},
	"GET /v1/ops/{op}/report":         {who: reader, summary: "The record of an operation.", query: []param{{"structure", "of this structure's guests only"}}, kind: api.KindIncident, answer: api.Incident{}},
	"GET /v1/events":                  {who: reader, summary: "What happened, oldest first.", query: append(eventParams(), param{"limit", "the newest so many, from 1 to 2000"}), kind: api.KindEvents, answer: api.EventList{}},
	"GET /v1/events/stream":           {who: reader, summary: "What happens, as server-sent events: each `data` is an Event, `id` is for Last-Event-ID.", query: eventParams(), text: "text/event-stream", kind: api.KindEvent, answer: failover.Event{}},
	"GET /v1/doctor":                  {who: reader, summary: "What would go wrong in a disaster.", query: []param{{"category", "only this category"}, {"fresh", "true: read the machines anew first"}}, kind: api.KindDoctor, answer: api.Doctor{}},
	"GET /v1/network":                 {who: reader, summary: "The declared network in force.", kind: api.KindNetwork, answer: api.Network{}},
	"GET /v1/cluster/peers":           {who: reader, summary: "The agents of the group.", kind: api.KindPeers, answer: api.PeerList{}},
	"GET /v1/cluster/file":            {who: reader, summary: "What the agent tells of its own wwwd.yaml; no secret.", kind: api.KindFile, answer: api.LocalFile{}},
	"GET /v1/dns":                     {who: reader, summary: "The public names, and where they go.", query: []param{{"ask", "1: ask every server now"}}, kind: api.KindDNS, answer: api.DNS{}},
	"GET /v1/dns/check":               {who: reader, summary: "What the servers say now.", kind: api.KindDNSCheck, answer: api.DNSCheck{}},
	"GET /v1/dns/plan":                {who: reader, summary: "What a loss would change in the zones.", query: planParams(), kind: api.KindDNSPlan, answer: api.DNSPlan{}},
	"GET /v1/access":                  {who: reader, summary: "Who may do what: tokens, operators, revocations; no secret.", kind: api.KindAccess, answer: api.AccessList{}},
	"GET /v1/cluster/snapshot":        {who: admin, summary: "The state in the form that a rebuild reads.", kind: api.KindSnapshot, answer: api.SnapshotFile{}},
	"POST /v1/network":                {who: admin, summary: "Declare the network anew: compare-and-set on if_version.", body: api.ApplyRequest{}, kind: api.KindApplied, answer: api.Applied{}},
	"POST /v1/guests/{guest}/ack":     {who: operator, summary: "Say that nothing is missed of the sealed branches of a guest.", kind: api.KindAccepted, answer: api.Accepted{}},
	"POST /v1/guests/{guest}/remove":  {who: operator, summary: "Remove a copy that a guest has left and that is sealed; one that is not is sealed.", body: api.RemoveRequest{}, kind: api.KindAccepted, answer: api.Accepted{}},
	"POST /v1/guests/{guest}/fork":    {who: operator, summary: "Make a copy that a guest has left a guest of its own.", body: api.RemoveRequest{}, kind: api.KindAccepted, answer: api.Accepted{}},
	"POST /v1/guests/{guest}/give-up": {who: operator, summary: "Let a sealed branch be pruned whose copy is gone and whose retention is over.", body: api.GiveUpRequest{}, kind: api.KindAccepted, answer: api.Accepted{}},
	"POST /v1/sites/{site}/retire":    {who: admin, summary: "End a lost site's being a home: where its guests live is theirs.", body: api.RetireRequest{}, bodyOptional: true, kind: api.KindRetired, answer: api.Retirement{}},
	"POST /v1/failover":               {who: operator, summary: "Begin a failover, rescue, switchover or failback by hand.", body: api.FailoverRequest{}, kind: api.KindAccepted, answer: api.Accepted{}},
	"POST /v1/ops/{op}/{action}":      {who: operator, summary: "approve, cancel, retry, confirm or ack an operation.", body: api.ActionRequest{}, bodyOptional: true, kind: api.KindAccepted, answer: api.Accepted{}},
	"POST /v1/pause":                  {who: operator, summary: "Disarm automatic failover.", body: api.PauseRequest{}, bodyOptional: true, kind: api.KindAccepted, answer: api.Accepted{}},
	"DELETE /v1/pause":                {who: operator, summary: "Arm it again.", query: []param{{"site", "the pause of this site; empty: of the network"}}, kind: api.KindAccepted, answer: api.Accepted{}},
	"POST /v1/maintenance":            {who: operator, summary: "Let a site or host be silent for a while.", body: api.LimitRequest{}, kind: api.KindAccepted, answer: api.Accepted{}},
	"DELETE /v1/maintenance":          {who: operator, summary: "End it.", query: []param{{"name", "site or host"}}, kind: api.KindAccepted, answer: api.Accepted{}},
	"POST /v1/observers":              {who: operator, summary: "Do not believe what an agent says of others, for a while.", body: api.LimitRequest{}, kind: api.KindAccepted, answer: api.Accepted{}},
	"DELETE /v1/observers":            {who: operator, summary: "Believe it again.", query: []param{{"name", "site"}}, kind: api.KindAccepted, answer: api.Accepted{}},
	"POST /v1/dns/hold":               {who: operator, summary: "Keep a public name where it is.", body: api.HoldRequest{}, kind: api.KindAccepted, answer: api.Accepted{}},
	"DELETE /v1/dns/hold":             {who: operator, summary: "Let it follow its guest again.", query: []param{{"name", "public name"}}, kind: api.KindAccepted, answer: api.Accepted{}},
	"POST /v1/tokens":                 {who: admin, summary: "Make a token by which one agent joins; the answer alone ever holds it.", body: api.TokenRequest{}, kind: api.KindToken, answer: api.TokenMade{}},
	"DELETE /v1/tokens/{token}":       {who: admin, summary: "End a token before its time.", kind: api.KindAccepted, answer: api.Accepted{}},
	"POST /v1/operators":              {who: admin, summary: "Make a person's login file; the answer alone ever holds its key.", body: api.OperatorRequest{}, kind: api.KindLogin, answer: api.Login{}},
	"DELETE /v1/operators/{operator}": {who: admin, summary: "Refuse a person's certificates from now on.", query: []param{{"reason", "for the record"}}, kind: api.KindAccepted, answer: api.Accepted{}},
	"POST /v1/cluster/members":        {who: admin, summary: "Give or take a vote, or expel an agent.", body: api.MemberRequest{}, kind: api.KindConfirmed, answer: api.Done{}},
	"POST /v1/cluster/step-down":      {who: admin, summary: "Have the leader's agent restart.", kind: api.KindAccepted, answer: api.Accepted{}},
	"POST /v1/join":                   {who: anybody, summary: "Redeem a token, on the mesh port with ALPN www-join/1 and without a certificate.", body: api.RedeemRequest{}, kind: api.KindRedeemed, answer: api.Redeemed{}},
	"POST /v1/raft/propose":           {who: agentOnly, summary: "Forward an encoded command to the leader.", body: []byte{}, kind: api.KindCommitted, answer: api.Committed{}},
	"POST /v1/raft/confirm":           {who: agentOnly, summary: "May an irreversible effect go ahead?", body: api.ConfirmRequest{}, kind: api.KindConfirmed, answer: api.Done{}},
	"POST /v1/raft/join":              {who: agentOnly, summary: "Admit the calling agent to the group.", body: api.JoinRequest{}, kind: api.KindJoined, answer: api.Done{}},
	"POST /v1/raft/renew":             {who: agentOnly, summary: "Sign the calling agent's next certificate.", body: api.RenewRequest{}, kind: api.KindRedeemed, answer: api.Redeemed{}},
	"POST /v1/raft/authority":         {who: agentOnly, summary: "The authority's key, for voters.", kind: api.KindAuthority, answer: api.AuthorityKey{}},
	"POST /v1/raft/member":            {who: agentOnly, summary: "Change a member, at the leader.", body: api.MemberOrder{}, kind: api.KindConfirmed, answer: api.Done{}},
	"POST /v1/raft/leave":             {who: agentOnly, summary: "Expel the calling agent at its own wish.", kind: api.KindConfirmed, answer: api.Done{}},
	"POST /v1/raft/step-down":         {who: agentOnly, summary: "Restart this agent if it leads.", kind: api.KindConfirmed, answer: api.Done{}},
}

func planParams() []param {
	return []param{
		{"site", "that would be lost"},
		{"host", "that would be lost"},
		{"guest", "that would be moved"},
		{"to", "target site"},
		{"switchover", "a site, structure or guest that would be moved by plan"},
		{"failback", "a site, structure or guest that would come home"},
		{"keep", "which copy a failback keeps: away or home"},
		{"undo", "true: the plan that takes the failback of a guest back"},
		guestsOnly,
		{"stop", "guests that may be switched off when they do not shut down; may be repeated"},
		{"replace", "HOST/ID: a copy at home that is given up for the one that comes, once it is sealed; may be repeated"},
		{"by_hand", "true: as a person would begin it"},
		{"rescue", "true: beside its dead host"},
	}
}

func eventParams() []param {
	return []param{
		{"since", "log index (exclusive), RFC 3339 time, or duration back from now"}, {"site", "of this site"}, {"code", "of this code, such as WWW-1103"},
	}
}
