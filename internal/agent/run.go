package agent

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/network"
	"github.com/raoull/worldwidewelsh/internal/proxmox"
)

// Where a start stands.
const (
	startLook    = ""
	startBeside  = "beside"
	startTasks   = "tasks"
	startSeen    = "seen"
	startConfirm = "confirm"
	startPost    = "post"
	startPoll    = "poll"
	startWatch   = "watch"
)

// confirmAge is how old the leader's word may be when an irreversible call is
// made (design section 5).
const confirmAge = 2 * time.Second

// start starts the owned copy. The guest is looked at first: whoever started
// it, a running copy of ours on the right VLAN is the aim.
func (j *job) start(ctx context.Context) (time.Time, *outcome) {
	m := &j.w.mem
	switch m.phase {
	case startLook:
		return j.startLook(ctx)
	case startBeside:
		return j.startBeside(ctx)
	case startSeen:
		return j.startSeen(ctx)
	case startTasks:
		return j.startTasks(ctx)
	case startConfirm:
		return j.confirm(ctx, startPost)
	case startPost:
		if !j.worded(startConfirm) {
			return j.now, nil
		}
		j.call("post start")
		j.w.fresh = false
		upid, err := j.pve().Start(ctx, j.kind(), j.run.VMID)
		switch proxmox.KindOf(err) {
		case "":
			m.upid, m.phase = upid, startPoll
			return j.soon(), nil
		case proxmox.OutcomeUnknown, proxmox.Running, proxmox.Busy:
			m.phase = startWatch
			return j.soon(), nil
		}
		return j.trouble(err)
	case startPoll:
		j.call("poll start")
		t, err := j.pve().Task(ctx, m.upid)
		switch {
		case err != nil || t.Running:
			return j.soon(), nil
		case t.OK():
			m.phase = startWatch
			return j.now, nil
		}
		// "already running" ends the task with an error and is what we want.
		m.failing = &outcome{failure: failureOf(t.Err(nil)), note: clip(t.Exit)}
		m.phase = startWatch
		return j.now, nil
	}
	return j.startWatch(ctx)
}

// startLook reads the copy back before it is let loose: ours, and on no
// foreign VLAN (S11), whatever happened since the restore.
func (j *job) startLook(ctx context.Context) (time.Time, *outcome) {
	j.call("read guest before start")
	c, err := j.pve().GuestConfig(ctx, j.kind(), j.run.VMID)
	switch {
	case proxmox.KindOf(err) == proxmox.NotFound:
		if j.run.Assignment.Keep.Stays() {
			return j.fatally("guest %d is gone", j.run.VMID)
		}
		return j.now, &outcome{failure: failover.FailGone, note: fmt.Sprintf("guest %d is gone before it ever started; wwwctl op retry %s restores it again", j.run.VMID, j.op.ID)}
	case err != nil:
		return j.trouble(err)
	case j.run.Assignment.Keep == failover.KeepHome: // it is its people's, with the network that they gave it
		j.w.mem.phase = startBeside
		return j.now, nil
	case !j.ours(c) && !j.run.Assignment.Keep.Stays(): // the operation that its marker names made it
		return j.now, &outcome{failure: failover.FailFatal, note: fmt.Sprintf("guest %d does not carry our marker", j.run.VMID)}
	}
	if net := j.foreignNet(c); net != "" {
		return j.now, &outcome{failure: failover.FailFatal, note: net + " is not on the structure's VLAN"}
	}
	if o := j.deadAnswers(ctx); o != nil {
		// Somebody gave it its power back: two copies would have one address.
		o.note += fmt.Sprintf("; its copy of the guest may serve again: wwwctl failback run %s --keep home", j.run.Assignment.Guest)
		return j.now, o
	}
	j.w.mem.phase = startBeside
	return j.now, nil
}

// startBeside makes sure that no other copy of the guest runs on this host,
// under another id of the range: one that a person has started has the same
// address on the same VLAN, and what users write goes to either. Which of them
// shall live only a person can say (S10).
func (j *job) startBeside(ctx context.Context) (time.Time, *outcome) {
	m := &j.w.mem
	if m.beside == nil {
		j.call("list guests before start")
		guests, err := j.pve().Guests(ctx, j.kind())
		if err != nil {
			return j.trouble(err)
		}
		m.beside = []int{}
		for _, g := range guests {
			if g.ID != j.run.VMID && g.Status == "running" && j.receives(g.ID) {
				m.beside = append(m.beside, g.ID)
			}
		}
		return j.now, nil
	}
	if len(m.beside) == 0 {
		m.phase = startConfirm
		if !j.w.fresh || j.step.Attempt > 1 || j.run.Assignment.Keep.Stays() { // it may run
			m.phase = startTasks
		}
		return j.now, nil
	}
	id := m.beside[0]
	j.call("read guest beside")
	c, err := j.pve().GuestConfig(ctx, j.kind(), id)
	switch mark, ok := c.Marker(); {
	case err != nil && proxmox.KindOf(err) != proxmox.NotFound:
		return j.trouble(err)
	case ok && mark.Network == j.s.Network.Network && mark.Guest == string(j.run.Assignment.Guest):
		tool := j.tool()
		return j.now, &outcome{failure: failover.FailFatal, note: clip(fmt.Sprintf(
			"another copy of %s, %d, runs on %s, started by a person: both would have one address; decide which shall live; for this one: %s stop %d there, then wwwctl op retry %s",
			j.run.Assignment.Guest, id, j.run.Assignment.Host, tool, id, j.op.ID))}
	}
	m.beside = m.beside[1:]
	return j.now, nil
}

