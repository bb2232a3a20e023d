package cluster_test

import (
	"bytes"
	"compress/flate"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/raoull/worldwidewelsh/cluster"
	"github.com/raoull/worldwidewelsh/failover"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// golden compares with a file under testdata, or rewrites it.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v (go test -update writes it)", err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s differs (-want +got); entries in running networks would not be read any more:\n%s", path, diff)
	}
}

// filled returns one entry of each type with every field set.
func filled(t *testing.T) []cluster.Entry {
	t.Helper()
	var entries []cluster.Entry
	for _, row := range cluster.Rows() {
		zero, err := row.New([]byte("{}"))
		if err != nil {
			t.Fatalf("%s: %v", row.Name, err)
		}
		v := reflect.New(reflect.TypeOf(zero)).Elem()
		fill(t, v, row.Name)
		c, ok := v.Interface().(failover.Command)
		if !ok {
			t.Fatalf("%s is no command", row.Name)
		}
		entries = append(entries, cluster.Entry{ID: "id-" + row.Name, Actor: "tester", At: someTime(), Command: c})
	}
	return entries
}

func TestEveryCommandHasARowOfItsOwn(t *testing.T) {
	files, err := filepath.Glob("../failover/*.go")
	if err != nil {
		t.Fatal(err)
	}
	var commands []string
	for _, name := range files {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range file.Decls {
			f, ok := decl.(*ast.FuncDecl)
			if !ok || f.Recv == nil || f.Name.Name != "apply" {
				continue
			}
			if id, ok := f.Recv.List[0].Type.(*ast.Ident); ok {
				commands = append(commands, id.Name)
			}
		}
	}
	if len(commands) < 20 {
		t.Fatalf("found only the commands %v", commands)
	}
	var rows []string
	numbers, names := map[uint16]string{}, map[string]bool{}
	for _, r := range cluster.Rows() {
		rows = append(rows, r.Type)
		if other, taken := numbers[r.Number]; taken || r.Number == 0 || r.Number >= 1<<15 {
			t.Errorf("%s has number %d, which is out of range or %q's", r.Name, r.Number, other)
		}
		if names[r.Name] {
			t.Errorf("name %q stands twice", r.Name)
		}
		numbers[r.Number], names[r.Name] = r.Name, true
	}
	slices.Sort(commands)
	slices.Sort(rows)
	if diff := cmp.Diff(commands, rows); diff != "" {
		t.Errorf("commands and rows differ (-failover +codec):\n%s", diff)
	}
}

func TestEntriesKeepTheirBytes(t *testing.T) {
	var out bytes.Buffer
	for i, e := range filled(t) {
		b, err := cluster.Encode(e)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&out, "%s %s %s\n", cluster.Rows()[i].Name, hex.EncodeToString(b[:3]), b[3:])
	}
	golden(t, "entries.golden", out.Bytes())
}

