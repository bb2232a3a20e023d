package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/api"
	"github.com/raoull/worldwidewelsh/internal/lab/site"
	"github.com/raoull/worldwidewelsh/internal/network"
	"github.com/raoull/worldwidewelsh/internal/network/netyaml"
)

const (
	hooksVictim = "moulin"
	vetoed      = failover.GuestID("agenda-moulin") // a program must allow its move
	live        = failover.GuestID("nuage-moulin")  // a VM, restored live

	// hooksLimit bounds each wait of TestVetoAndLiveRestoreWithRealProcesses.
	hooksLimit = 90 * time.Second
	// liveRate has the disk of the live guest take some seconds, bytes per second and host.
	liveRate = 4 << 20
)

// board is where the programs of the hooks write who called them, and read what they are to say.
type board struct {
	t   *testing.T
	dir string
}

// The programs have shell builtins alone: nothing of the machine that they run on is needed.
const (
	askBoard = `#!/bin/sh
echo "$WWW_KIND $WWW_STEP $WWW_GUEST at $WWW_SITE" >> %[1]q/asked
if [ ! -e %[1]q/agreed ]; then echo "the board has not met"; exit 1; fi
`
	announce = `#!/bin/sh
echo "$WWW_KIND $WWW_STEP $WWW_GUEST at $WWW_SITE" >> %[1]q/announced
`
)

// plant declares the hooks and the live restore, and gives each agent the programs.
func (b board) plant(r *room) {
	b.declare(r, map[string]string{"ask-board": askBoard, "announce": announce}, func(spec *network.Spec) {
		spec.Policy.Commit, spec.Policy.CommitDual = spec.Policy.PrepareB+network.Duration(time.Second), spec.Policy.PrepareB+network.Duration(time.Second)
		g := spec.Guests[vetoed]
		g.Hooks = &network.Hooks{Before: &network.Hook{Run: "ask-board", Veto: true}, After: &network.Hook{Run: "announce"}}
		spec.Guests[vetoed] = g
		g = spec.Guests[live]
		g.LiveRestore = true
		spec.Guests[live] = g
	})
}

// declare changes what is declared, has restores take some seconds, and gives each agent programs, by name.
func (b board) declare(r *room, programs map[string]string, change func(*network.Spec)) {
	b.t.Helper()
	spec := r.lab.Spec()
	change(spec)
	text, err := netyaml.Marshal(spec)
	r.lab.Rate = liveRate
	section := "programs:\n"
	for name, script := range programs {
		path := filepath.Join(b.dir, name)
		err = errors.Join(err, os.WriteFile(path, fmt.Appendf(nil, script, b.dir), 0o700))
		section += fmt.Sprintf("  %s: {command: [%q]}\n", name, path)
	}
	err = errors.Join(err, os.WriteFile(site.NetworkFile(r.dir), text, 0o600), r.lab.Save(r.dir))
	for _, name := range r.lab.Names() {
		err = errors.Join(err, appendTo(site.AgentFile(r.dir, name), section))
	}
	if err != nil {
		b.t.Fatal(err)
	}
}

// appendTo adds text to the end of a file that is there.
func appendTo(path, text string) error {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

// lines are those that a program has written to a file of the board.
func (b board) lines(name string) []string {
	b.t.Helper()
	text, err := os.ReadFile(filepath.Join(b.dir, name))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		b.t.Fatal(err)
	}
	return strings.FieldsFunc(string(text), func(r rune) bool { return r == '\n' })
}

// TestVetoAndLiveRestoreWithRealProcesses pulls the plug of a site of which one guest is
// restored live and another may move only when a program agrees. DNS waits for the disks of
// the first; the other is stuck before it is owned, with the reason and what to type, is
// asked for again at each retry, and serves once the program agrees.
func TestVetoAndLiveRestoreWithRealProcesses(t *testing.T) {
	if testing.Short() || os.Getenv("WWW_E2E") != "1" {
		t.Skip("takes half a minute: set WWW_E2E=1")
	}
	b := board{t: t, dir: t.TempDir()}
	r := realRoom(t, build(t), site.Embedded, b.plant)
	w := watchLive(t, r)
	r.say("pulling the plug of %s", hooksVictim)
	if err := r.kill(hooksVictim); err != nil {
		t.Fatal(err)
	}
	op := w.until("the veto", func(op failover.OpView) bool { return op.Phase == failover.OpStuck })
	w.check()
	asked := w.stuckAtTheVeto(op, b)

	w.wwwctl("op", "retry", string(op.ID))
	w.until("a second veto", func(op failover.OpView) bool {
		return op.Phase == failover.OpStuck && len(b.lines("asked")) == 2*len(asked)
	})
	if err := os.WriteFile(filepath.Join(b.dir, "agreed"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	w.wwwctl("op", "retry", string(op.ID))
	op = w.until("the end", func(op failover.OpView) bool { return op.Phase == failover.OpDone })
	target := string(guestOf(op, vetoed).Target)
	if got, want := b.lines("announced"), []string{"failover after " + string(vetoed) + " at " + target}; !slices.Equal(got, want) {
		t.Errorf("after the move the program was called %q, want %q", got, want)
	}
	for _, g := range []failover.GuestID{vetoed, live} {
		if at := w.resolved(g); at != string(guestOf(op, g).Target) {
			t.Errorf("%s is to be found at %q, want at %s", g, at, guestOf(op, g).Target)
		}
	}
}

// liveWatch follows a failover with one agent's eyes, and sees what a member would see of
// the guest that is restored live.
type liveWatch struct {
	t      *testing.T
	room   *room
	at     string // the site whose agent and name server are asked
	member *member
	early  []string // names that led to a copy whose disks were not whole
	ran    int      // how often the copy ran although its disks were not whole
}

func watchLive(t *testing.T, r *room) *liveWatch {
	t.Helper()
	m, err := newMember(site.EntryCA(r.dir))
	if err != nil {
		t.Fatal(err)
	}
	return &liveWatch{t: t, room: r, at: r.lab.Names()[1], member: m}
}

// check holds against each other what was seen of the live restore.
func (w *liveWatch) check() {
	w.t.Helper()
	w.room.say("%s ran %d times when its disks were not whole", live, w.ran)
	if w.ran == 0 || len(w.early) > 0 {
		w.t.Errorf("%s was seen to run %d times before its disks were whole, want at least once; DNS led to it then: %q, want never", live, w.ran, w.early)
	}
}

// until follows the failover of the victim to where it should come.
func (w *liveWatch) until(what string, there func(failover.OpView) bool) failover.OpView {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), hooksLimit)
	defer cancel()
	client := w.room.agent(w.at)
	defer client.Close()
	var last failover.OpView
	for {
		// In this order: the agent that is asked, and its name server, know no less a moment later.
		found, runs := w.resolved(live), w.runs(ctx, last)
		ops, err := client.Ops(ctx)
		for _, op := range ops.Items {
			if op.Domain == failover.SiteDomain(hooksVictim) && err == nil {
				last = op
				w.look(op, found, runs)
			}
		}
		if last.ID != "" && there(last) {
			w.room.say("%s is %s: %s", last.ID, last.Phase, what)
			return last
		}
		if err := site.Sleep(ctx, pollEvery); err != nil {
			w.t.Fatalf("no sign of %s: %v; %s is %s: %+v", what, err, last.ID, last.Phase, last.Guests)
		}
	}
}

