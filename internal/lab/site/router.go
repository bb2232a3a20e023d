package site

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/raoull/worldwidewelsh/internal/lab/routeros"
	"github.com/raoull/worldwidewelsh/internal/network"
)

// The router of a site of a lab on loopback. Its agent reads there what members in the LAN are told of
// the zone; at one site it puts the structure's host off by the port behind which that stands.
const (
	portName   = "port"
	hostPort   = "ether3"
	routerRows = "router.json"
	// The users of docs/operating.md, and the files of their passwords beside wwwd.yaml.
	RouterReader     = "ww-ro"
	RouterWriter     = "ww-rw"
	RouterReaderFile = "router-ro.password"
	RouterWriterFile = "router-rw.password"
)

// Fence is the name of the fence of a site's structure's host: of each driver there is one in every lab
// on loopback. Routed labs have routers of their own, without REST.
func (l *Lab) Fence(i int) string {
	if i == 1 && !l.Routed {
		return portName
	}
	return plugName
}

// routerURL is where the agent of site i reaches its router.
func (l *Lab) routerURL(i int) string {
	return "https://" + netip.AddrPortFrom(l.Plan().RouterBackend(i), RESTPort).String()
}

// openRouter makes the router of the site: who may call it, its ports, and that it asks the site's own agent for the zone.
func (l *Lab) openRouter(dir string, i int) (*routeros.Router, error) {
	name := l.Sites[i].Name
	return routeros.New(routeros.Config{
		Users: map[string]routeros.User{
			RouterReader: {Password: l.TokenSecret(name, RouterReader), Policies: []string{routeros.PolicyRead, routeros.PolicyREST}},
			RouterWriter: {Password: l.TokenSecret(name, RouterWriter), Policies: []string{routeros.PolicyRead, routeros.PolicyWrite, routeros.PolicyREST}},
		},
		Rows: map[string][]routeros.Row{
			routeros.Ethernet: {{"name": "ether1", "disabled": "false"}, {"name": "ether2", "disabled": "false"}, {"name": hostPort, "disabled": "false"}},
			routeros.Names:    {{"name": l.Zone, "type": "FWD", "forward-to": l.DNS(i).Addr().String(), "match-subdomain": "true", "disabled": "false"}},
		},
		File: routerFile(dir, name),
	})
}

func routerFile(dir, name string) string { return filepath.Join(SiteDir(dir, name), routerRows) }

// serveREST answers as the router's www-ssl.
func (p *process) serveREST(ctx context.Context) error {
	if p.lab.Routed {
		return nil
	}
	cert, err := loadCert(certFile(p.dir, p.name, "router-"+p.name))
	if err != nil {
		return err
	}
	if p.router, err = p.lab.openRouter(p.dir, p.index); err != nil {
		return err
	}
	ln, err := p.listen(ctx, netip.AddrPortFrom(p.lab.Plan().RouterBackend(p.index), RESTPort))
	if err != nil {
		return err
	}
	p.serve(ctx, tls.NewListener(ln, &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}), p.router)
	return nil
}

// FencedOff says whether the fence of a site's structure's host has put it off.
func (l *Lab) FencedOff(dir string, i int) (bool, error) {
	name := l.Sites[i].Name
	if l.Fence(i) == plugName {
		on, err := PlugOn(dir, name)
		return !on, err
	}
	// Nobody has been told anything yet, or there are rows: another file is a fault.
	if _, err := os.Stat(routerFile(dir, name)); errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	r, err := l.openRouter(dir, i)
	if err != nil {
		return false, fmt.Errorf("fence of %s: %w", name, err)
	}
	return r.Off(hostPort), nil
}

// portOff says whether the structure's host has no network, because its port is disabled.
func (p *process) portOff() bool {
	return p.router != nil && p.lab.Fence(p.index) == portName && p.router.Off(hostPort)
}

// followPort has the structure's host talk to nobody while its port is disabled. It keeps its power.
func (p *process) followPort() {
	if !p.portOff() {
		return
	}
	for _, m := range p.machines {
		if m.Owner == network.OwnerStructure && !m.power.isOff() {
			p.log.Warn("the port is disabled", "host", m.Name, "port", hostPort)
			m.power.cut()
		}
	}
}

// enablePort gives the structure's host its network back.
func (p *process) enablePort() error {
	if err := p.router.Enable(hostPort); err != nil {
		return err
	}
	p.powerOn(time.Now())
	return nil
}
