package fabric

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// Path is the kind of network between two sites.
type Path string

// The kinds of path. AnyPath is for rules only (Cut, Heal, Delay).
const (
	Mesh    Path = "mesh"   // the WireGuard mesh
	Public  Path = "public" // the internet
	AnyPath Path = "*"
)

// Names that stand for sites in rules.
const (
	Outside = "outside" // whoever has no declared source address: a member on the internet
	Any     = "*"       // every site and Outside; for rules only
)

// defaultUDPIdle is how long an exchange of datagrams may be silent before its
// socket is given back. Resolvers use a new port per question, so it is short.
const defaultUDPIdle = 10 * time.Second

// ErrClosed is returned for whatever is asked of a Fabric after Close.
var ErrClosed = errors.New("fabric is closed")

// Endpoint says whose a source address is and on which path it sends.
type Endpoint struct {
	Site string
	Path Path
}

// Service is one address of a site that others can reach.
type Service struct {
	Name    string         // for logs and errors
	Site    string         // the site that it belongs to and dies with
	Path    Path           // Mesh or Public: the network on which Listen stands
	Listen  netip.AddrPort // loopback address that others dial; port 0 is chosen freely
	Backend netip.AddrPort // loopback address of the site's own process
	UDP     bool           // serve UDP too, on the same address and port
}

// Config holds what a Fabric needs.
type Config struct {
	// Sources names the senders. An address that is not in it is Outside, which
	// reaches public services only. On a mesh service only mesh sources (and the
	// site itself) are heard; others meet silence and are logged once.
	Sources map[netip.Addr]Endpoint
	Logger  *slog.Logger  // nil discards
	UDPIdle time.Duration // silence that ends a UDP session; 0 is 10 s
}

// Fabric forwards between sites and injects faults. All methods may be called
// from any goroutine.
type Fabric struct {
	log     *slog.Logger
	sources map[netip.Addr]Endpoint
	udpIdle time.Duration
	wg      sync.WaitGroup

	mu      sync.Mutex // never held over a wait or a socket call
	closed  bool
	changed chan struct{} // closed and replaced when a rule or a life changes
	cuts    map[Cut]struct{}
	delays  map[Cut]time.Duration
	quiet   map[silence]struct{}
	dead    map[string]struct{}
	fronts  []*front
	links   map[*link]struct{}
}

// New returns a Fabric without services. Close gives its sockets back.
func New(c Config) *Fabric {
	log := c.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	idle := c.UDPIdle
	if idle <= 0 {
		idle = defaultUDPIdle
	}
	return &Fabric{
		log:     log.With("component", "fabric"),
		sources: maps.Clone(c.Sources),
		udpIdle: idle,
		changed: make(chan struct{}),
		cuts:    map[Cut]struct{}{},
		delays:  map[Cut]time.Duration{},
		quiet:   map[silence]struct{}{},
		dead:    map[string]struct{}{},
		links:   map[*link]struct{}{},
	}
}

// Add binds the addresses of a service and forwards from then on; ctx bounds the
// binding only. A service of a dead site is added dead.
func (f *Fabric) Add(ctx context.Context, s Service) error {
	if err := s.check(); err != nil {
		return fmt.Errorf("add service %s of %s: %w", s.Name, s.Site, err)
	}
	fr, err := f.bind(ctx, s)
	if err != nil {
		return fmt.Errorf("add service %s of %s: %w", s.Name, s.Site, err)
	}
	run, stop := context.WithCancel(context.WithoutCancel(ctx))
	fr.stop = stop
	err = fr.converge() // before the first accept, so that a dead site never answers
	f.mu.Lock()
	if f.closed {
		err = ErrClosed
	}
	if err == nil {
		f.fronts = append(f.fronts, fr)
		f.wg.Go(func() { fr.serve(run) })
		if fr.udp != nil {
			f.wg.Go(func() { fr.serveUDP(run) })
		}
	}
	f.mu.Unlock()
	if err != nil {
		fr.fillIn()
		return fmt.Errorf("add service %s of %s: %w", s.Name, s.Site, errors.Join(err, fr.close()))
	}
	// Kill may have passed between the look at the dead and the append.
	return f.settle([]*front{fr})
}

func (s Service) check() error {
	switch {
	case s.Site == "" || s.Site == Any || s.Site == Outside:
		return fmt.Errorf("%q cannot be a site's name", s.Site)
	case s.Path != Mesh && s.Path != Public:
		return fmt.Errorf("path %q is neither %s nor %s", s.Path, Mesh, Public)
	case !s.Listen.Addr().Is4() || !s.Listen.Addr().IsLoopback():
		return fmt.Errorf("listen address %s is not in 127.0.0.0/8", s.Listen)
	case !s.Backend.Addr().Is4() || !s.Backend.Addr().IsLoopback() || s.Backend.Port() == 0:
		return fmt.Errorf("backend address %s is not an address in 127.0.0.0/8 with a port", s.Backend)
	case s.Backend == s.Listen:
		return fmt.Errorf("listen and backend address are both %s", s.Listen)
	}
	return nil
}

