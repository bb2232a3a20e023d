package site

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/raoull/worldwidewelsh/internal/lab"
	"github.com/raoull/worldwidewelsh/internal/lab/routeros"
)

// tick is how often the fakes move and the guests' listeners follow them.
const tick = 100 * time.Millisecond

// stopGrace is what a server leaves its running answers when the process ends.
const stopGrace = 500 * time.Millisecond

// Config holds what a site's process needs.
type Config struct {
	Dir    string // of the lab, with lab.json
	Site   string
	Logger *slog.Logger // nil discards
}

// process is one running site.
type process struct {
	dir, name string
	lab       *Lab
	index     int
	log       *slog.Logger
	machines  []*machine
	jobs      []lab.SyncJob             // of the site's PBS
	sources   map[string]lab.SyncSource // by site: the remotes of the jobs
	faults    *lab.Faults
	restores  *witnessed
	effects   *effects
	orders    chan order
	router    *routeros.Router // nil in a routed lab, which has real ones

	wg   sync.WaitGroup
	errs chan error // of servers that ended by themselves

	mu      sync.Mutex                      // never held over a wait or a socket call
	serving map[netip.AddrPort]*guestServer // written by the ticker only
	names   map[string]netip.AddrPort       // public name → guest
}

// Run plays one site until ctx ends, and saves its disks then. The error tells why it
// could not begin, or what failed.
func Run(ctx context.Context, c Config) error {
	l, err := Load(c.Dir)
	if err != nil {
		return err
	}
	index, err := l.Index(c.Site)
	if err != nil {
		return err
	}
	log := c.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	p := &process{
		dir: c.Dir, name: c.Site, lab: l, index: index, log: log.With("site", c.Site),
		faults: &lab.Faults{}, restores: &witnessed{}, effects: &effects{path: EffectsLog(c.Dir, c.Site)}, orders: make(chan order), errs: make(chan error, 16),
		serving: map[netip.AddrPort]*guestServer{}, names: map[string]netip.AddrPort{},
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	err = p.begin(ctx)
	if err == nil {
		p.log.Info("site is up", "hosts", len(p.machines))
		select {
		case <-ctx.Done():
		case err = <-p.errs:
		}
	}
	cancel()
	p.wg.Wait()
	if err != nil {
		err = fmt.Errorf("run site %s: %w", c.Site, err)
	}
	return errors.Join(err, p.flush())
}

// begin opens everything; what it started ends with ctx. The control socket comes
// last: whoever is answered there knows that the site is up.
func (p *process) begin(ctx context.Context) error {
	for _, step := range []func(context.Context) error{
		p.openHosts, p.serveHosts, p.serveRouter, p.serveREST, p.serveEntry, p.serveHelper, p.serveControl,
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	p.wg.Go(func() { p.advance(ctx) })
	p.wg.Go(func() { p.keepCopies(ctx) })
	return nil
}

// advance moves the hosts and lets the guests' listeners follow.
func (p *process) advance(ctx context.Context) {
	t := time.NewTicker(tick)
	defer t.Stop()
	defer p.stopGuests()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-t.C:
			for _, m := range p.machines {
				if m.pve != nil {
					m.pve.Advance(now)
				}
			}
			p.followPlug(now)
			p.followPort()
			p.reconcile(ctx)
		}
	}
}

func (p *process) flush() error {
	var errs []error
	for _, m := range p.machines {
		if m.pve != nil {
			errs = append(errs, m.pve.Flush())
		}
		if m.pbs != nil {
			errs = append(errs, m.pbs.Flush())
		}
	}
	return errors.Join(errs...)
}

func (p *process) listen(ctx context.Context, at netip.AddrPort) (net.Listener, error) {
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp4", at.String())
	if err != nil {
		return nil, fmt.Errorf("listen for site %s: %w", p.name, err)
	}
	return ln, nil
}

// serve answers on ln until ctx ends.
func (p *process) serve(ctx context.Context, ln net.Listener, h http.Handler) {
	srv := &http.Server{
		Handler: h, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute,
		BaseContext: func(net.Listener) context.Context { return ctx },
		ErrorLog:    slog.NewLogLogger(p.errorLog().Handler(), slog.LevelDebug),
	}
	p.wg.Go(func() {
		if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) && ctx.Err() == nil {
			p.errs <- err
		}
	})
	p.wg.Go(func() {
		<-ctx.Done()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopGrace)
		defer cancel()
		if srv.Shutdown(ctx) != nil {
			_ = srv.Close() // whoever still waits meets the end of the process
		}
	})
}
