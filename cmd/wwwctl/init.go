package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/raoull/worldwidewelsh/internal/api"
	"github.com/raoull/worldwidewelsh/internal/config"
	"github.com/raoull/worldwidewelsh/internal/network"
	"github.com/raoull/worldwidewelsh/internal/network/netyaml"
)

// onboard are the flags that init and join share.
type onboard struct {
	file, site, network, mesh, metrics string
}

func (o *onboard) flags(fs *flag.FlagSet) {
	fs.StringVar(&o.file, "config", config.DefaultPath, "local `FILE` of the agent; written if it does not exist")
	fs.StringVar(&o.site, "site", "", "`NAME` of this site")
	fs.StringVar(&o.network, "network", "", "`NAME` of the network, as in network.yaml")
	fs.StringVar(&o.mesh, "mesh", "", "this machine's `ADDRESS` in the mesh")
	fs.StringVar(&o.metrics, "metrics", "", "`ADDRESS` for Prometheus; default: the mesh address")
}

// Waiting for the service and for a leader.
const (
	startWithin  = 20 * time.Second
	leaderWithin = 90 * time.Second
)

func initCommand(a *app, fs *flag.FlagSet) runner {
	o := &onboard{}
	o.flags(fs)
	return func(ctx context.Context, args []string) error {
		if err := need(args, 0, 0, ""); err != nil {
			return err
		}
		return a.initNetwork(ctx, o)
	}
}

func joinCommand(a *app, fs *flag.FlagSet) runner {
	o := &onboard{}
	o.flags(fs)
	token := fs.String("token", "", "join `TOKEN` from wwwctl token create")
	nonvoter := fs.Bool("nonvoter", false, "watch and restore without a vote: for sites on a mobile line")
	return func(ctx context.Context, args []string) error {
		if err := need(args, 1, 1, "the mesh address of an agent"); err != nil {
			return err
		}
		peer, err := netip.ParseAddrPort(args[0])
		if err != nil {
			addr, aerr := netip.ParseAddr(args[0])
			if aerr != nil {
				return usagef("%q is not the mesh address of an agent, such as 10.77.1.1", args[0])
			}
			peer = netip.AddrPortFrom(addr, network.DefaultMeshPort)
		}
		if *token != "" {
			if _, err := api.ParseJoinToken(*token); err != nil {
				return usagef("--token: %v", err)
			}
		}
		return a.joinNetwork(ctx, o, peer.String(), *token, !*nonvoter)
	}
}

// initNetwork begins a network. It may be repeated: it goes on where it stands.
func (a *app) initNetwork(ctx context.Context, o *onboard) error {
	conf, err := a.prepareMachine(ctx, o, "")
	if err != nil || a.g.dryRun {
		return err
	}
	waiting, err := a.awaitAgent(ctx, conf)
	if err != nil {
		return err
	}
	if waiting {
		text, err := request(ctx, a, func(ctx context.Context) (string, error) { return a.client.Verb(ctx, "/v1/onboard/init", nil) })
		if err != nil {
			return err
		}
		a.say("%s", text)
		if err := a.awaitMembership(ctx); err != nil {
			return err
		}
	}
	peers, err := request(ctx, a, a.client.Peers)
	if err != nil {
		return err
	}
	if len(peers.Items) == 0 {
		text, err := request(ctx, a, func(ctx context.Context) (string, error) { return a.client.Verb(ctx, "/v1/cluster/bootstrap", nil) })
		if err != nil {
			return err
		}
		a.say("%s", text)
	} else if !waiting {
		return fail(exitRefused, "WWW-3035", "site", string(conf.Site), "network", conf.Network)
	}
	if err := a.awaitLeader(ctx); err != nil {
		return err
	}
	a.printf("network %s begun at %s\n", conf.Network, conf.Site)
	a.say("next: wwwctl config example > network.yaml, and for each other site: wwwctl token create")
	return nil
}

// joinNetwork has this agent admitted. It may be repeated.
func (a *app) joinNetwork(ctx context.Context, o *onboard, peer, token string, voter bool) error {
	conf, err := a.prepareMachine(ctx, o, peer)
	if err != nil || a.g.dryRun {
		return err
	}
	waiting, err := a.awaitAgent(ctx, conf)
	if err != nil {
		return err
	}
	if waiting {
		if token == "" {
			return usagef("--token is missing: wwwctl token create, where an agent runs")
		}
		text, err := request(ctx, a, func(ctx context.Context) (string, error) {
			return a.client.Verb(ctx, "/v1/onboard/join", map[string]string{"address": peer, "token": token})
		})
		if err != nil {
			return err
		}
		a.say("%s", text)
		if err := a.awaitMembership(ctx); err != nil {
			return err
		}
	} else if h, err := request(ctx, a, a.client.Health); err == nil && h.HasLeader {
		return fail(exitRefused, "WWW-3035", "site", string(conf.Site), "network", conf.Network)
	}
	a.say("%s follows the log%s", conf.Site, map[bool]string{true: " and gets its vote when it has caught up", false: " without a vote"}[voter])
	a.g.timeout = max(a.g.timeout, time.Minute)
	text, err := request(ctx, a, func(ctx context.Context) (string, error) {
		return a.client.Verb(ctx, "/v1/cluster/join", map[string]any{"to": peer, "voter": voter})
	})
	if err != nil {
		return err
	}
	a.say("%s", text)
	if err := a.awaitLeader(ctx); err != nil {
		return err
	}
	a.printf("%s is a member of network %s\n", conf.Site, conf.Network)
	a.say("nothing was touched on Proxmox. Next: wwwctl status; then the tokens of this site's PVE and PBS (wwwctl doctor)")
	return nil
}

