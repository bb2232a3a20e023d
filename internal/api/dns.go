package api

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/raoull/worldwidewelsh/failover"
)

// KindDNSCheck is the answer of GET /v1/dns/check, KindDNSPlan that of GET /v1/dns/plan.
const (
	KindDNSCheck = "DNSCheck"
	KindDNSPlan  = "DNSPlan"
)

// Zones is the part of an agent that knows the zones and can ask their servers.
type Zones interface {
	// Check asks every authoritative server and every declared resolver now,
	// within the context's deadline.
	Check(ctx context.Context) []ZoneCheck
	// Foresee returns what a plan would change.
	Foresee(s *failover.State, plan failover.Plan) []DNSChange
	// Failures counts failed updates since the agent's start, by zone.
	Failures() map[string]uint64
}

// DNSCheck is what the servers say now.
type DNSCheck struct {
	Meta
	Zones []ZoneCheck `json:"zones"`
}

// ZoneCheck is one zone as its servers serve it now.
type ZoneCheck struct {
	Zone    string        `json:"zone"`
	Backend string        `json:"backend"`
	Serial  uint32        `json:"serial,omitempty"` // decided; 0: the zone's own server counts
	Token   string        `json:"token"`            // of the last decision that changed the zone
	Servers []ServerCheck `json:"servers"`
	Names   []NameCheck   `json:"names"`
}

// ServerCheck is one server of a zone.
type ServerCheck struct {
	Server string `json:"server"`
	Name   string `json:"name,omitempty"` // of the zone's NS record that leads to it, without the final dot
	Role   string `json:"role"`           // primary, agent, secondary, resolver
	Site   string `json:"site,omitempty"` // where it stands, if at one
	Status string `json:"status"`         // in-sync, differs, refusing, failing, silent, unreachable
	Serial uint32 `json:"serial,omitempty"`
	Error  string `json:"error,omitempty"`
}

// NameCheck is one name, as decided and as each server says.
type NameCheck struct {
	Name string               `json:"name"` // without the final dot
	Type string               `json:"type,omitempty"`
	Data string               `json:"data,omitempty"`
	TTL  time.Duration        `json:"ttl,omitempty"`
	Held bool                 `json:"held,omitempty"`
	Away bool                 `json:"away,omitempty"`
	Seen map[string]NameSight `json:"seen"` // by server
}

// NameSight is what one server says of one name.
type NameSight struct {
	State string        `json:"state,omitempty"` // ok, old, absent; empty: no answer
	TTL   time.Duration `json:"ttl,omitempty"`   // at a resolver: what remains
}

// DNSChange is what would happen to one set of records.
type DNSChange struct {
	Name   string        `json:"name"`
	Type   string        `json:"type"`
	Before []string      `json:"before"`
	After  []string      `json:"after"`
	TTL    time.Duration `json:"ttl,omitempty"`
}

// DNSPlan is what a loss would change in the zones.
type DNSPlan struct {
	Meta
	Changes []DNSChange `json:"changes"`
	Held    []string    `json:"held,omitempty"` // names that a person holds: they would stay
}

// HoldRequest keeps a name in a person's hands.
type HoldRequest struct {
	Name    string  `json:"name"`
	Seconds float64 `json:"for,omitempty"` // 0: until released
	Reason  string  `json:"reason,omitempty"`
}

// NameHold is a name that a person holds.
type NameHold struct {
	Name   string          `json:"name"`
	Site   failover.SiteID `json:"site,omitempty"` // that it pointed to when it was held
	Until  time.Time       `json:"until,omitzero"`
	Reason string          `json:"reason,omitempty"`
	By     string          `json:"by,omitempty"`
}

func (h *handler) dnsRoutes() []route {
	list := []route{
		{"GET /v1/dns", h.read(KindDNS, h.dns)},
		{"POST /v1/dns/hold", h.write(KindAccepted, h.holdName)},
		{"DELETE /v1/dns/hold", h.write(KindAccepted, h.releaseName)},
	}
	if h.Zones != nil {
		list = append(list,
			route{"GET /v1/dns/check", h.read(KindDNSCheck, h.dnsCheck)},
			route{"GET /v1/dns/plan", h.read(KindDNSPlan, h.dnsPlan)},
		)
	}
	return list
}

// CheckWait bounds a look at every server.
const CheckWait = 8 * time.Second

func (h *handler) askServers(r *http.Request) []ZoneCheck {
	ctx, cancel := context.WithTimeout(r.Context(), CheckWait)
	defer cancel()
	return h.Zones.Check(ctx)
}

func (h *handler) dnsCheck(r *http.Request) (any, error) {
	out := DNSCheck{Meta: h.meta(h.Backend.State()), Zones: h.askServers(r)}
	if out.Zones == nil {
		out.Zones = []ZoneCheck{}
	}
	return out, nil
}

