package main

import (
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestCompletionKnowsTheCommandTable(t *testing.T) {
	for _, c := range []struct{ words, has, hasNot string }{
		{"", "status", "--utc"},
		{"st", "status", "sites"},
		{"op ", "confirm", "status"},
		{"token create --f", "--for-site", "--token"},
		{"--ut", "--utc", "--for"},
		{"nonsense ", "", "status"},
	} {
		code, out, errs := tell(t, goodMachine(), nil, append([]string{"__complete"}, strings.Split(c.words, " ")...)...)
		lines := strings.Fields(out)
		got := " " + strings.Join(lines, " ") + " "
		if code != exitOK || c.has != "" && !strings.Contains(got, " "+c.has+" ") || strings.Contains(got, " "+c.hasNot+" ") {
			t.Errorf("%q: exit %d, %v %s; want %q and not %q", c.words, code, lines, errs, c.has, c.hasNot)
		}
	}
}

// Names of sites, guests and operations come from the agent.
func TestCompletionKnowsNames(t *testing.T) {
	b := newBackend(t)
	if err := b.Lose(); err != nil {
		t.Fatal(err)
	}
	socket := agentOf(t, b)
	if got := wwwctl(t.Context(), socket, "failover moulin -y --detach"); got.code != exitOK {
		t.Fatalf("failover: %+v", got)
	}
	for _, c := range []struct{ line, want string }{
		{"plan mou", "moulin\n"},
		{"sites qu", "quai\n"},
		{"guests nu", "nuage\n"},
		{"switchover s", "site\n"},
		{"op show op", string(onlyOp(t, b)) + "\n"},
		{"approve op", string(onlyOp(t, b)) + "\n"},
		{"cluster remove fab", "fabrique\n"},
	} {
		if got := wwwctl(t.Context(), socket, "__complete "+c.line); got.code != exitOK || got.out != c.want {
			t.Errorf("%q: exit %d, %q, want %q", c.line, got.code, got.out, c.want)
		}
	}
}

// An agent that does not answer costs a person who presses Tab no more than the limit: the
// rest is room for a machine that is busy.
func TestCompletionDoesNotWait(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket) // takes connections and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	began := time.Now()
	got := wwwctl(t.Context(), socket, "__complete plan mou")
	if took := time.Since(began); got.code != exitOK || got.out != "" || took < completeWithin || took > completeWithin+3*time.Second {
		t.Errorf("exit %d, %q after %s, want nothing after %s", got.code, got.out, took, completeWithin)
	}
}

func TestEveryCommandHasAPage(t *testing.T) {
	for _, c := range commands() {
		code, out, _ := tell(t, goodMachine(), nil, "__man", c.name)
		if code != exitOK || !strings.HasPrefix(out, ".TH WWWCTL") || !strings.Contains(out, roff.Replace(c.short)) {
			t.Errorf("%s: exit %d:\n%s", c.name, code, out)
		}
	}
	if _, out, _ := tell(t, goodMachine(), nil, "__man"); !strings.Contains(out, "EXIT CODES") || !strings.Contains(out, roff.Replace("begin a network, on its first site")) {
		t.Errorf("wwwctl(1):\n%.600s", out)
	}
	for _, shell := range []string{"bash", "zsh", "fish"} {
		if _, out, _ := tell(t, goodMachine(), nil, "completion", shell); !strings.Contains(out, "wwwctl __complete") {
			t.Errorf("completion %s:\n%s", shell, out)
		}
	}
}