// tool is the command of a host's console for a guest of this kind.
func (j *job) tool() string {
	if j.kind() == proxmox.CT {
		return "pct"
	}
	return "qm"
}

// startTasks looks for a start that is on its way, sent by an attempt of which
// nothing is known. The tasks come before the status: a start that ends between
// the two looks then shows in the second.
func (j *job) startTasks(ctx context.Context) (time.Time, *outcome) {
	m, kind := &j.w.mem, "qmstart"
	if j.kind() == proxmox.CT {
		kind = "vzstart"
	}
	found, ok, err := j.ownTask(ctx, "look at tasks before start", kind)
	if err != nil {
		return j.trouble(err)
	}
	m.phase = startSeen
	if ok && found.Running {
		m.upid, m.phase = found.UPID, startPoll
		return j.soon(), nil
	}
	return j.now, nil
}

// startSeen asks whether such an attempt has started the copy already.
func (j *job) startSeen(ctx context.Context) (time.Time, *outcome) {
	j.call("look at status before start")
	st, err := j.pve().GuestStatus(ctx, j.kind(), j.run.VMID)
	switch {
	case err != nil:
		return j.trouble(err)
	case st.Running():
		return j.now, &outcome{}
	}
	j.w.mem.phase = startConfirm
	return j.now, nil
}

// confirm asks the leader whether our token still counts.
func (j *job) confirm(ctx context.Context, next string) (time.Time, *outcome) {
	j.call("confirm")
	ctx, cancel := context.WithTimeout(ctx, proposeTimeout)
	defer cancel()
	if err := j.w.e.Log.Confirm(ctx, j.w.token); err != nil {
		j.w.e.Logger.Info("leader does not confirm", "guest", j.run.Assignment.Guest, "step", j.step.ID, "err", err)
		return j.now.Add(time.Second), nil
	}
	j.w.mem.confirmed, j.w.mem.phase = j.now, next
	return j.now, nil
}

// worded says whether the leader's word is new enough, and asks for it again if not.
func (j *job) worded(ask string) bool {
	if j.now.Sub(j.w.mem.confirmed) <= confirmAge {
		return true
	}
	j.w.mem.phase = ask
	return false
}

func (j *job) startWatch(ctx context.Context) (time.Time, *outcome) {
	m := &j.w.mem
	j.call("look at status")
	st, err := j.pve().GuestStatus(ctx, j.kind(), j.run.VMID)
	switch {
	case err != nil:
		return j.trouble(err)
	case st.Running():
		return j.now, &outcome{}
	case m.failing != nil:
		return j.now, m.failing
	case j.at.Sub(m.since) > time.Minute:
		return j.now, &outcome{failure: failover.FailTransient, note: "not running a minute after its start"}
	}
	return j.soon(), nil
}

// check proves from inside that the guest serves: process, address, service.
func (j *job) check(ctx context.Context) (time.Time, *outcome) {
	m := &j.w.mem
	guest := j.s.Network.Guests[j.run.Assignment.Guest]
	within := time.Minute
	if guest.Check != nil && guest.Check.Within > 0 {
		within = guest.Check.Within.D()
	}
	late := j.at.Sub(m.since) > within
	switch {
	case m.phase == "":
		j.call("look at status")
		st, err := j.pve().GuestStatus(ctx, j.kind(), j.run.VMID)
		if err != nil {
			return j.again(err, late)
		}
		whole, live := j.run.Step(failover.StepWhole)
		switch {
		case !st.Running() && m.restarted:
			return j.again(fmt.Errorf("guest %d has stopped", j.run.VMID), late)
		case !st.Running() && live && whole.Status != failover.StatusDone:
			m.phase = checkLive // what stands there may be half a guest
			return j.now, nil
		case !st.Running():
			m.phase = checkConfirm
			return j.now, nil
		}
		m.phase = "address"
		if guest.Check == nil {
			m.phase = "ping"
		}
		return j.now, nil
	case m.phase == checkLive:
		return j.checkLive(ctx)
	case m.phase == checkConfirm:
		return j.confirm(ctx, checkStart)
	case m.phase == checkStart:
		return j.checkStart(ctx)
	case m.phase == "ping":
		return j.checkUndeclared(ctx, late)
	case m.address == "" && needsAddress(guest.Check.URL+guest.Check.TCP),
		m.address == "" && guest.Check.Exec != "" && m.phase != checkUnaddressed:
		return j.checkAddress(ctx, *guest.Check, late)
	}
	j.call("check service")
	if err := j.service(ctx); err != nil {
		m.phase, m.address = "", ""
		return j.again(err, late)
	}
	return j.now, &outcome{}
}

