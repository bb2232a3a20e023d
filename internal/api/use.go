package api

import (
	"context"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
)

// KindCopyUses is the answer of GET /v1/guests/{guest}/use.
const KindCopyUses = "CopyUses"

// UseWait is how long a site may take to say what its copy was used for.
const UseWait = 4 * time.Second

// CopyUse is what was done with a copy since the copies of its guest parted, by its host's own records.
type CopyUse struct {
	failover.Place
	Serves   bool      `json:"serves"`           // the copy that names lead to
	Since    time.Time `json:"since"`            // asked for
	From     time.Time `json:"from,omitzero"`    // recorded from here
	Until    time.Time `json:"until,omitzero"`   // to here; zero: nothing is recorded
	Written  int64     `json:"written"`          // bytes, to its disks; what a container writes to ZFS is not recorded
	Received int64     `json:"received"`         // bytes, by its network cards
	Sent     int64     `json:"sent"`             // bytes
	Unread   string    `json:"unread,omitempty"` // why nothing is known
}

// CopyUses is the same of the copies of a guest that lives away from home.
type CopyUses struct {
	Meta
	Copies []CopyUse `json:"copies"`
}

// copyUses says what was done with each of the two copies of a guest, as the agents of their sites read it.
func (h *handler) copyUses(r *http.Request) (any, error) {
	s, g, site := h.Backend.State(), failover.GuestID(r.PathValue("guest")), failover.SiteID(r.URL.Query().Get("site"))
	if _, ok := s.Guests[g]; !ok {
		return nil, notFound("guest", string(g))
	}
	out := CopyUses{Meta: h.meta(s), Copies: []CopyUse{}}
	for _, b := range failover.BranchesOf(s, failover.KeepAway, []failover.GuestID{g}) {
		since := b.Parted
		if since.IsZero() {
			since = b.Since
		}
		for _, use := range []CopyUse{{Place: b.Serves, Serves: true, Since: b.Since}, {Place: placeOr(b.Left), Since: since}} {
			if use.Site != "" && (site == "" || site == use.Site) {
				out.Copies = append(out.Copies, use)
			}
		}
	}
	ctx, cancel := context.WithTimeout(r.Context(), UseWait)
	defer cancel()
	var each sync.WaitGroup
	for i := range out.Copies {
		each.Go(func() { out.Copies[i] = h.Browser.Use(ctx, g, out.Copies[i]) })
	}
	each.Wait()
	return out, nil
}

func placeOr(p *failover.Place) failover.Place {
	if p == nil {
		return failover.Place{}
	}
	return *p
}

// CopyUses asks what was done with the copies of a guest since they parted; of those at one site, or of both ("").
func (c *Client) CopyUses(ctx context.Context, g failover.GuestID, site failover.SiteID) (CopyUses, error) {
	q := url.Values{}
	if site != "" {
		q.Set("site", string(site))
	}
	return get[CopyUses](ctx, c, KindCopyUses, "/v1/guests/"+url.PathEscape(string(g))+"/use", q)
}
