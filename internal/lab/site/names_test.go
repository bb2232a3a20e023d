package site_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/internal/config"
	"github.com/raoull/worldwidewelsh/internal/lab/site"
)

// TestAgentsHaveTheKeyOfRealDNSServers: each agent's file names the key that the
// zone is declared with, and only the service may read its secret; a lab whose
// agents serve the zone themselves has neither.
func TestAgentsHaveTheKeyOfRealDNSServers(t *testing.T) {
	for server, want := range map[string]bool{"knot": true, site.Embedded: false, "": false} {
		t.Run(server, func(t *testing.T) {
			l, err := site.Layout(site.DefaultSites, 77)
			if err != nil {
				t.Fatal(err)
			}
			l.DNSServer = server
			dir := t.TempDir()
			if err := l.WriteFiles(dir, time.Now()); err != nil {
				t.Fatal(err)
			}
			zone := l.Spec().Zones[l.Zone]
			if got := zone.Key == site.TSIGKey && len(zone.Primaries) == 2; got != want {
				t.Errorf("zone %+v, want real servers: %v", zone, want)
			}
			for _, name := range l.Names() {
				c, problems := config.Load(site.AgentFile(dir, name))
				for _, p := range problems {
					t.Errorf("%s: %s: %s (%s)", name, p.Path, p.Message, p.Hint)
				}
				if c == nil {
					t.FailNow()
				}
				key, has := c.TSIG[site.TSIGKey]
				if has != want {
					t.Errorf("%s has the key: %v, want %v", name, has, want)
				}
				if !has {
					continue
				}
				secret, err := os.ReadFile(key.SecretFile)
				if err != nil || strings.TrimSpace(string(secret)) != l.TSIGSecret() {
					t.Errorf("%s holds %q, %v; want the lab's secret", key.SecretFile, secret, err)
				}
				if info, err := os.Stat(key.SecretFile); err != nil || info.Mode().Perm() != 0o600 || filepath.Dir(key.SecretFile) != site.SiteDir(dir, name) {
					t.Errorf("%s: %v, %v; want mode 0600 in the site's own directory", key.SecretFile, info.Mode(), err)
				}
			}
		})
	}
}