// look remembers what was seen of the live guest a moment before the operation stood so.
func (w *liveWatch) look(op failover.OpView, found string, runs bool) {
	g := guestOf(op, live)
	if !slices.Contains([]failover.StepID{failover.StepLive, failover.StepCheck, failover.StepWhole}, g.Step) {
		return
	}
	if runs {
		w.ran++
	}
	if found == string(g.Target) {
		w.early = append(w.early, fmt.Sprintf("%s at %s", g.Step, found))
	}
}

// runs says whether the copy of the live guest runs at its target.
func (w *liveWatch) runs(ctx context.Context, op failover.OpView) bool {
	w.t.Helper()
	g := guestOf(op, live)
	if g.Target == "" {
		return false
	}
	st, err := site.NewClient(w.room.dir, string(g.Target)).Status(ctx)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, h := range st.Hosts {
		for _, x := range h.Guests {
			if x.Name == string(live) && x.Running {
				return true
			}
		}
	}
	return false
}

// resolved is the site to which a guest's name leads; "": no answer.
func (w *liveWatch) resolved(g failover.GuestID) string {
	w.t.Helper()
	i, err := w.room.lab.Index(w.at)
	m, ok := w.room.lab.Guest(string(g))
	if err != nil || !ok {
		w.t.Fatalf("%s is no guest, or %s no site of the lab: %v", g, w.at, err)
	}
	addr, err := w.member.resolve(w.t.Context(), w.room.lab.DNS(i), m.Names[0])
	if err != nil {
		return ""
	}
	for j, s := range w.room.lab.Sites {
		if w.room.lab.Plan().Public(j) == addr {
			return s.Name
		}
	}
	w.t.Fatalf("%s leads to %s, which is no site's", m.Names[0], addr)
	return ""
}

// wwwctl types a command that must be taken.
func (w *liveWatch) wwwctl(args ...string) string {
	w.t.Helper()
	out, err := w.room.wwwctl(w.t.Context(), w.at, args...)
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

// stuckAtTheVeto holds an operation that a program has stopped: nothing that cannot be taken
// back was done for its guest, the others serve, and a person is told what to type. It
// returns how the program was called.
func (w *liveWatch) stuckAtTheVeto(op failover.OpView, b board) []string {
	w.t.Helper()
	for _, g := range op.Guests {
		if served := !g.Served.IsZero(); served != (g.Guest != vetoed) {
			w.t.Errorf("%s serves: %t, at %s %s", g.Guest, served, g.Step, g.Note)
		}
	}
	g := guestOf(op, vetoed)
	if g.Stuck.Code != failover.CodeHookVeto || !strings.Contains(g.Stuck.Args["note"], "the board has not met") {
		w.t.Errorf("%s is stuck with %+v, want %s and what the program said", vetoed, g.Stuck, failover.CodeHookVeto)
	}
	asked := b.lines("asked")
	if want := []string{"failover before " + string(vetoed) + " at " + string(g.Target)}; !slices.Equal(asked, want) {
		w.t.Errorf("the program was called %q, want %q", asked, want)
	}
	list, err := askEach(w.t.Context(), w.room, w.at, func(ctx context.Context, c *api.Client) (api.GuestList, error) { return c.Guests(ctx) })
	if err != nil {
		w.t.Fatal(err)
	}
	for _, x := range list.Items {
		if x.Guest == vetoed && x.At != hooksVictim {
			w.t.Errorf("%s belongs to %s now, want %s: its move was not allowed", vetoed, x.At, hooksVictim)
		}
	}
	if shown := strings.Join(strings.Fields(w.wwwctl("op", "show", string(op.ID))), " "); !strings.Contains(shown, "wwwctl op retry "+string(op.ID)) {
		w.t.Errorf("wwwctl op show does not tell what to type:\n%s", shown)
	}
	return asked
}

// guestOf is one guest of an operation; none of that name: empty.
func guestOf(op failover.OpView, g failover.GuestID) failover.OpGuestView {
	for _, x := range op.Guests {
		if x.Guest == g {
			return x
		}
	}
	return failover.OpGuestView{}
}