// prepareMachine finds or writes wwwd.yaml after everything was looked at.
func (a *app) prepareMachine(ctx context.Context, o *onboard, peer string) (*config.Config, error) {
	conf, text, err := a.localConfig(o)
	if err != nil {
		return nil, err
	}
	if a.g.socket == defaultSocket {
		a.g.socket = conf.Socket
	}
	a.client.Close()
	a.client = api.NewSocketClient(a.g.socket)
	if a.g.dryRun {
		a.client.OnlyLook()
	}
	if err := a.preflight(a.machine(conf.Socket).checks(ctx, conf, peer)); err != nil {
		return nil, err
	}
	switch {
	case text == "":
	case a.g.dryRun:
		a.say("would write %s:\n%s", o.file, text)
	default:
		if err := writeConfig(o.file, text); err != nil {
			return nil, fail(exitFailure, "WWW-3014", "why", err.Error())
		}
		a.say("%s written", o.file)
	}
	return conf, nil
}

// localConfig reads wwwd.yaml, or returns with a text what to write.
func (a *app) localConfig(o *onboard) (*config.Config, string, error) {
	_, err := os.Stat(o.file)
	if err == nil {
		conf, problems := config.Load(o.file)
		if conf == nil {
			fmt.Fprint(a.con.Err, netyaml.Format(problems))
			return nil, "", fail(exitFailure, "WWW-3014", "why", o.file+" has errors: correct them first")
		}
		for what, v := range map[string][2]string{"--site": {o.site, string(conf.Site)}, "--network": {o.network, conf.Network}} {
			if v[0] != "" && v[0] != v[1] {
				return nil, "", usagef("%s %s: %s says %s", what, v[0], o.file, v[1])
			}
		}
		return conf, "", nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, "", fail(exitFailure, "WWW-3014", "why", err.Error())
	}
	for what, v := range map[string]string{"--site": o.site, "--network": o.network, "--mesh": o.mesh} {
		if v == "" {
			return nil, "", usagef("%s is missing: there is no %s yet, and it is about to be written", what, o.file)
		}
	}
	metrics := o.metrics
	if metrics == "" {
		metrics = o.mesh
		if ap, err := netip.ParseAddrPort(o.mesh); err == nil {
			metrics = ap.Addr().String()
		}
	}
	text := fmt.Sprintf("# The local file of this site's agent, wwwd.yaml(5). Every key:\n# /usr/share/doc/www-agent/examples/wwwd.yaml\nnetwork: %s\nsite: %s\nlisten:\n  mesh: %q\n  metrics: %q\n",
		o.network, o.site, o.mesh, metrics)
	conf, problems := config.Parse(o.file, []byte(text))
	if conf == nil {
		fmt.Fprint(a.con.Err, netyaml.Format(problems))
		return nil, "", usagef("what was given makes no configuration")
	}
	return conf, text, nil
}

// writeConfig writes the file whole or not at all. The service's group reads it.
func writeConfig(path, text string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(path+".new", []byte(text), 0o644); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// awaitAgent starts the service if nobody answers, and says whether the agent
// waits to be admitted.
func (a *app) awaitAgent(ctx context.Context, conf *config.Config) (waiting bool, err error) {
	if !socketAnswers(a.g.socket) {
		a.say("starting wwwd")
		out, err := exec.CommandContext(ctx, "systemctl", "enable", "--now", "wwwd.service").CombinedOutput()
		if err != nil {
			a.say("systemctl enable --now wwwd.service: %v %s\nstart wwwd by hand, then repeat this", err, strings.TrimSpace(string(out)))
			return false, fail(exitNoAgent, api.CodeNoAgent, "endpoint", a.g.socket)
		}
	}
	until := time.Now().Add(startWithin)
	for {
		_, err := request(ctx, a, a.client.Health)
		e, ok := errors.AsType[*api.Error](err)
		switch {
		case err == nil:
			return false, nil
		case ok && e.Code == api.CodeWaiting:
			return true, nil
		case time.Now().After(until) || !pauseFor(ctx, 200*time.Millisecond):
			return false, err
		}
	}
}

// awaitMembership waits until the agent, which has its certificate now, serves.
func (a *app) awaitMembership(ctx context.Context) error {
	return a.awaitHealth(ctx, startWithin, func(api.Health) bool { return true })
}

func (a *app) awaitLeader(ctx context.Context) error {
	return a.awaitHealth(ctx, leaderWithin, func(h api.Health) bool { return h.HasLeader })
}

func (a *app) awaitHealth(ctx context.Context, within time.Duration, ok func(api.Health) bool) error {
	until := time.Now().Add(within)
	for {
		h, err := request(ctx, a, a.client.Health)
		if err == nil && ok(h) {
			return nil
		}
		if err == nil {
			err = fail(exitNoLeader, api.CodeNoLeader)
		}
		if time.Now().After(until) || !pauseFor(ctx, 200*time.Millisecond) {
			return err
		}
	}
}

func leaveCommand(a *app, _ *flag.FlagSet) runner {
	return func(ctx context.Context, args []string) error {
		if err := need(args, 0, 0, ""); err != nil {
			return err
		}
		h, err := request(ctx, a, a.client.Health)
		if err != nil {
			return err
		}
		a.say("The agent of %s leaves the group for good: its vote, its certificate and its copy of the authority's key go.\n"+
			"Guests stay where they are; nobody watches this site from here any more.", h.Site)
		if a.g.dryRun {
			return nil
		}
		if err := a.askName(ctx, string(h.Site)); err != nil {
			return err
		}
		a.g.timeout = max(a.g.timeout, time.Minute)
		text, err := request(ctx, a, func(ctx context.Context) (string, error) { return a.client.Verb(ctx, "/v1/cluster/leave", nil) })
		if err != nil {
			return err
		}
		a.printf("%s\n", text)
		return nil
	}
}
