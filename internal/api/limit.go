package api

import (
	"math"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
)

// domainNamed finds the site or host that a person names; "site:" or "host:"
// before the name says which is meant.
func domainNamed(s *failover.State, name string) (failover.DomainID, error) {
	if s.Network == nil {
		return "", refusedFor(failover.Reason{Code: failover.CodeNoNetwork})
	}
	kind, bare, given := strings.Cut(name, ":")
	if !given {
		kind, bare = "", name
	}
	_, site := s.Network.Sites[failover.SiteID(bare)]
	switch {
	case kind != "host" && site:
		return failover.SiteDomain(failover.SiteID(bare)), nil
	case kind != "site" && s.Network.SiteOf(failover.HostID(bare)) != "":
		return failover.HostDomain(failover.HostID(bare)), nil
	}
	return "", notFound("site or host", name)
}

func readLimit(r *http.Request) (LimitRequest, time.Duration, error) {
	var req LimitRequest
	if err := decode(r, &req); err != nil {
		return req, 0, err
	}
	if err := checkReason(req.Reason); err != nil {
		return req, 0, err
	}
	if math.IsNaN(req.Seconds) || req.Seconds <= 0 || req.Seconds > failover.MaxMaintenance.Seconds() {
		return req, 0, malformedf("for: want more than 0 seconds and at most %s; it must end by itself", failover.MaxMaintenance)
	}
	return req, time.Duration(req.Seconds * float64(time.Second)), nil
}

func (h *handler) beginMaintenance(r *http.Request) (any, error) {
	req, d, err := readLimit(r)
	if err != nil {
		return nil, err
	}
	domain, err := domainNamed(h.Backend.State(), req.Name)
	if err != nil {
		return nil, err
	}
	return h.accept(r, failover.BeginMaintenance{Domain: domain, For: d, Reason: req.Reason})
}

func (h *handler) endMaintenance(r *http.Request) (any, error) {
	domain, err := domainNamed(h.Backend.State(), r.URL.Query().Get("name"))
	if err != nil {
		return nil, err
	}
	return h.accept(r, failover.EndMaintenance{Domain: domain})
}

func (h *handler) excludeObserver(r *http.Request) (any, error) {
	req, d, err := readLimit(r)
	if err != nil {
		return nil, err
	}
	return h.accept(r, failover.ExcludeObserver{Site: failover.SiteID(req.Name), For: d, Reason: req.Reason})
}

func (h *handler) includeObserver(r *http.Request) (any, error) {
	return h.accept(r, failover.IncludeObserver{Site: failover.SiteID(r.URL.Query().Get("name"))})
}

// simulate says what would happen if something were lost now; nothing is
// proposed. An agent that hears no leader does not know who is there, and what
// it would foretell from memory would be wrong.
func (h *handler) simulate(r *http.Request) (any, error) {
	q, s := r.URL.Query(), h.Backend.State()
	domain, err := domainNamed(s, q.Get("lose"))
	if err != nil {
		return nil, err
	}
	lost := failover.Supposed{Site: s.SiteOfDomain(domain), Cut: q.Get("cut")}
	if host, ok := strings.CutPrefix(string(domain), "host:"); ok {
		lost.Host = failover.HostID(host)
	}
	switch {
	case lost.Cut != "" && !slices.Contains(failover.Cuts(), lost.Cut):
		return nil, malformedf("cut: %q is none of %s", lost.Cut, strings.Join(failover.Cuts(), ", "))
	case lost.Cut != "" && lost.Host != "":
		return nil, malformedf("cut: is of a site; %s is a host", lost.Host)
	}
	if !h.Backend.Local().HasLeader {
		nothing := failover.Forecast{Supposed: lost, Timeline: []failover.Foreseen{}, NoLeader: true}
		return Forecast{Meta: h.meta(s), Forecast: nothing}, nil
	}
	return Forecast{Meta: h.meta(s), Forecast: failover.Foretell(s, lost, h.Backend.Now())}, nil
}