func (h *handler) dnsPlan(r *http.Request) (any, error) {
	plan, err := h.plan(r)
	if err != nil {
		return nil, err
	}
	s := h.Backend.State()
	out := DNSPlan{Meta: h.meta(s), Changes: h.Zones.Foresee(s, plan.(Plan).Plan)}
	if out.Changes == nil {
		out.Changes = []DNSChange{}
	}
	for _, hold := range holds(s) {
		out.Held = append(out.Held, hold.Name)
	}
	return out, nil
}

func holds(s *failover.State) []NameHold {
	var out []NameHold
	for name, h := range s.Holds {
		out = append(out, NameHold{Name: name, Site: h.Site, Until: h.Until, Reason: h.Reason, By: h.By.Actor})
	}
	slices.SortFunc(out, func(a, b NameHold) int { return strings.Compare(a.Name, b.Name) })
	return out
}

func (h *handler) holdName(r *http.Request) (any, error) {
	var req HoldRequest
	if err := decode(r, &req); err != nil {
		return nil, err
	}
	if err := checkReason(req.Reason); err != nil {
		return nil, err
	}
	length, err := upToOneYear(req.Seconds)
	if err != nil {
		return nil, err
	}
	name, err := fullName(h.Backend.State(), req.Name)
	if err != nil {
		return nil, err
	}
	return h.accept(r, failover.HoldName{Name: name, For: length, Reason: req.Reason})
}

func (h *handler) releaseName(r *http.Request) (any, error) {
	name, err := fullName(h.Backend.State(), r.URL.Query().Get("name"))
	if err != nil {
		return nil, err
	}
	return h.accept(r, failover.ReleaseName{Name: name})
}

// fullName finds the declared public name that a person means: the whole of it,
// or as much of its beginning as is only one's.
func fullName(s *failover.State, name string) (string, error) {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	if s.Network == nil {
		return "", refusedFor(failover.Reason{Code: failover.CodeNoNetwork})
	}
	var all, found []string
	for _, g := range s.Network.Guests {
		all = append(all, g.Names...)
	}
	for _, c := range s.Network.Common {
		all = append(all, c.Names...)
	}
	for held := range s.Holds {
		if !slices.Contains(all, held) {
			all = append(all, held)
		}
	}
	for _, n := range all {
		if n == name {
			return n, nil
		}
		if name != "" && strings.HasPrefix(n, name+".") {
			found = append(found, n)
		}
	}
	if len(found) == 1 {
		return found[0], nil
	}
	return "", notFound("name", name)
}

// CheckDNS asks the agent to ask every server now.
func (c *Client) CheckDNS(ctx context.Context) (DNSCheck, error) {
	return get[DNSCheck](ctx, c, KindDNSCheck, "/v1/dns/check", nil)
}

// PlanDNS asks what the loss of something would change in the zones.
func (c *Client) PlanDNS(ctx context.Context, req FailoverRequest) (DNSPlan, error) {
	return get[DNSPlan](ctx, c, KindDNSPlan, "/v1/dns/plan", planQuery(req))
}

// HoldName keeps a name in a person's hands.
func (c *Client) HoldName(ctx context.Context, req HoldRequest) (Accepted, error) {
	return roundTrip[Accepted](ctx, c, KindAccepted, http.MethodPost, "/v1/dns/hold", req)
}

// ReleaseName gives it back.
func (c *Client) ReleaseName(ctx context.Context, name string) (Accepted, error) {
	return roundTrip[Accepted](ctx, c, KindAccepted, http.MethodDelete, "/v1/dns/hold?"+url.Values{"name": {name}}.Encode(), nil)
}

// RegisterZoneMetrics registers what an agent counts of its own updates.
func RegisterZoneMetrics(reg prometheus.Registerer, z Zones) error {
	if err := reg.Register(zoneCollector{z, prometheus.NewDesc("wwwd_dns_update_failures_total",
		"Updates of a zone on other servers that failed while this agent led.", []string{"zone"}, nil)}); err != nil {
		return fmt.Errorf("register metrics: %w", err)
	}
	return nil
}

type zoneCollector struct {
	zones Zones
	desc  *prometheus.Desc
}

// Describe implements prometheus.Collector.
func (c zoneCollector) Describe(ch chan<- *prometheus.Desc) { ch <- c.desc }

// Collect implements prometheus.Collector.
func (c zoneCollector) Collect(ch chan<- prometheus.Metric) {
	for zone, n := range c.zones.Failures() {
		ch <- prometheus.MustNewConstMetric(c.desc, prometheus.CounterValue, float64(n), zone)
	}
}