// bind opens the sockets of a service. With port 0 UDP follows the port that TCP got.
func (f *Fabric) bind(ctx context.Context, s Service) (*front, error) {
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp4", s.Listen.String())
	if err != nil {
		return nil, err
	}
	tcp, ok := ln.(*net.TCPListener)
	if !ok {
		return nil, errors.Join(fmt.Errorf("listener is a %T", ln), ln.Close())
	}
	s.Listen = addrPort(tcp.Addr())
	fr := &front{
		fabric: f, svc: s, ln: tcp,
		pokes: make(chan chan error, 1), ended: make(chan struct{}),
		sessions: map[netip.AddrPort]*session{},
	}
	if s.UDP {
		if fr.udp, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(s.Listen)); err != nil {
			return nil, errors.Join(err, ln.Close())
		}
	}
	return fr, nil
}

// Services returns the services in the order of Add, with the ports they got.
func (f *Fabric) Services() []Service {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []Service
	for _, fr := range f.fronts {
		all = append(all, fr.svc)
	}
	return all
}

// Kill takes the power of a site: when it returns no address of the site answers
// and every connection from or to it is silent. Call it before the processes of
// the site are killed, so that nobody sees them end. A dead site stays dead.
func (f *Fabric) Kill(site string) error {
	fronts, err := f.change(site, func() { f.dead[site] = struct{}{} })
	if err == nil {
		err = f.settle(fronts)
	}
	if err != nil {
		return fmt.Errorf("kill site %s: %w", site, err)
	}
	f.log.Info("site killed", "site", site)
	return nil
}

// Revive gives the power back: connections of before are reset, as by a host that
// has rebooted and knows nothing of them, and the addresses answer again.
func (f *Fabric) Revive(site string) error {
	var held []*link
	fronts, err := f.change(site, func() {
		if _, ok := f.dead[site]; !ok {
			return
		}
		for l := range f.links {
			if l.flow.from == site || l.flow.to == site {
				l.cancel() // before the gate opens: nothing of the dead era gets through
				held = append(held, l)
			}
		}
		delete(f.dead, site)
	})
	for _, l := range held {
		<-l.done
	}
	if err == nil {
		err = f.settle(fronts)
	}
	if err != nil {
		return fmt.Errorf("revive site %s: %w", site, err)
	}
	f.log.Info("site revived", "site", site, "reset", len(held))
	return nil
}

// change applies a change of life and returns the listeners that it concerns.
func (f *Fabric) change(site string, apply func()) ([]*front, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil, ErrClosed
	}
	var mine []*front
	for _, fr := range f.fronts {
		if fr.svc.Site == site {
			mine = append(mine, fr)
		}
	}
	if len(mine) == 0 && !f.declared(site) {
		return nil, errors.New("no such site")
	}
	apply()
	f.broadcast()
	return mine, nil
}

func (f *Fabric) declared(site string) bool {
	for _, e := range f.sources {
		if e.Site == site {
			return true
		}
	}
	return false
}

// settle makes listeners follow the life of their site and waits until they do.
func (f *Fabric) settle(fronts []*front) error {
	replies := make([]chan error, len(fronts))
	for i, fr := range fronts {
		replies[i] = make(chan error, 1)
		fr.poke(replies[i])
	}
	var errs []error
	for i, fr := range fronts {
		select {
		case err := <-replies[i]:
			errs = append(errs, err)
		case <-fr.ended:
			errs = append(errs, ErrClosed)
		}
	}
	return errors.Join(errs...)
}

// Dead returns the sites without power, sorted.
func (f *Fabric) Dead() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Sorted(maps.Keys(f.dead))
}

// Close resets every connection, frees every address and waits until all is done.
func (f *Fabric) Close() error {
	f.mu.Lock()
	f.closed = true
	fronts := f.fronts
	f.fronts = nil
	f.mu.Unlock()
	var errs []error
	for _, fr := range fronts {
		errs = append(errs, fr.close())
	}
	f.wg.Wait()
	return errors.Join(errs...)
}

func addrPort(a net.Addr) netip.AddrPort {
	var ap netip.AddrPort
	switch a := a.(type) {
	case *net.TCPAddr:
		ap = a.AddrPort()
	case *net.UDPAddr:
		ap = a.AddrPort()
	}
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}
