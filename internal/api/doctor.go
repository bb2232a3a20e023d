package api

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/doctor"
)

// DoctorWait bounds how long GET /v1/doctor?fresh=1 waits for a round.
const DoctorWait = 20 * time.Second

// Examiner is what an agent reads of its own machines for the doctor.
type Examiner interface {
	// Facts returns what the last round read, nil before the first has ended.
	// They are shared: the handlers never change them.
	Facts() *doctor.Facts
	// Leads are the local view of the agent's site by names.
	Leads(s *failover.State) []doctor.Lead
	// Refresh begins a round and waits for its end, or for ctx.
	Refresh(ctx context.Context) error
}

// Doctor is what would go wrong in a disaster, as one agent knows it.
type Doctor struct {
	Meta
	doctor.Report
	Stale bool `json:"stale,omitempty"` // a fresh round was wanted and did not end in time
}

// DoctorQuery narrows an examination.
type DoctorQuery struct {
	Category doctor.Category // "" = all
	Fresh    Freshness
}

// Freshness says whether the agent reads its machines anew first.
type Freshness string

// Freshness of an examination.
const (
	LastRound Freshness = ""
	NewRound  Freshness = "1"
)

// doctor answers with the findings. fresh=1 has the agent read its machines
// first; category narrows the answer.
func (h *handler) doctor(r *http.Request) (any, error) {
	q := r.URL.Query()
	category := doctor.Category(q.Get("category"))
	if category != "" && !slices.Contains(doctor.Categories(), category) {
		return nil, malformedf("category: %q is none of %s", category, categoryList())
	}
	fresh, err := boolParam(q, "fresh")
	if err != nil {
		return nil, err
	}
	out := Doctor{}
	var facts *doctor.Facts
	var leads []doctor.Lead
	if h.Doctor != nil {
		if fresh {
			ctx, cancel := context.WithTimeout(r.Context(), DoctorWait)
			defer cancel()
			out.Stale = h.Doctor.Refresh(ctx) != nil // only ctx ends it early
		}
		facts = h.Doctor.Facts()
	}
	files := h.askFiles(r.Context())
	s := h.Backend.State()
	out.Meta = h.meta(s)
	if h.Doctor != nil {
		leads = h.Doctor.Leads(s)
	}
	out.Report = doctor.Examine(doctor.Input{State: s, Local: h.Backend.Local(), Facts: facts, Now: out.At, Files: files, Leads: leads})
	if category != "" {
		out.Items = slices.DeleteFunc(out.Items, func(f doctor.Finding) bool { return f.Category != category })
	}
	return out, nil
}

func categoryList() string {
	var out []string
	for _, c := range doctor.Categories() {
		out = append(out, string(c))
	}
	return strings.Join(out, ", ")
}

// Doctor asks what would go wrong in a disaster. With NewRound the answer takes
// up to DoctorWait.
func (c *Client) Doctor(ctx context.Context, query DoctorQuery) (Doctor, error) {
	q := url.Values{}
	if query.Category != "" {
		q.Set("category", string(query.Category))
	}
	if query.Fresh != LastRound {
		q.Set("fresh", string(query.Fresh))
	}
	return get[Doctor](ctx, c, KindDoctor, "/v1/doctor", q)
}
