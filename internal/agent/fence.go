package agent

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/network"
)

// Fence knows whether one host has no power or no network, and can take it away.
type Fence interface {
	// Off says whether the host is off, and how that is known. It only looks.
	Off(ctx context.Context) (off bool, how string, err error)
	// PutOff takes it away. Whether that worked, Off must tell.
	PutOff(ctx context.Context) error
}

// Watch is a fence that cannot put a host off: it only looks whether anybody answers at
// the addresses of the host and of its guests. One look proves little, so it is asked several times.
type Watch interface {
	Fence
	// OnlyLooks says why the host cannot be put off.
	OnlyLooks() string
}

const (
	quietLooks = 3  // in a row, that see nobody
	mostLooks  = 12 // until a person is asked: the kernel believes for up to 53 s that who has answered is there
	lookAgain  = 2 * time.Second
)

// Where the proof that a dead host is off stands.
const (
	fenceLook    = ""        // does the host answer after all?
	fenceKnown   = "known"   // is it off already?
	fenceConfirm = "confirm" // may it be put off?
	fencePut     = "put"     // put it off
	fenceBack    = "back"    // read back that it is
)

// fence proves that the dead host of a rescue is off before a second copy with the same
// address becomes the one that counts. A host that answers is never cut off.
func (j *job) fence(ctx context.Context) (time.Time, *outcome) {
	m, dead := &j.w.mem, j.op.Plan.Loss.Host
	if m.phase == fenceLook {
		return j.fenceLook(ctx)
	}
	f := j.w.e.Fences[j.deadHost().Fence]
	if f == nil {
		return j.now, &outcome{failure: failover.FailProof, note: noFence(string(dead), j.deadHost().Fence)}
	}
	switch m.phase {
	case fenceConfirm:
		return j.confirm(ctx, fencePut)
	case fencePut:
		if !j.worded(fenceConfirm) {
			return j.now, nil
		}
		// Once more, right before: it may have come back since the first look.
		if o := j.deadAnswers(ctx); o != nil {
			return j.now, o
		}
		j.call("put off")
		if err := f.PutOff(ctx); err != nil {
			return j.now, &outcome{failure: failover.FailTransient, note: clip(fmt.Sprintf("put %s off: %v", dead, err))}
		}
		m.phase = fenceBack
		return j.soon(), nil
	}
	j.call("is it off")
	off, how, err := f.Off(ctx)
	if w, ok := f.(Watch); ok {
		return j.watched(w, off, how, err)
	}
	switch {
	case err != nil:
		return j.now, &outcome{failure: failover.FailTransient, note: clip(fmt.Sprintf("ask whether %s is off: %v", dead, err))}
	case off:
		return j.now, &outcome{note: clip(how)}
	case m.phase == fenceBack: // the step's deadline ends this
		return j.now.Add(time.Second), nil
	}
	m.phase = fenceConfirm
	return j.now, nil
}

// watched goes on only after several looks in a row that saw nobody: a person is asked when
// that does not come about. An address that was in use a moment ago may still be remembered.
func (j *job) watched(w Watch, off bool, how string, err error) (time.Time, *outcome) {
	m := &j.w.mem
	m.looks++
	switch {
	case err != nil:
		m.quiet, how = 0, err.Error()
	case !off:
		m.quiet = 0
	default:
		m.quiet++
	}
	switch {
	case m.quiet >= quietLooks:
		return j.now, &outcome{note: clip(how)}
	case m.looks >= mostLooks && m.quiet == 0:
		return j.now, &outcome{failure: failover.FailProof, note: clip(how + "; " + w.OnlyLooks())}
	}
	return j.now.Add(lookAgain), nil
}

func noFence(host, name string) string {
	if name == "" {
		return "no fence is declared for " + host
	}
	return fmt.Sprintf("this site's wwwd.yaml has no fence %q", name)
}

func (j *job) fenceLook(ctx context.Context) (time.Time, *outcome) {
	m := &j.w.mem
	if o := j.deadAnswers(ctx); o != nil {
		return j.now, o
	}
	if by := j.op.HostOff; by.Index != 0 {
		return j.now, &outcome{note: "by the word of " + by.Actor}
	}
	m.phase = fenceKnown
	return j.now, nil
}

// deadAnswers says, of a rescue, that the host which is said to be dead answers;
// nil when it does not, of any other operation too.
func (j *job) deadAnswers(ctx context.Context) *outcome {
	pve := j.deadHost().PVE
	if j.op.Kind != failover.KindRescue || pve == nil || j.w.e.Answers == nil {
		return nil
	}
	j.call("does the host answer")
	if !j.w.e.Answers(ctx, pve.URL) {
		return nil
	}
	return &outcome{failure: failover.FailFatal, note: fmt.Sprintf("%s answers at %s: it is not off, and was not cut off", j.op.Plan.Loss.Host, pve.URL)}
}

// deadHost is the declaration of the host that a rescue answers to.
func (j *job) deadHost() network.Host {
	return j.s.Network.Sites[j.op.Plan.Loss.Site].Hosts[j.op.Plan.Loss.Host]
}

// ExecFence runs a program of this site: a smart plug, IPMI. It is given the verb off or
// status as its last argument. Status prints on or off; both end with exit code 0.
type ExecFence struct{ Command []string }

// Off asks the program.
func (f ExecFence) Off(ctx context.Context) (bool, string, error) {
	out, err := f.run(ctx, "status")
	if err != nil {
		return false, "", err
	}
	switch word := strings.TrimSpace(out); word {
	case "off":
		return true, f.Command[0] + " says off", nil
	case "on":
		return false, "", nil
	default:
		return false, "", fmt.Errorf("%s status: %q is neither on nor off", f.Command[0], word)
	}
}

// PutOff has the program do it.
func (f ExecFence) PutOff(ctx context.Context) error {
	_, err := f.run(ctx, "off")
	return err
}

func (f ExecFence) run(ctx context.Context, verb string) (string, error) {
	if len(f.Command) == 0 {
		return "", errors.New("no command")
	}
	return runCommand(ctx, append(append([]string(nil), f.Command...), verb), nil)
}
