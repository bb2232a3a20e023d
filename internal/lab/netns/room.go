package netns

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/raoull/worldwidewelsh/internal/api"
	"github.com/raoull/worldwidewelsh/internal/lab/fabric"
	"github.com/raoull/worldwidewelsh/internal/lab/site"
	"github.com/raoull/worldwidewelsh/internal/network"
	"github.com/raoull/worldwidewelsh/internal/network/netyaml"
)

const (
	startLimit = 30 * time.Second
	pollEvery  = 100 * time.Millisecond
	askLimit   = 2 * time.Second
	agentGrace = 3 * time.Second // from SIGTERM to SIGKILL
)

// Config says which network to run.
type Config struct {
	Dir    string // empty, short enough for unix sockets
	Lab    *site.Lab
	Serial int            // tells the networks of one process apart
	Policy network.Policy // of the declared network
	WWWD   string         // the programs
	WWWLab string
	WWWCtl string
	Logger *slog.Logger // nil discards
	// Prepare is called when the files are there and nothing runs yet; nil: not.
	Prepare func(ctx context.Context) error
}

// Room is a network of namespaces with the processes of its sites.
type Room struct {
	World    *World
	dir      string
	lab      *site.Lab
	config   Config
	children *fabric.Children
}

// Open lays a network out and starts everything: WireGuard, hosts and agents; one agent
// begins the group and the others join. It returns when the network is declared. The
// room must be closed.
func Open(ctx context.Context, c Config) (*Room, error) {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	w, err := NewWorld(ctx, c.Lab, c.Serial)
	if err != nil {
		return nil, err
	}
	r := &Room{
		World: w, dir: c.Dir, lab: c.Lab, config: c,
		children: fabric.NewChildren(fabric.ChildrenConfig{Logger: c.Logger, Grace: agentGrace}),
	}
	for _, step := range []func(context.Context) error{r.writeFiles, r.startMesh, r.startSites, r.assemble} {
		if err := step(ctx); err != nil {
			return nil, errors.Join(err, r.Close(context.WithoutCancel(ctx)))
		}
	}
	return r, nil
}

// Close ends every process and removes the namespaces. The directory stays.
func (r *Room) Close(ctx context.Context) error {
	err := r.children.Close()
	for i := range r.lab.Sites {
		// Of one that was killed the socket stays.
		_ = os.Remove(filepath.Join(controlDir, r.World.wireguard(i)+".sock"))
	}
	return errors.Join(err, r.World.Close(ctx))
}

// writeFiles fills the directory; the network is declared with the room's own policy.
func (r *Room) writeFiles(ctx context.Context) error {
	if err := r.lab.WriteFiles(r.dir, time.Now()); err != nil {
		return err
	}
	spec := r.lab.Spec()
	spec.Policy = r.config.Policy
	text, err := netyaml.Marshal(spec)
	if err != nil {
		return err
	}
	if err := os.WriteFile(site.NetworkFile(r.dir), text, 0o600); err != nil || r.config.Prepare == nil {
		return err
	}
	return r.config.Prepare(ctx)
}

func (r *Room) startSites(ctx context.Context) error {
	for _, start := range []func(context.Context, string) error{r.StartHosts, r.StartAgent} {
		g, ctx := errgroup.WithContext(ctx)
		for _, name := range r.lab.Names() {
			g.Go(func() error { return start(ctx, name) })
		}
		if err := g.Wait(); err != nil {
			return err
		}
	}
	return nil
}

// Names of a site's processes.
func hostsOf(site string) string { return "site/" + site }
func agentOf(site string) string { return "wwwd/" + site }

// StartHosts starts the process that plays a site's hosts and waits until it answers. It
// finds its disks as they were when it ended.
func (r *Room) StartHosts(ctx context.Context, name string) error {
	cmd := exec.Command("ip", "netns", "exec", r.World.site(name), r.config.WWWLab, "site", "--dir", r.dir, "--site", name)
	if err := r.children.Start(hostsOf(name), cmd, site.HostsLog(r.dir, name)); err != nil {
		return err
	}
	client := r.Hosts(name)
	return r.await(ctx, hostsOf(name), func(ctx context.Context) error {
		_, err := client.Status(ctx)
		return err
	})
}

