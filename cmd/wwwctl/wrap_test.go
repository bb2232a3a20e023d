package main

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

func TestWrap(t *testing.T) {
	for _, tt := range []struct {
		name  string
		width int
		write func(*page)
		want  string
	}{
		{"fits", 30, func(p *page) { p.wrap("  - ", "    ", "short enough") }, "  - short enough\n"},
		{"sentence", 20, func(p *page) { p.wrap("  - ", "    ", "one two three four five") }, "  - one two three\n    four five\n"},
		{"a word too long", 20, func(p *page) { p.wrap("  - ", "    ", "see pbs-quai:backup/vm/1101/2026 there") }, "  - see\n    pbs-quai:backup/vm/1101/2026\n    there\n"},
		{"command", 24, func(p *page) { p.command("  $ ", "      ", "pvesm set pbs --content images,rootdir") }, "  $ pvesm set pbs \\\n      --content \\\n      images,rootdir\n"},
		{"quoted", 24, func(p *page) { p.command("  $ ", "      ", "x --token 'a b c d e' --y z") }, "  $ x --token \\\n      'a b c d e' --y z\n"},
		{"an apostrophe", 14, func(p *page) { p.wrap("", "", "the site's own PBS isn't") }, "the site's own\nPBS isn't\n"},
		{"colours have no width", 12, func(p *page) { p.wrap("\x1b[31m[X]\x1b[0m ", "    ", "12345678 9") }, "\x1b[31m[X]\x1b[0m 12345678\n    9\n"},
		{"nothing", 20, func(p *page) { p.wrap("  - ", "    ", "") }, "  -\n"},
		{"no wider than 80", 200, func(p *page) { p.wrap("", "", strings.Repeat("word ", 20)) }, strings.TrimSpace(strings.Repeat("word ", 16)) + "\n" + strings.TrimSpace(strings.Repeat("word ", 4)) + "\n"},
	} {
		p := &page{s: style{width: tt.width}}
		tt.write(p)
		if d := cmp.Diff(tt.want, p.b.String()); d != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, d)
		}
	}
}

// TestDoctorOnAPhone: nothing but a single long word is wider than the terminal.
func TestDoctorOnAPhone(t *testing.T) {
	socket := examined(t, newBackend(t), ill)
	whole := strings.Join(strings.Fields(wwwctl(t.Context(), socket, "doctor").out), " ")
	for _, width := range []int{48, 80} {
		got := wwwctl(t.Context(), socket, "doctor", screen(width, 24)).out
		for line := range strings.Lines(got) {
			line = strings.TrimSuffix(line, "\n")
			if utf8.RuneCountInString(line) > width && len(strings.Fields(strings.TrimSuffix(line, " \\"))) > 2 {
				t.Errorf("width %d: %q", width, line)
			}
		}
		if text := strings.Join(strings.Fields(strings.ReplaceAll(got, " \\\n", "\n")), " "); text != whole {
			t.Errorf("width %d: something is lost:\n%s", width, got)
		}
	}
}

// TestCommandsAreNotCut: a line that is too long for the terminal loses its end, unless a command stands in it.
func TestCommandsAreNotCut(t *testing.T) {
	s := style{cut: true, unicode: true, width: 40}
	for want, add := range map[string]func(*page){
		"  a long line of a screen, of no great …\n":                                     func(p *page) { p.line("  a long line of a screen, of no great use") },
		"  and 12 more guests of it:\n    wwwctl op show op-18210\n":                     func(p *page) { p.line("  and 12 more guests of it: wwwctl op show op-18210") },
		"  when removed: wwwctl op retry op-7\n":                                         func(p *page) { p.typed("  when removed: ", "wwwctl op retry op-7") },
		"  when the cause is removed:\n    wwwctl op retry op-18210 --host-is-off-now\n": func(p *page) { p.typed("  when the cause is removed: ", "wwwctl op retry op-18210 --host-is-off-now") },
	} {
		p := &page{s: s}
		if add(p); p.b.String() != want {
			t.Errorf("got\n%s\nwant\n%s", p.b.String(), want)
		}
	}
}
