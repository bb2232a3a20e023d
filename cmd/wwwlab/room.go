package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"github.com/raoull/worldwidewelsh/internal/api"
	"github.com/raoull/worldwidewelsh/internal/lab/fabric"
	"github.com/raoull/worldwidewelsh/internal/lab/site"
)

// binaries are the programs that a network is made of.
type binaries struct{ lab, wwwd, wwwctl string }

// room holds a running network: the addresses, the lines between the sites and the
// processes. Whoever has it is the only one that may pull plugs.
type room struct {
	dir      string
	lab      *site.Lab
	bins     binaries
	log      *slog.Logger
	say      func(format string, args ...any) // progress for a person
	guard    net.Listener
	fabric   *fabric.Fabric
	children *fabric.Children
	watched  chan struct{} // closed when nobody reads the children's ends any more
	mute     string        // a site with power whose agent is gone with its machine; "": none
}

// roomConfig says which network to build.
type roomConfig struct {
	dir   string
	sites int
	plays releases
	dns   string // who serves the zone: embedded (also for "") or one of nameserver.Kinds
	bins  binaries
	shape func(*site.Lab) error // changes the layout; nil: as it is
	say   func(format string, args ...any)
}

const (
	agentGrace = 3 * time.Second // from SIGTERM to SIGKILL
	startLimit = 30 * time.Second
	pollEvery  = 100 * time.Millisecond
)

// newRoom lays the network out in an empty directory: addresses, files, forwarders.
// No process runs yet. The room must be closed.
func newRoom(ctx context.Context, c roomConfig) (*room, error) {
	plan, guard, err := fabric.FreeBlock(site.GuardPort)
	if err != nil {
		return nil, err
	}
	r := &room{dir: c.dir, bins: c.bins, say: c.say, guard: guard, watched: make(chan struct{})}
	if err := r.lay(ctx, c, plan); err != nil {
		close(r.watched)
		return nil, errors.Join(err, r.close())
	}
	return r, nil
}