// Hosts returns a client of the process that plays a site's hosts.
func (r *Room) Hosts(name string) *site.Client { return site.NewClient(r.dir, name) }

// KillHosts ends the process that plays a site's hosts, as a power cut ends them all.
func (r *Room) KillHosts(name string) error { return r.children.Kill(hostsOf(name)) }

// LaunchAgent starts a site's agent, as a service manager does.
func (r *Room) LaunchAgent(name string) error {
	cmd := exec.Command("ip", "netns", "exec", r.World.site(name), r.config.WWWD, "--config", site.AgentFile(r.dir, name))
	return r.children.Start(agentOf(name), cmd, site.AgentLog(r.dir, name))
}

// StartAgent starts a site's agent and waits until it answers.
func (r *Room) StartAgent(ctx context.Context, name string) error {
	if err := r.LaunchAgent(name); err != nil {
		return err
	}
	client := api.NewSocketClient(site.AgentSocket(r.dir, name))
	defer client.Close()
	return r.await(ctx, agentOf(name), func(ctx context.Context) error {
		_, err := client.Health(ctx)
		return err
	})
}

// AgentAlive says whether a site's agent runs, be it frozen.
func (r *Room) AgentAlive(name string) bool { return r.children.Alive(agentOf(name)) }

// HostsAlive says whether the process of a site's hosts runs.
func (r *Room) HostsAlive(name string) bool { return r.children.Alive(hostsOf(name)) }

// KillAgent ends a site's agent as a crash does.
func (r *Room) KillAgent(name string) error { return r.children.Kill(agentOf(name)) }

// FreezeAgent stops a site's agent in the middle of whatever it does; its sockets stay
// open and take connections.
func (r *Room) FreezeAgent(name string) error {
	return r.children.Signal(agentOf(name), syscall.SIGSTOP)
}

// ThawAgent lets a frozen agent go on.
func (r *Room) ThawAgent(name string) error { return r.children.Signal(agentOf(name), syscall.SIGCONT) }

// JumpClock moves the wall clock of a site's agent, and of nothing else; see the
// function of that name.
func (r *Room) JumpClock(name string, by time.Duration) error {
	pid, err := r.children.PID(agentOf(name))
	if err != nil {
		return err
	}
	return JumpClock(pid, by)
}

// assemble makes one group of the agents, all of them voters, and declares the network.
func (r *Room) assemble(ctx context.Context) error {
	names := r.lab.Names()
	if _, err := r.output(ctx, r.config.WWWD, "bootstrap", "--config", site.AgentFile(r.dir, names[0])); err != nil {
		return err
	}
	to := fmt.Sprintf("%s:%d", r.lab.Plan().Mesh(0), r.lab.Ports().Mesh)
	for _, name := range names[1:] {
		if _, err := r.output(ctx, r.config.WWWD, "join", "--config", site.AgentFile(r.dir, name), "--to", to); err != nil {
			return err
		}
	}
	_, err := r.Ctl(ctx, names[0], "config", "apply", "--yes", site.NetworkFile(r.dir))
	return err
}

// Ctl runs wwwctl at a site and returns what it prints.
func (r *Room) Ctl(ctx context.Context, at string, args ...string) ([]byte, error) {
	return r.output(ctx, r.config.WWWCtl, append([]string{"--socket", site.AgentSocket(r.dir, at), "--color", "never"}, args...)...)
}

func (r *Room) output(ctx context.Context, program string, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*startLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	var complaint strings.Builder
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		return out, fmt.Errorf("%s %s: %w: %s", filepath.Base(program), strings.Join(args, " "), err, strings.TrimSpace(complaint.String()))
	}
	return out, nil
}

// await waits until a process that was just started answers.
func (r *Room) await(ctx context.Context, child string, ask func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	for {
		attempt, end := context.WithTimeout(ctx, askLimit)
		err := ask(attempt)
		end()
		if err == nil {
			return nil
		}
		if !r.children.Alive(child) {
			return fmt.Errorf("start %s: it ended at once; its log is in %s", child, r.dir)
		}
		if pause := site.Sleep(ctx, pollEvery); pause != nil {
			return fmt.Errorf("start %s: no answer: %w; its log is in %s", child, err, r.dir)
		}
	}
}
