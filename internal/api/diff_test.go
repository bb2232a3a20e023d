package api_test

import (
	"net/http"
	"testing"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/api"
	"github.com/raoull/worldwidewelsh/internal/api/apitest"
)

// TestFileDiff: the two backups are chosen by State, the comparison is the browser's.
func TestFileDiff(t *testing.T) {
	b, err := apitest.BackHome(failover.KeepHome)
	if err != nil {
		t.Fatal(err)
	}
	conforms(t, readOpenAPI(t), "GET /v1/guests/{guest}/diff", call(everything(b), &root, http.MethodGet, "/v1/guests/nuage/diff?path=/", nil))
	c := serve(t, &root, api.Options{Backend: b, Browser: fakeBrowser{}})
	left := b.State().LeftCopies("nuage", b.Now())[0]
	for _, req := range []api.DiffRequest{{Guest: "nuage"}, {Guest: "nuage", Host: left.Host, VMID: left.VMID, Path: "/"}} {
		d, err := c.FileDiff(t.Context(), req)
		if err != nil || len(d.Changes) != 1 || d.Changes[0].Path != "/etc/hostname" || d.Pair.Copy.VMID != left.VMID || d.Pair.Site == "" || d.Path != "/" {
			t.Errorf("FileDiff(%+v): %+v, %v", req, d, err)
		}
	}
	for _, bad := range []api.DiffRequest{
		{Guest: "nobody"}, {Guest: "nuage", Host: "x", VMID: 1}, {Guest: "nuage", Path: "etc"}, {Guest: "nuage", Site: "fabrique"},
	} {
		if d, err := c.FileDiff(t.Context(), bad); err == nil {
			t.Errorf("FileDiff(%+v) is answered: %+v", bad, d)
		}
	}
	if _, err := serve(t, &root, api.Options{Backend: b}).FileDiff(t.Context(), api.DiffRequest{Guest: "nuage"}); err == nil {
		t.Error("answered without a browser")
	}
}
