package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"sync"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/api"
	"github.com/raoull/worldwidewelsh/internal/config"
	"github.com/raoull/worldwidewelsh/internal/doctor"
	"github.com/raoull/worldwidewelsh/internal/network"
)

// files lets the agents compare their own files.
type files struct{ d *daemon }

var _ api.Files = files{}

func (f files) File() doctor.LocalFile {
	out := localFile(f.d.conf)
	out.Pins = f.d.probes.pins()
	out.Copies, out.CopiesRead = doctor.Copies(f.d.node.State().Network, f.d.conf.Site, f.d.site.doctor.Facts())
	return out
}

// localFile is what may be told of a configuration.
func localFile(c *config.Config) doctor.LocalFile {
	out := doctor.LocalFile{
		Site: c.Site, Version: version, Advertise: c.Advertise.String(), PVE: c.PVE.TokenFile != "", PBS: c.PBS.TokenFile != "",
		Hands: network.SortedKeys(c.Hands), Inventory: network.SortedKeys(c.Inventory), Fences: network.SortedKeys(c.Fences),
		Programs: network.SortedKeys(c.Programs),
		TSIG:     network.SortedKeys(c.TSIG), Pins: c.Pins(), PublicCA: c.PublicCAFile != "",
	}
	if c.Listen.Metrics.IsValid() {
		out.Metrics = c.Listen.Metrics.String()
	}
	for _, a := range c.Listen.DNS {
		out.DNS = append(out.DNS, a.String())
	}
	if b, err := json.Marshal(c); err == nil { // a configuration that was read from a file always is
		sum := sha256.Sum256(b)
		out.Digest = hex.EncodeToString(sum[:8])
	}
	return out
}

// AskFiles asks all members at once: one that is dead costs the deadline, once.
func (f files) AskFiles(ctx context.Context) map[failover.SiteID]doctor.Told {
	out := map[failover.SiteID]doctor.Told{f.d.conf.Site: {File: ptr(f.File())}}
	var mu sync.Mutex
	var asked sync.WaitGroup
	for site, m := range f.d.node.State().Members {
		if site == f.d.conf.Site {
			continue
		}
		asked.Go(func() {
			answer, err := f.d.peers.client(m.Address).File(ctx)
			told := doctor.Told{File: &answer.File}
			if err != nil {
				told = doctor.Told{Why: err.Error()}
			}
			mu.Lock()
			defer mu.Unlock()
			out[site] = told
		})
	}
	asked.Wait()
	return out
}

func ptr[T any](v T) *T { return &v }
