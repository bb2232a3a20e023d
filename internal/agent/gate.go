package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/proxmox"
)

// The gate: destroy is the only way to a call of Proxmox that takes a guest away, and giveUp
// the only one that lets a sealed backup be pruned; internal/archtest holds both. destroy
// demands the proof that the copy never ran with users, so that no backup of it can be
// missing, or that it is sealed at two sites and was not started since (S7).

// proof says that a copy may be deleted. It is good for one attempt at one step, and for
// as long as the leader's word.
type proof struct {
	token   failover.Token
	attempt int
	id      int
	at      time.Time // of the look; zero: there is none
}

// errUnproven ends an attempt to delete what nothing proves to be ours to delete.
var errUnproven = errors.New("nothing proves that the copy never ran, or is sealed")

// destroy deletes the copy of this run.
func (j *job) destroy(ctx context.Context, what string) (proxmox.UPID, error) {
	m := &j.w.mem
	p := m.proof
	m.proof = proof{}
	switch age := j.now.Sub(p.at); {
	case p.token != j.w.token || p.attempt != j.w.attempt || p.id != j.doomed() || age < 0 || age > confirmAge:
		return proxmox.UPID{}, errUnproven
	case j.now.Sub(m.confirmed) > confirmAge:
		return proxmox.UPID{}, errUnproven
	}
	if err := j.w.e.Log.State().MayDestroy(j.w.token); err != nil {
		return proxmox.UPID{}, err
	}
	j.call(what)
	return j.pve().Destroy(ctx, j.kind(), j.doomed())
}

// giveUp lifts the protection of this site's sealed backup of the run's branch.
func (j *job) giveUp(ctx context.Context) error {
	if j.now.Sub(j.w.mem.confirmed) > confirmAge {
		return errUnproven
	}
	if err := j.w.e.Log.State().MayUnseal(j.w.token); err != nil {
		return err
	}
	j.call("lift protection of sealed backup")
	return j.w.e.PBS.Unprotect(ctx, j.sealed())
}

// refused is what follows an error of destroy: proving it anew, or a person.
func (j *job) refused(err error, prove string) (time.Time, *outcome) {
	if errors.Is(err, errUnproven) {
		j.w.mem.phase = prove
		return j.now, nil
	}
	if r, ok := errors.AsType[*failover.RejectedError](err); ok {
		return j.fatally("copy %d is not deleted: %s", j.doomed(), r)
	}
	return j.trouble(err)
}

// neverStarted goes on to next if nobody has started the copy since it was
// restored, and remembers that as the proof that destroy demands. A start by hand
// makes it somebody's: it may hold what users wrote,
// whether it runs still or not, and no backup has that (S7). The look comes
// after the leader's word, right before the deletion: a host deletes nothing
// that runs, so only a start and a stop between the two calls escape.
//
// Every start is a task, of whoever asks (API, qm and pct, startall at boot);
// with Sys.Audit on the node the token sees all of them (docs/proxmox.md;
// doctor asks for the privilege). All times are the node's.
func (j *job) neverStarted(ctx context.Context, next string) (time.Time, *outcome) {
	j.call("look for starts")
	tasks, err := j.pve().Tasks(ctx, proxmox.TaskFilter{VMID: j.run.VMID})
	if err != nil {
		return j.trouble(err)
	}
	if _, may := j.mayHaveRun(tasks); j.run.Source.Unstarted && !may {
		tasks = nil // its starts were refused before anything ran
	}
	start, ok := startOf(tasks)
	if !ok {
		j.w.mem.phase, j.w.mem.proof = next, proof{token: j.w.token, attempt: j.w.attempt, id: j.run.VMID, at: j.now}
		return j.now, nil
	}
	return j.fatally("copy %d was started at %s by %s and may hold what users wrote: left alone; %s",
		j.run.VMID, start.UPID.Start.UTC().Format("2006-01-02 15:04:05Z"), start.UPID.Auth, j.lookInto(j.run.VMID))
}

// lookInto is what people do about a copy that somebody has started.
func (j *job) lookInto(id int) string {
	tool := j.tool()
	return fmt.Sprintf("look into it, then on %s: %s stop %d; %s destroy %d; and wwwctl op retry %s", j.run.Assignment.Host, tool, id, tool, id, j.op.ID)
}

// startOf returns a start, by whomever, of the guest that an id stands for now,
// by the tasks of that id.
func startOf(tasks []proxmox.TaskStatus) (proxmox.TaskStatus, bool) {
	began := lifeBegan(tasks)
	i := slices.IndexFunc(tasks, func(t proxmox.TaskStatus) bool {
		return (t.UPID.Type == "qmstart" || t.UPID.Type == "vzstart") && !t.UPID.Start.Before(began)
	})
	if i < 0 {
		return proxmox.TaskStatus{}, false
	}
	return tasks[i], true
}

// lifeBegan says since when an id has stood for the guest that it stands for
// now, by the tasks of that id: a restore that ended well proves that the id
// was free before (nothing is ever forced over a guest), a removal that it was
// after. Zero, when neither is known, makes every start count.
func lifeBegan(tasks []proxmox.TaskStatus) (began time.Time) {
	for _, t := range tasks {
		switch t.UPID.Type {
		case "qmrestore", "vzrestore", "qmdestroy", "vzdestroy":
			if !t.Running && t.OK() && t.UPID.Start.After(began) {
				began = t.UPID.Start
			}
		}
	}
	return began
}
