package packaged_test

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const (
	guide  = "../../../docs/install.md"
	readme = "../../../README.md"
)

// block is a listing of the guide: commands for machines, or a file.
type block struct {
	on    []string // machines
	after string   // "upgrade": not typed in the first pass
	file  string
	text  string
}

var listing = regexp.MustCompile("(?s)<!-- (on|file): ([^>]*?) -->\n```[a-z]*\n(.*?)```")

// blocks reads the listings of the guide in order.
func blocks(t *testing.T) []block {
	t.Helper()
	return listings(t, guide)
}

func listings(t *testing.T, file string) []block {
	t.Helper()
	page, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var out []block
	for _, m := range listing.FindAllStringSubmatch(string(page), -1) {
		b := block{text: m[3]}
		if m[1] == "file" {
			b.file = m[2]
		} else {
			on, after, _ := strings.Cut(m[2], ";")
			b.on, b.after = strings.Fields(on), strings.TrimSpace(after)
		}
		out = append(out, b)
	}
	return out
}

// TestGuideIsMarked: every listing of the guide says where it is typed, so that none is left
// out of the test that types them.
func TestGuideIsMarked(t *testing.T) {
	page, err := os.ReadFile(guide)
	if err != nil {
		t.Fatal(err)
	}
	if n, fences := len(blocks(t)), strings.Count(string(page), "\n```")/2; n == 0 || n != fences {
		t.Errorf("%s: %d listings are marked of %d", guide, n, fences)
	}
	for _, b := range blocks(t) {
		if b.file == "" && (len(b.on) == 0 || strings.TrimSpace(b.text) == "") {
			t.Errorf("%s: a listing says nothing of where or what: %+v", guide, b)
		}
	}
}

// TestReadmeSaysWhatTheGuideSays: the commands of the README's installation are those of the guide,
// on the same machines and in the same order, and so they are typed, too.
func TestReadmeSaysWhatTheGuideSays(t *testing.T) {
	typed := func(file string) map[string][]string {
		out := map[string][]string{}
		for _, b := range listings(t, file) {
			for _, machine := range b.on {
				if b.after == "" {
					out[machine] = append(out[machine], b.commands()...)
				}
			}
		}
		return out
	}
	in, short := typed(guide), typed(readme)
	if len(short) < 2 {
		t.Fatalf("%s installs on %d machines", readme, len(short))
	}
	for machine, commands := range short {
		rest := in[machine]
		for _, c := range commands {
			i := slices.Index(rest, c)
			if i < 0 {
				t.Errorf("%s has %s type %q, which %s does not, or not there", readme, machine, c, guide)
				continue
			}
			rest = rest[i+1:]
		}
	}
}

// commands are a block's lines.
func (b block) commands() []string {
	var out []string
	for line := range strings.Lines(b.text) {
		if line = strings.TrimSpace(line); line != "" {
			out = append(out, line)
		}
	}
	return out
}

// token finds the join token in what "token create" printed.
func token(printed string) (string, error) {
	m := regexp.MustCompile(`www1\.[A-Za-z0-9._-]+`).FindString(printed)
	if m == "" {
		return "", fmt.Errorf("no token in %q", printed)
	}
	return strings.TrimRight(m, "."), nil
}
