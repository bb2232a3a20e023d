package failover_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the expected output of testdata/scenarios")

// TestScenarios plays testdata/scenarios/*.txt. A file is a row of blocks: one
// command a line, then "----", then what the commands print, then a blank
// line. Lines that begin with # are for the reader. The commands stand in
// scenario_lang_test.go.
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/scenarios/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenarios: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) { playFile(t, file) })
	}
}

func playFile(t *testing.T, file string) {
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	play := newPlay(t)
	var out strings.Builder
	lines := strings.Split(strings.TrimRight(string(b), "\n"), "\n")
	for i := 0; i < len(lines); {
		line := lines[i]
		if line == "" || strings.HasPrefix(line, "#") {
			fmt.Fprintln(&out, line)
			i++
			continue
		}
		first := i
		for ; i < len(lines) && lines[i] != "----" && lines[i] != ""; i++ {
			play.place = fmt.Sprintf("%s:%d", file, i+1)
			if !strings.HasPrefix(lines[i], "#") {
				play.run(lines[i])
			}
		}
		last := i
		if i < len(lines) && lines[i] == "----" {
			i++
		}
		want := i
		for ; i < len(lines) && lines[i] != ""; i++ {
		}
		got := play.flush()
		if expected := strings.Join(lines[want:i], "\n"); !*update && got != expected {
			t.Fatalf("%s:%d: %s\n--- got\n%s\n--- want\n%s", file, first+1, lines[last-1], got, expected)
		}
		fmt.Fprintf(&out, "%s\n----\n%s\n", strings.Join(lines[first:last], "\n"), got)
	}
	if *update {
		if err := os.WriteFile(file, []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
