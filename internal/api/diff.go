package api

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
)

// KindFileDiff is the answer of GET /v1/guests/{guest}/diff.
const KindFileDiff = "FileDiff"

// DiffWait is how long a comparison of files takes at most, with the answer's way.
const DiffWait = 55 * time.Second

// Browser is the part of an agent that has copies and their backups looked into, at its own site or by the agent of another.
type Browser interface {
	// Use completes what is known of the use of a copy.
	Use(ctx context.Context, g failover.GuestID, of CopyUse) CopyUse
	Diff(ctx context.Context, pair failover.FilePair, req DiffRequest) (failover.FileDiff, error)
}

// DiffRequest says what is compared.
type DiffRequest struct {
	Guest failover.GuestID
	Host  failover.HostID // with VMID: the copy whose sealed branch is compared; "": the one that was sealed last
	VMID  int
	Site  failover.SiteID // only there; "": wherever both backups can be read
	Path  string          // the directory to begin with; "": all
}

// FileDiff is what differs between the sealed branch of a guest and its newest backup.
type FileDiff struct {
	Meta
	Pair failover.FilePair `json:"pair"`
	Path string            `json:"path"`
	failover.FileDiff
}

func (h *handler) fileDiff(r *http.Request) (any, error) {
	q := r.URL.Query()
	req := DiffRequest{Guest: failover.GuestID(r.PathValue("guest")), Site: failover.SiteID(q.Get("site")), Path: q.Get("path")}
	if text := q.Get("copy"); text != "" {
		host, id, ok := strings.Cut(text, "/")
		n, err := strconv.Atoi(id)
		if !ok || err != nil {
			return nil, malformedf("copy: %q is not HOST/ID", text)
		}
		req.Host, req.VMID = failover.HostID(host), n
	}
	if req.Path == "" {
		req.Path = "/"
	}
	if !strings.HasPrefix(req.Path, "/") {
		return nil, malformedf("path: %q does not begin with /", req.Path)
	}
	s := h.Backend.State()
	pair, err := s.Compare(req.Guest, req.Host, req.VMID, req.Site)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(r.Context(), DiffWait)
	defer cancel()
	diff, err := h.Browser.Diff(ctx, pair, req)
	return FileDiff{Meta: h.meta(s), Pair: pair, Path: req.Path, FileDiff: diff}, err
}

// FileDiff asks what differs between the files of a guest's sealed branch and those of its newest
// backup. It takes up to DiffWait.
func (c *Client) FileDiff(ctx context.Context, req DiffRequest) (FileDiff, error) {
	q := url.Values{}
	if req.Host != "" {
		q.Set("copy", string(req.Host)+"/"+strconv.Itoa(req.VMID))
	}
	if req.Site != "" {
		q.Set("site", string(req.Site))
	}
	if req.Path != "" {
		q.Set("path", req.Path)
	}
	return get[FileDiff](ctx, c, KindFileDiff, "/v1/guests/"+url.PathEscape(string(req.Guest))+"/diff", q)
}