func (r *room) lay(ctx context.Context, c roomConfig, plan fabric.Plan) error {
	var err error
	if r.lab, err = site.Layout(c.sites, plan.Block); err != nil {
		return err
	}
	if c.shape != nil {
		if err := c.shape(r.lab); err != nil {
			return err
		}
	}
	r.lab.PVE, r.lab.PBS = c.plays.pve, c.plays.pbs
	r.lab.DNSServer = c.dns
	if err := plan.CheckPorts(ctx, site.Ports()...); err != nil {
		return err
	}
	if err := r.lab.WriteFiles(r.dir, time.Now()); err != nil {
		return err
	}
	out, err := os.OpenFile(filepath.Join(r.dir, "wwwlab.log"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	r.log = slog.New(slog.NewTextHandler(out, nil))
	r.children = fabric.NewChildren(fabric.ChildrenConfig{Logger: r.log, Grace: agentGrace})
	go r.watch()
	r.fabric = fabric.New(fabric.Config{Sources: r.lab.Plan().Sources(r.lab.Names()), Logger: r.log})
	for _, s := range r.lab.Services() {
		if err := r.fabric.Add(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// watch tells of processes that end although nobody asked them to.
func (r *room) watch() {
	defer close(r.watched)
	for e := range r.children.Exited() {
		if !e.Asked {
			r.say("%s has ended by itself: %v (wwwlab logs tells more)", e.Name, e.Err)
		}
	}
}

// close ends every process and gives every address back. The directory stays.
func (r *room) close() error {
	var errs []error
	if r.children != nil {
		errs = append(errs, r.children.Close())
	} else {
		select {
		case <-r.watched:
		default:
			close(r.watched)
		}
	}
	<-r.watched
	if r.fabric != nil {
		errs = append(errs, r.fabric.Close())
	}
	return errors.Join(append(errs, r.guard.Close())...)
}

// Names of a site's two processes.
func hostsOf(site string) string { return "site/" + site }
func agentOf(site string) string { return "wwwd/" + site }

func (r *room) startHosts(ctx context.Context, name string) error {
	cmd := exec.Command(r.bins.lab, "site", "--dir", r.dir, "--site", name)
	if err := r.children.Start(hostsOf(name), cmd, site.HostsLog(r.dir, name)); err != nil {
		return err
	}
	client := site.NewClient(r.dir, name)
	return r.await(ctx, name, hostsOf(name), site.HostsLog(r.dir, name), func(ctx context.Context) error {
		_, err := client.Status(ctx)
		return err
	})
}

// launchAgent starts a site's agent, and does not wait until it answers.
func (r *room) launchAgent(name string) error {
	cmd := exec.Command(r.bins.wwwd, "--config", site.AgentFile(r.dir, name))
	return r.children.Start(agentOf(name), cmd, site.AgentLog(r.dir, name))
}

func (r *room) startAgent(ctx context.Context, name string) error {
	if err := r.launchAgent(name); err != nil {
		return err
	}
	client := r.agent(name)
	defer client.Close()
	return r.await(ctx, name, agentOf(name), site.AgentLog(r.dir, name), func(ctx context.Context) error {
		_, err := client.Health(ctx)
		return err
	})
}

// agent returns a client of a site's agent over its local socket. Close it.
func (r *room) agent(name string) *api.Client {
	return api.NewSocketClient(site.AgentSocket(r.dir, name))
}

// await waits until a process that was just started answers.
func (r *room) await(ctx context.Context, name, child, log string, ask func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	for {
		attempt, end := context.WithTimeout(ctx, 2*time.Second)
		err := ask(attempt)
		end()
		switch {
		case err == nil:
			return nil
		case !r.children.Alive(child):
			return fmt.Errorf("start %s: it ended at once; its last words:\n%s", child, tail(log, 5))
		case ctx.Err() != nil:
			return fmt.Errorf("start %s: no answer: %w; its last words:\n%s", child, err, tail(log, 5))
		}
		if err := site.Sleep(ctx, pollEvery); err != nil && ctx.Err() != nil {
			return fmt.Errorf("start %s at %s: %w; its last words:\n%s", child, name, err, tail(log, 5))
		}
	}
}

// known says whether the lab has a site, with a hint when not.
func (r *room) known(name string) error {
	_, err := r.lab.Index(name)
	return err
}

// kill takes the power of a site. The lines go first, so that nobody sees a process
// end: to the others it is silence.
func (r *room) kill(name string) error {
	if err := r.known(name); err != nil {
		return err
	}
	errs := []error{r.fabric.Kill(name)}
	for _, child := range []string{agentOf(name), hostsOf(name)} {
		if err := r.children.Kill(child); err != nil && !errors.Is(err, fabric.ErrNotRunning) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// revive gives the power back; the machines boot.
func (r *room) revive(ctx context.Context, name string) error {
	if err := r.known(name); err != nil {
		return err
	}
	if !slices.Contains(r.fabric.Dead(), name) {
		return fmt.Errorf("%s has power", name)
	}
	if err := r.fabric.Revive(name); err != nil {
		return err
	}
	if err := r.startHosts(ctx, name); err != nil {
		return err
	}
	return r.startAgent(ctx, name)
}

// restart stops a site's agent, leaves the others the time to miss it, and starts it
// again.
func (r *room) restart(ctx context.Context, name string, pause time.Duration) error {
	if err := r.known(name); err != nil {
		return err
	}
	if slices.Contains(r.fabric.Dead(), name) {
		return fmt.Errorf("%s has no power: revive it", name)
	}
	if err := r.children.Stop(agentOf(name), agentGrace); err != nil && !errors.Is(err, fabric.ErrNotRunning) {
		return err
	}
	if err := site.Sleep(ctx, pause); err != nil {
		return err
	}
	return r.startAgent(ctx, name)
}

// cutRequest names the lines of a site that are to be cut.
type cutRequest struct {
	Site   string `json:"site"`
	Path   string `json:"path"` // mesh, public, both
	OneWay bool   `json:"one_way"`
}

func (r *room) cut(c cutRequest) error {
	paths := map[string]fabric.Path{"mesh": fabric.Mesh, "public": fabric.Public, "both": fabric.AnyPath}
	path, ok := paths[c.Path]
	if !ok {
		return fmt.Errorf("path %q: want mesh, public or both", c.Path)
	}
	if err := r.known(c.Site); err != nil {
		return err
	}
	r.fabric.Cut(c.Site, fabric.Any, path)
	if !c.OneWay {
		r.fabric.Cut(fabric.Any, c.Site, path)
	}
	return nil
}

func (r *room) heal(name string) error {
	if err := r.known(name); err != nil {
		return err
	}
	r.fabric.Heal(name, fabric.Any, fabric.AnyPath)
	r.fabric.Heal(fabric.Any, name, fabric.AnyPath)
	return nil
}

// roomView is what the supervisor tells of the network.
type roomView struct {
	Dir    string       `json:"dir"`
	PID    int          `json:"pid"`
	Block  string       `json:"block"`
	Sites  []siteView   `json:"sites"`
	Cuts   []fabric.Cut `json:"cuts"`
	Leader string       `json:"leader,omitempty"`
}

type siteView struct {
	Site  string     `json:"site"`
	Kind  string     `json:"kind"`
	Power bool       `json:"power"`
	Agent int        `json:"agent,omitempty"` // process id, 0: does not run
	Hosts int        `json:"hosts,omitempty"`
	Mesh  netip.Addr `json:"mesh"`
}

func (r *room) view(ctx context.Context) roomView {
	v := roomView{Dir: r.dir, PID: os.Getpid(), Block: fmt.Sprintf("127.%d.0.0/16", r.lab.Block), Cuts: r.fabric.Cuts()}
	dead := r.fabric.Dead()
	for i, s := range r.lab.Sites {
		sv := siteView{Site: s.Name, Kind: string(s.Kind), Power: !slices.Contains(dead, s.Name), Mesh: r.lab.Plan().Mesh(i)}
		for child, into := range map[string]*int{agentOf(s.Name): &sv.Agent, hostsOf(s.Name): &sv.Hosts} {
			if pid, err := r.children.PID(child); err == nil {
				*into = pid
			}
		}
		v.Sites = append(v.Sites, sv)
	}
	if st, err := r.anyStatus(ctx); err == nil && st.Local.HasLeader {
		v.Leader = string(st.Leader)
	}
	return v
}

// living returns the sites that have power, and a machine for their agent.
func (r *room) living() []string {
	dead := append(r.fabric.Dead(), r.mute)
	return slices.DeleteFunc(r.lab.Names(), func(s string) bool { return slices.Contains(dead, s) })
}
