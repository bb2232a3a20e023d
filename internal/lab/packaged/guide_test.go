package packaged_test

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
)

const guide = "../../../docs/install.md"

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
	page, err := os.ReadFile(guide)
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
