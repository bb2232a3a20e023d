package site

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/raoull/worldwidewelsh/internal/network"
)

// The structure's host of a site hangs on a smart plug, which is a file that says on or
// off. A program switches it, as one for a real plug would; the site's process takes the
// power from the host when it finds it off.
const (
	plugName    = "plug"
	plugProgram = "plug.sh"
	plugState   = "plug.state"
	plugSilent  = plugState + ".silent"
)

const plugScript = `#!/bin/sh
# Usage: plug.sh STATE-FILE status|off; a file STATE-FILE.silent beside it: the plug does not answer
if [ -e "$1.silent" ]; then
  echo "the plug does not answer" >&2
  exit 1
fi
case "$2" in
status) cat "$1" ;;
off) echo off >"$1" ;;
*) echo "want status or off, not $2" >&2; exit 2 ;;
esac
`

func writePlug(dir, name string) error {
	program := secretFile(dir, name, plugProgram)
	return errors.Join(
		os.WriteFile(program, []byte(plugScript), 0o700),
		os.WriteFile(secretFile(dir, name, plugState), []byte("on\n"), 0o600),
	)
}

// PlugOn reads the plug of a site's structure's host.
func PlugOn(dir, name string) (bool, error) {
	b, err := os.ReadFile(secretFile(dir, name, plugState))
	return strings.TrimSpace(string(b)) == "on", err
}

// PullPlug switches the plug of a site's structure's host off, as a person does who goes there.
func PullPlug(dir, name string) error {
	return os.WriteFile(secretFile(dir, name, plugState), []byte("off\n"), 0o600)
}

// SilencePlug has the plug answer nobody; HearPlug has it answer again.
func SilencePlug(dir, name string) error {
	return os.WriteFile(secretFile(dir, name, plugSilent), nil, 0o600)
}

// HearPlug has the plug answer again.
func HearPlug(dir, name string) error {
	if err := os.Remove(secretFile(dir, name, plugSilent)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("hear plug: %w", err)
	}
	return nil
}

// followPlug takes the power from the structure's host when its plug is off.
func (p *process) followPlug(now time.Time) {
	if on, err := PlugOn(p.dir, p.name); on || err != nil {
		return
	}
	for _, m := range p.machines {
		if m.Owner == network.OwnerStructure && !m.power.isOff() {
			p.log.Warn("the plug is off", "host", m.Name)
			m.crash(now)
		}
	}
}

// plugIn switches the plug on: the host starts, unless it is broken. One behind a port gets that back.
func (p *process) plugIn() error {
	if p.lab.Fence(p.index) == portName {
		return p.enablePort()
	}
	if err := os.WriteFile(secretFile(p.dir, p.name, plugState), []byte("on\n"), 0o600); err != nil {
		return fmt.Errorf("plug in: %w", err)
	}
	p.powerOn(time.Now())
	return nil
}

// crashHost takes the power from one machine, whose plug stays on: it is broken.
func (p *process) crashHost(name string) error {
	m, err := p.machine(name)
	if err != nil {
		return err
	}
	p.mu.Lock()
	m.broken = true
	p.mu.Unlock()
	m.crash(time.Now())
	return nil
}

// repairHost mends a host that was broken. It has power then, unless its plug is off.
func (p *process) repairHost(name string) error {
	m, err := p.machine(name)
	if err != nil {
		return err
	}
	p.mu.Lock()
	m.broken = false
	p.mu.Unlock()
	p.powerOn(time.Now())
	return nil
}

// stopStore ends the PBS of the site, whose machine goes on: it answers nobody, and what it was
// doing has ended.
func (p *process) stopStore() error { return p.haltStore(true) }

// startStore starts the PBS again that stopStore has ended, unless its machine has no power.
func (p *process) startStore() error { return p.haltStore(false) }

func (p *process) haltStore(halted bool) error {
	for _, m := range p.machines {
		if m.pbs == nil {
			continue
		}
		p.mu.Lock()
		m.halted = halted
		p.mu.Unlock()
		if halted {
			m.store.cut()
			m.pbs.PowerLoss(time.Now())
			return nil
		}
		if !m.power.isOff() {
			m.pbs.PowerOn(time.Now())
		}
		m.store.on()
		return nil
	}
	return fmt.Errorf("no PBS at %s", p.name)
}

func (p *process) machine(name string) (*machine, error) {
	for _, m := range p.machines {
		if m.Name == name {
			return m, nil
		}
	}
	return nil, fmt.Errorf("no host %q at %s", name, p.name)
}
