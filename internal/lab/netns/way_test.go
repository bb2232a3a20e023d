package netns_test

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/lab/netns"
)

func TestCutBlocksWays(t *testing.T) {
	for name, tt := range map[string]struct {
		cut          netns.Cut
		blocks, open [][2]string // over the mesh
	}{
		"a site":      {netns.Cut{At: "a"}, [][2]string{{"a", "b"}, {"b", "a"}, {"c", "a"}}, [][2]string{{"b", "c"}}},
		"a way":       {netns.Cut{At: "a", To: "b"}, [][2]string{{"a", "b"}, {"b", "a"}}, [][2]string{{"a", "c"}, {"c", "a"}}},
		"one way":     {netns.Cut{At: "a", To: "b", Only: netns.OnlyOut}, [][2]string{{"a", "b"}, {"b", "a"}}, [][2]string{{"a", "c"}}},
		"public only": {netns.Cut{At: "a", Path: failover.PathPublic}, nil, [][2]string{{"a", "b"}}},
		"loss":        {netns.Cut{At: "a", Loss: 50}, nil, [][2]string{{"a", "b"}}},
		"dns":         {netns.Cut{At: "a", DNS: true}, nil, [][2]string{{"a", "b"}}},
	} {
		for _, way := range tt.blocks {
			if !tt.cut.Blocks(way[0], way[1], failover.PathMesh) {
				t.Errorf("%s: %v is open, want it blocked", name, way)
			}
		}
		for _, way := range tt.open {
			if tt.cut.Blocks(way[0], way[1], failover.PathMesh) {
				t.Errorf("%s: %v is blocked, want it open", name, way)
			}
		}
	}
	if c := (netns.Cut{At: "a", Loss: 50}); !c.Touches("b", "a", failover.PathMesh) || c.Touches("b", "c", failover.PathMesh) {
		t.Errorf("%+v touches the wrong ways", c)
	}
}

// TestSetCuts cuts lines between two sites for real and looks at what passes.
func TestSetCuts(t *testing.T) {
	need(t)
	l := routedLab(t)
	w, err := netns.NewWorld(t.Context(), l, 7)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	// Nobody listens: whoever is reached refuses, and a cut is silent.
	reaches := func(from string, to int) bool {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		conn, err := w.DialAt(ctx, from, "tcp", netip.AddrPortFrom(l.Plan().Public(to), 443))
		if err == nil {
			conn.Close()
			return true
		}
		if timeout, ok := err.(net.Error); ok && timeout.Timeout() {
			return false
		}
		return ctx.Err() == nil
	}
	for name, tt := range map[string]struct {
		cuts             []netns.Cut
		toFabrique, quai bool // from moulin
	}{
		"nothing":      {nil, true, true},
		"the line":     {[]netns.Cut{{At: "moulin"}}, false, false},
		"one way":      {[]netns.Cut{{At: "moulin", To: "fabrique", Only: netns.OnlyOut}}, false, true},
		"the way back": {[]netns.Cut{{At: "moulin", To: "quai", Only: netns.OnlyIn, Path: failover.PathPublic}}, true, false},
		"mesh only":    {[]netns.Cut{{At: "moulin", Path: failover.PathMesh}}, true, true},
		"two":          {[]netns.Cut{{At: "moulin", To: "quai"}, {At: "moulin", To: "fabrique"}}, false, false},
		"dns only":     {[]netns.Cut{{At: "moulin", DNS: true}, {At: "moulin", Loss: 1, Path: failover.PathMesh}}, true, true},
	} {
		if err := w.SetCuts(t.Context(), "moulin", tt.cuts); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got := reaches("moulin", 1); got != tt.toFabrique {
			t.Errorf("%s: moulin reaches fabrique: %v, want %v", name, got, tt.toFabrique)
		}
		if got := reaches("moulin", 2); got != tt.quai {
			t.Errorf("%s: moulin reaches quai: %v, want %v", name, got, tt.quai)
		}
	}
	for name, c := range map[string]netns.Cut{
		"nowhere": {At: "nowhere"}, "to nowhere": {At: "moulin", To: "nowhere"}, "to itself": {At: "moulin", To: "moulin"},
		"a path": {At: "moulin", Path: "lan"}, "too much": {At: "moulin", Loss: 101}, "another's": {At: "quai"}, "a direction": {At: "moulin", Only: "up"},
	} {
		if err := w.SetCuts(t.Context(), "moulin", []netns.Cut{c}); err == nil {
			t.Errorf("%s: no error, want one", name)
		}
	}
}