// Where a check stands beside its looks at the guest: the second start of a copy that has
// stopped under it, and a program that is called without the guest's address.
const (
	checkConfirm     = "confirm"
	checkStart       = "start"
	checkUnaddressed = "unaddressed"
	checkLive        = "live"
)

// checkAddress asks for the guest's address. A program may know it by itself.
func (j *job) checkAddress(ctx context.Context, check network.Check, late bool) (time.Time, *outcome) {
	m := &j.w.mem
	j.call("ask address")
	addrs, err := j.pve().Interfaces(ctx, j.kind(), j.run.VMID)
	switch {
	case err == nil && len(addrs) > 0:
		m.address = pick(addrs).String()
		return j.now, nil
	case !needsAddress(check.URL + check.TCP):
		m.phase = checkUnaddressed
		return j.now, nil
	case err != nil:
		return j.again(err, late)
	}
	return j.again(fmt.Errorf("guest %d has no address yet", j.run.VMID), late)
}

// checkStart starts a copy again that has started and does not run: its host
// may have rebooted, and copies of ours do not start by themselves. Once per
// attempt is enough: what stops again is broken.
func (j *job) checkStart(ctx context.Context) (time.Time, *outcome) {
	m := &j.w.mem
	if !j.worded(checkConfirm) {
		return j.now, nil
	}
	j.call("post start again")
	_, err := j.pve().Start(ctx, j.kind(), j.run.VMID)
	m.restarted, m.phase = proxmox.KindOf(err) != proxmox.Unreachable, ""
	switch proxmox.KindOf(err) {
	case "", proxmox.OutcomeUnknown, proxmox.Running, proxmox.Busy:
		return j.now.Add(2 * time.Second), nil
	}
	return j.trouble(err)
}

// checkUndeclared is all that can be asked of a guest without a declared
// check: a VM's agent, or that a container runs.
func (j *job) checkUndeclared(ctx context.Context, late bool) (time.Time, *outcome) {
	if j.kind() == proxmox.CT {
		return j.now, &outcome{note: "runs; no check is declared"}
	}
	j.call("ping agent")
	err := j.pve().AgentPing(ctx, j.run.VMID)
	switch {
	case err == nil:
		return j.now, &outcome{}
	case late && proxmox.KindOf(err) == proxmox.NoAgent:
		return j.now, &outcome{note: "runs; it has no agent and no declared check"}
	}
	return j.again(err, late)
}

func (j *job) service(ctx context.Context) error {
	c := j.s.Network.Guests[j.run.Assignment.Guest].Check
	if c.Exec != "" {
		if err := j.ask(ctx, c.Exec); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if c.URL != "" {
		addr := j.w.mem.address
		if ip, err := netip.ParseAddr(addr); err == nil && ip.Is6() {
			addr = "[" + addr + "]"
		}
		u := strings.ReplaceAll(c.URL, "{address}", addr)
		if _, err := url.Parse(u); err != nil {
			return err
		}
		if err := j.w.e.Checker.Check(ctx, u, c.Status, c.Expect); err != nil {
			return err
		}
	}
	if c.TCP != "" {
		host, port, err := net.SplitHostPort(c.TCP)
		if err != nil {
			return err
		}
		if host == "{address}" {
			host = j.w.mem.address
		}
		return j.w.e.Checker.Connect(ctx, net.JoinHostPort(host, port))
	}
	return nil
}

func needsAddress(s string) bool { return strings.Contains(s, "{address}") }

// pick prefers IPv4: it is what most services listen on first.
func pick(addrs []netip.Addr) netip.Addr {
	for _, a := range addrs {
		if a.Is4() {
			return a
		}
	}
	return addrs[0]
}

// again waits for what a booting guest still lacks, until it is late.
func (j *job) again(err error, late bool) (time.Time, *outcome) {
	if late {
		return j.now, &outcome{failure: failover.FailTransient, note: clip(err.Error())}
	}
	return j.soon(), nil
}
