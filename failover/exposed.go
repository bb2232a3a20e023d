package failover

import (
	"cmp"
	"net/netip"
	"slices"
)

// Exposure is a port that should be closed to the internet and was found open,
// by an observer outside the site. It tells people and decides nothing: it is
// neither a sighting nor a silence.
type Exposure struct {
	Site    SiteID         `json:"site"`
	Address netip.AddrPort `json:"address"`
}

func compareExposures(x, y Exposure) int {
	return cmp.Or(cmp.Compare(x.Site, y.Site), x.Address.Compare(y.Address))
}

// Exposed returns the ports that any observer's newest report names, each once,
// ordered by site and address.
func (s *State) Exposed() []Exposure {
	var out []Exposure
	for _, r := range s.Reports {
		out = append(out, r.Report.Exposed...)
	}
	slices.SortFunc(out, compareExposures)
	return slices.Compact(out)
}

// exposures writes an event for every port that was closed to all observers and
// is open to one now, and for every one that none finds open any more.
func (s *State) exposures(before []Exposure, st Stamp) {
	after := s.Exposed()
	for _, e := range after {
		if !slices.Contains(before, e) {
			s.event(st, e.reason(CodeExposed), Event{Site: e.Site})
		}
	}
	for _, e := range before {
		if !slices.Contains(after, e) {
			s.event(st, e.reason(CodeClosed), Event{Site: e.Site})
		}
	}
}

func (e Exposure) reason(code string) Reason {
	return because(code, "site", string(e.Site), "address", e.Address.String())
}
