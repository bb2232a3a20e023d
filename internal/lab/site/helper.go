package site

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/raoull/worldwidewelsh/internal/lab"
	"github.com/raoull/worldwidewelsh/internal/network"
	"github.com/raoull/worldwidewelsh/internal/roothelper"
)

// restoreIDs are the ids under which guests of other sites are restored at the i-th: each
// site has its own, since backups of all of them meet in one namespace.
func restoreIDs(i int) network.IDRange {
	return network.IDRange{First: 90000 + 1000*i, Last: 90999 + 1000*i}
}

// homeIDs are those under which guests come home to their structure's host.
var homeIDs = network.IDRange{First: 5000, Last: 5999}

// Limits of the site's root helper, those of the real one.
const (
	helperRead = 2 * time.Second
	helperWork = time.Minute
)

// HelperSocket returns the socket of a site's root helper.
func HelperSocket(dir, site string) string { return filepath.Join(SiteDir(dir, site), "helper.sock") }

// serveHelper runs the root helper of the host that guests are restored on: the
// real one, over the fake host's root, for the user that plays the lab.
func (p *process) serveHelper(ctx context.Context) error {
	host := p.target()
	if host == nil {
		return nil
	}
	path := HelperSocket(p.dir, p.name)
	// One process plays the site, so a socket that is there is of a killed one.
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("serve root helper: %w", err)
	}
	ln, err := roothelper.Listen(path)
	if err != nil {
		return fmt.Errorf("serve root helper: %w", err)
	}
	s := &roothelper.Server{
		Rules: func() (roothelper.Rules, error) {
			return roothelper.Rules{UID: uint32(os.Getuid()), IDs: []network.IDRange{restoreIDs(p.index)}}, nil
		},
		Runner: host.Root(), MountInfo: host.Root().MountInfo,
		Log: p.log.With("component", "root-helper"), ReadTimeout: helperRead, Timeout: helperWork,
	}
	p.wg.Go(func() {
		if err := s.Serve(ctx, ln); err != nil {
			p.errs <- err
		}
	})
	return nil
}

// target returns the host that guests of other sites are restored on, nil
// without one.
func (p *process) target() *lab.PVE {
	for _, m := range p.machines {
		if m.Owner == network.OwnerRaoull && m.pve != nil {
			return m.pve
		}
	}
	return nil
}
