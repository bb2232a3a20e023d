package main

import (
	"strings"
	"testing"
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
