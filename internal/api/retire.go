package api

import (
	"fmt"
	"net/http"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/network"
)

// RetireRequest ends a lost site's being anybody's home.
type RetireRequest struct {
	DryRun bool `json:"dry_run,omitempty"`
	// Confirm is the site's name, typed by the person: nothing brings it back.
	Confirm string `json:"confirm,omitempty"`
}

// Retirement is what the end of a site means for the guests whose home it was.
type Retirement struct {
	Meta
	Site    failover.SiteID         `json:"site"`
	Version uint64                  `json:"version"` // of the declared network, after it
	DryRun  bool                    `json:"dry_run,omitempty"`
	Guests  []failover.RetiredGuest `json:"guests"`
	Changes []network.Change        `json:"changes"`
	// Empty are structures without a guest there: nothing tells where their home would be, so it stays.
	Empty []failover.StructureID `json:"empty,omitempty"`
}

// retireSite makes the sites where a lost site's guests live their homes.
func (h *handler) retireSite(r *http.Request) (any, error) {
	var req RetireRequest
	if err := decodeOptional(r, &req); err != nil {
		return nil, err
	}
	s, site := h.Backend.State(), failover.SiteID(r.PathValue("site"))
	spec, guests, err := s.Retired(site)
	if err != nil {
		return nil, err
	}
	if err := sound(spec.Validate()); err != nil {
		return nil, err
	}
	out := Retirement{Meta: h.meta(s), Site: site, Version: s.NetworkVersion, DryRun: req.DryRun, Guests: guests, Changes: network.Diff(s.Network, spec)}
	for _, id := range network.SortedKeys(spec.Structures) {
		if spec.Structures[id].Home == site {
			out.Empty = append(out.Empty, id)
		}
	}
	switch {
	case req.DryRun:
		return out, nil
	case req.Confirm != string(site):
		return nil, malformedf("confirm: want the name of the site, %s", site)
	}
	st, err := h.Backend.Propose(r.Context(), failover.RetireSite{Site: site, IfVersion: s.NetworkVersion})
	if err != nil {
		return nil, err
	}
	out.Version = st.Index
	return out, nil
}

// sound refuses a network that has errors, with all that was found.
func sound(problems []network.Problem) error {
	errs := 0
	for _, p := range problems {
		if p.Severity == network.Error {
			errs++
		}
	}
	if errs == 0 {
		return nil
	}
	return &Error{
		Status: http.StatusUnprocessableEntity, Code: CodeBadNetwork, Problems: problems,
		Args: args("errors", fmt.Sprint(errs), "warnings", fmt.Sprint(len(problems)-errs)),
	}
}
