package main

import (
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/raoull/worldwidewelsh/internal/agent"
	"github.com/raoull/worldwidewelsh/internal/config"
	"github.com/raoull/worldwidewelsh/internal/mesh"
	"github.com/raoull/worldwidewelsh/probes"
)

// fences opens the ways to put a structure's dead PVE off. One that cannot be opened
// tells why when it is needed: until then nobody is kept from voting.
func (d *daemon) fences() map[string]agent.Fence {
	out := map[string]agent.Fence{}
	for _, name := range slices.Sorted(maps.Keys(d.conf.Fences)) {
		f := d.conf.Fences[name]
		if len(f.Command) > 0 {
			out[name] = agent.ExecFence{Command: f.Command}
			continue
		}
		if len(f.Quiet.Addresses) > 0 {
			out[name] = quietFence{probes.NewQuiet(f.Quiet.Addresses, f.Quiet.Witnesses)}
			continue
		}
		out[name] = portFence{d: d, conf: f}
	}
	return out
}

// programs are what operations call here.
func (d *daemon) programs() map[string]agent.Program {
	out := map[string]agent.Program{}
	for name, p := range d.conf.Programs {
		out[name] = agent.ExecProgram{Command: p.Command}
	}
	return out
}

// quietFence looks whether anybody answers at a host's addresses; it implements agent.Watch.
type quietFence struct{ quiet probes.Quiet }

// Off implements agent.Fence.
func (f quietFence) Off(ctx context.Context) (bool, string, error) { return f.quiet.Look(ctx) }

// PutOff implements agent.Fence.
func (f quietFence) PutOff(context.Context) error { return errors.New(f.OnlyLooks()) }

// OnlyLooks implements agent.Watch.
func (quietFence) OnlyLooks() string { return "this fence only looks, and cannot put it off" }

// portFence opens the router anew for each call: they are rare, and its password may
// have been changed since the agent began.
type portFence struct {
	d    *daemon
	conf config.Fence
}

func (f portFence) open() (mesh.Port, error) {
	r, err := f.d.routerOf(f.conf.Router)
	return mesh.Port{Router: r, Name: f.conf.Port}, err
}

// Off implements agent.Fence.
func (f portFence) Off(ctx context.Context) (bool, string, error) {
	p, err := f.open()
	if err != nil {
		return false, "", err
	}
	defer p.Router.Close()
	return p.Off(ctx)
}

// PutOff implements agent.Fence.
func (f portFence) PutOff(ctx context.Context) error {
	p, err := f.open()
	if err != nil {
		return err
	}
	defer p.Router.Close()
	return p.PutOff(ctx)
}
