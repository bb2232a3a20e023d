package main

import (
	"bytes"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/api"
	"github.com/raoull/worldwidewelsh/internal/api/apitest"
)

// TestDryRunChangesNothing: whatever changes something shows with --dry-run what it would do, and asks the
// agent for nothing that changes anything, though every question is answered beforehand.
func TestDryRunChangesNothing(t *testing.T) {
	home := func() (*apitest.Backend, error) { return apitest.BackHome(failover.KeepAway) }
	lines := map[string]func() (*apitest.Backend, error){
		"failback run nuage --keep home": apitest.Stuck, "failback run nuage --keep away": apitest.Away,
		"op retry OP": apitest.Stuck, "op cancel OP": apitest.Stuck, "op ack OP": apitest.Stuck, "op approve OP": apitest.Stuck, "op confirm OP": apitest.Stuck,
		"failback undo nuage": home, "failback ack nuage": home, "failback remove nuage": home, "failback give-up nuage": home,
		"failback fork nuage --copy pve-moulin/101": home,
	}
	for _, line := range []string{
		"failover moulin", "failover --guest nuage", "failover --host pve-moulin", "rescue moulin",
		"switchover nuage --to quai", "switchover nuage --to quai --at 23:00",
		"site retire moulin", "op cancel op-1", "op retry op-1 --host-is-off",
		"approve op-1", "approve op-1 --offer p-1", "pause", "pause moulin --for 1h", "resume", "resume moulin",
		"maintenance on moulin --for 1h", "maintenance off moulin", "observer exclude moulin", "observer include moulin",
		"dns hold nuage.example --for 1h", "dns release nuage.example", "alert test", "token create", "token revoke abc",
		"operator admit ada", "operator revoke ada", "cluster set moulin voter", "cluster set moulin nonvoter", "cluster remove moulin", "cluster step-down",
		"leave",
	} {
		lines[line] = apitest.New
	}
	for line, open := range lines {
		b, err := open()
		if err != nil {
			t.Fatal(err)
		}
		for id := range b.State().Ops {
			line = strings.ReplaceAll(line, "OP", string(id))
		}
		var asked []string
		inner := api.NewHandler(api.Options{Backend: b, Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
		socket := listen(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			if r.Method != http.MethodGet && !bytes.Contains(body, []byte(`"dry_run":true`)) {
				asked = append(asked, r.Method+" "+r.URL.Path)
			}
			r.Body = io.NopCloser(bytes.NewReader(body))
			inner.ServeHTTP(w, r)
		}))
		before := b.State().Index
		r := wwwctl(t.Context(), socket, line+" --dry-run --yes --confirm moulin")
		if len(asked) > 0 || b.State().Index != before {
			t.Errorf("%s --dry-run asked for %q, and the state went from %d to %d", line, asked, before, b.State().Index)
		}
		if strings.Contains(r.errOut, api.ErrOnlyLook.Error()) {
			t.Errorf("%s --dry-run: exit %d, the last guard has held it up:\n%s", line, r.code, r.errOut)
		}
		if r.code == exitUsage {
			t.Errorf("%s --dry-run: %s", line, r.errOut)
		}
	}
}