func TestEntriesComeBack(t *testing.T) {
	for _, want := range filled(t) {
		b, err := cluster.Encode(want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := cluster.Decode(b)
		if err != nil {
			t.Errorf("%T: %v", want.Command, err)
			continue
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%T: got %+v, want %+v", want.Command, got, want)
		}
	}
}

// TestEarlierEntriesAreRead: what was written before a command had its newest
// fields still means the same.
func TestEarlierEntriesAreRead(t *testing.T) {
	for _, tt := range []struct {
		number byte
		body   string
		want   failover.Command
	}{
		{0x15, `{"op":"op-7","hash":"p-2e1fb0cb"}`, failover.Approve{Op: "op-7", Hash: "p-2e1fb0cb"}},
		{0x17, `{"site":"moulin"}`, failover.EndPause{Site: "moulin"}},
	} {
		entry := append([]byte{1, 0, tt.number}, `{"id":"x","actor":"a","at":"2026-11-22T03:07:09Z","body":`+tt.body+`}`...)
		got, err := cluster.Decode(entry)
		if err != nil || got.Command != tt.want {
			t.Errorf("%s: got %+v, %v; want %+v", tt.body, got.Command, err, tt.want)
		}
	}
}

func TestLargeEntriesAreDeflated(t *testing.T) {
	c := failover.SetPause{Reason: strings.Repeat("maintenance of the whole network ", 1<<14)}
	b, err := cluster.Encode(cluster.Entry{ID: "id", Command: c})
	if err != nil {
		t.Fatal(err)
	}
	if len(b) > len(c.Reason)/10 {
		t.Errorf("%d bytes of reason became an entry of %d bytes", len(c.Reason), len(b))
	}
	e, err := cluster.Decode(b)
	if err != nil || e.Command != failover.Command(c) {
		t.Errorf("Decode: %v, same command: %v", err, e.Command == failover.Command(c))
	}
}

func TestEntryTooLargeIsRefused(t *testing.T) {
	noise := make([]byte, 2<<20)
	x := uint64(1)
	for i := range noise { // a linear congruence: deflate finds nothing
		x = x*6364136223846793005 + 1442695040888963407
		noise[i] = "0123456789abcdefghijklmnopqrstuv"[x>>59]
	}
	_, err := cluster.Encode(cluster.Entry{ID: "id", Command: failover.SetPause{Reason: string(noise)}})
	if !errors.Is(err, failover.ErrRefused) {
		t.Errorf("Encode of 2 MiB: %v, want ErrRefused", err)
	}
}

// entry builds bytes by hand: form, number, JSON.
func entry(form byte, number uint16, payload string) []byte {
	return append([]byte{form, byte(number >> 8), byte(number)}, payload...)
}

func TestDecodeRefuses(t *testing.T) {
	const ok = `{"id":"i","at":"2026-11-22T03:07:09Z","body":{"site":"quai"}}`
	bomb := func() []byte {
		out := bytes.NewBuffer(entry(2, 23, ""))
		w, err := flate.NewWriter(out, flate.BestSpeed)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(make([]byte, 17<<20)); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return out.Bytes()
	}
	for _, tc := range []struct {
		name string
		in   []byte
		want error
	}{
		{"nothing", nil, cluster.ErrMalformedEntry},
		{"a cut header", []byte{1, 0}, cluster.ErrMalformedEntry},
		{"form 0", entry(0, 23, ok), cluster.ErrMalformedEntry},
		{"a newer form", entry(9, 23, ok), cluster.ErrUnknownEntry},
		{"a newer type", entry(1, 32000, ok), cluster.ErrUnknownEntry},
		{"type 0", entry(1, 0, ok), cluster.ErrUnknownEntry},
		{"a newer field of the body", entry(1, 23, strings.Replace(ok, `"site"`, `"newer"`, 1)), cluster.ErrUnknownEntry},
		{"a body of another kind", entry(1, 23, strings.Replace(ok, `"quai"`, `7`, 1)), cluster.ErrUnknownEntry},
		{"no body", entry(1, 23, `{"id":"i","at":"2026-11-22T03:07:09Z"}`), cluster.ErrUnknownEntry},
		{"a newer field of the envelope", entry(1, 23, strings.Replace(ok, `"id"`, `"di"`, 1)), cluster.ErrMalformedEntry},
		{"cut JSON", entry(1, 23, ok[:len(ok)-1]), cluster.ErrMalformedEntry},
		{"more after the JSON", entry(1, 23, ok+"{}"), cluster.ErrMalformedEntry},
		{"what is not deflated", entry(2, 23, ok), cluster.ErrMalformedEntry},
		{"what inflates beyond all bounds", bomb(), cluster.ErrMalformedEntry},
		{"a huge entry", make([]byte, cluster.MaxEntry+1), cluster.ErrMalformedEntry},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if _, err := cluster.Decode(tc.in); !errors.Is(err, tc.want) {
				t.Errorf("Decode: %v, want %v", err, tc.want)
			}
		})
	}
	e, err := cluster.Decode(entry(1, 23, ok))
	if want := (failover.EndPause{Site: "quai"}); err != nil || e.Command != failover.Command(want) {
		t.Errorf("Decode of the good one: %+v, %v", e, err)
	}
}

func TestUnknownIgnorableEntryIsSkipped(t *testing.T) {
	e, err := cluster.Decode(entry(1, 1<<15|32000, `{"id":"i","at":"2026-11-22T03:07:09Z","body":{"what":1}}`))
	if err != nil || e.Command != nil || !e.Ignorable || e.ID != "i" {
		t.Errorf("Decode: %+v, %v; want an entry without command", e, err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte{})
	f.Add(entry(1, 23, `{"id":"i","at":"2026-11-22T03:07:09Z","body":{"site":"quai"}}`))
	f.Add(entry(1, 5, `{"id":"","at":"2026-11-22T03:07:09Z","body":{"spec":{"sites":{"a":{"mesh":"x"}}}}}`))
	f.Add(entry(1, 1<<15|32000, `{"body":null}`))
	for _, c := range []failover.Command{
		failover.Bootstrap{Network: "n", Generation: 1},
		failover.Report{Observer: "quai", Observations: []failover.Observation{{Site: "moulin", Target: "agent"}}},
		failover.SetPause{Reason: strings.Repeat("a", 1<<14)},
	} {
		b, err := cluster.Encode(cluster.Entry{ID: "id", Actor: "a", At: someTime(), Command: c})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		e, err := cluster.Decode(in)
		if err != nil {
			if !errors.Is(err, cluster.ErrUnknownEntry) && !errors.Is(err, cluster.ErrMalformedEntry) {
				t.Fatalf("Decode: %v, which is neither unknown nor malformed", err)
			}
			return
		}
		if e.Command == nil {
			return
		}
		again, err := cluster.Encode(e)
		if errors.Is(err, failover.ErrRefused) {
			return // larger than it came, as escapes can make it
		}
		if err != nil {
			t.Skipf("what was decoded cannot be written: %v", err) // a year beyond 9999
		}
		back, err := cluster.Decode(again)
		if err != nil {
			t.Fatalf("Decode of what was decoded: %v", err)
		}
		a, errA := json.Marshal(e)
		b, errB := json.Marshal(back)
		if errA != nil || errB != nil || !bytes.Equal(a, b) {
			t.Fatalf("came back changed (%v, %v):\n%s\n%s", errA, errB, a, b)
		}
	})
}
