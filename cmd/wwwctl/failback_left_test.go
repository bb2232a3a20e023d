package main

import (
	"strings"
	"testing"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/api/apitest"
)

func backHome(t *testing.T, keep failover.Keep) *apitest.Backend {
	t.Helper()
	b, err := apitest.BackHome(keep)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestFailbackRemove: each copy is named by the person; one that is not acknowledged, or a
// structure's, is not removed, and the screen says what to do.
func TestFailbackRemove(t *testing.T) {
	b := backHome(t, failover.KeepHome)
	socket := agentOf(t, b)
	at := b.State().LeftCopies("nuage", b.Now())[0]
	name := copyName(at)
	r := wwwctl(t.Context(), socket, "failback remove nuage --confirm="+name)
	if r.code != exitRefused || !strings.Contains(r.out+r.errOut, "wwwctl failback ack nuage") {
		t.Errorf("not acknowledged: code %d\n%s%s", r.code, r.out, r.errOut)
	}
	if r = wwwctl(t.Context(), socket, "failback ack nuage --yes"); r.code != 0 {
		t.Fatalf("ack: code %d\n%s", r.code, r.errOut)
	}
	for line, want := range map[string]int{
		"failback remove nuage --yes":              exitUnconfirmed, // the name is asked for
		"failback remove nuage --confirm=x/1":      exitUnconfirmed,
		"failback remove nuage --copy x/1":         exitRefused,
		"failback give-up nuage --confirm=" + name: exitRefused,
		"failback remove nuage --dry-run":          0,
	} {
		if r := wwwctl(t.Context(), socket, line); r.code != want {
			t.Errorf("%s: code %d, want %d\n%s%s", line, r.code, want, r.out, r.errOut)
		}
	}
	if len(b.State().Ops) != 2 {
		t.Fatalf("%d operations, want those of before", len(b.State().Ops))
	}
	r = wwwctl(t.Context(), socket, "failback remove nuage --detach --copy "+name, input(name+"\n"))
	if r.code != 0 || !strings.Contains(r.out, "may be removed") || !strings.Contains(r.errOut, "deleted for good") || !strings.Contains(r.out, "accepted") {
		t.Errorf("code %d\n%s%s", r.code, r.out, r.errOut)
	}
	if err := b.Finish("nuage"); err != nil {
		t.Fatal(err)
	}
}

// TestFailbackRemoveOnAStructuresHost: the program removes nothing there and prints what its
// people type.
func TestFailbackRemoveOnAStructuresHost(t *testing.T) {
	b := backHome(t, failover.KeepAway)
	socket := agentOf(t, b)
	line := "failback remove nuage --copy asso-moulin/1101 --confirm=asso-moulin/1101"
	if r := wwwctl(t.Context(), socket, line); r.code != exitRefused || !strings.Contains(r.out, "once nothing of it is missed") || strings.Contains(r.out, "qm destroy") {
		t.Errorf("not acknowledged: code %d\n%s%s", r.code, r.out, r.errOut)
	}
	if r := wwwctl(t.Context(), socket, "failback ack nuage --yes"); r.code != 0 {
		t.Fatalf("ack: code %d\n%s", r.code, r.errOut)
	}
	r := wwwctl(t.Context(), socket, line)
	if r.code != exitRefused || !strings.Contains(r.out, "qm destroy 1101") || !strings.Contains(r.out, "qm set 1101 --protection 0") {
		t.Errorf("code %d\n%s%s", r.code, r.out, r.errOut)
	}
}

// TestFailbackFork: one copy, by its name.
func TestFailbackFork(t *testing.T) {
	b := backHome(t, failover.KeepAway)
	socket := agentOf(t, b)
	if r := wwwctl(t.Context(), socket, "failback fork nuage"); r.code != exitUsage {
		t.Errorf("without a copy: code %d\n%s", r.code, r.errOut)
	}
	r := wwwctl(t.Context(), socket, "failback fork nuage --detach --copy asso-moulin/1101", input("asso-moulin/1101\n"))
	if r.code != 0 || !strings.Contains(r.errOut, "new network cards") || strings.Contains(r.out, "qm destroy") {
		t.Errorf("code %d\n%s%s", r.code, r.out, r.errOut)
	}
}
