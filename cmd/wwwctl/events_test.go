package main

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"github.com/raoull/worldwidewelsh/failover"
)

// sayer is an output that does something when a word is written to it for the first time.
type sayer struct {
	bytes.Buffer
	then map[string]func()
}

func (s *sayer) Write(b []byte) (int, error) {
	for word, do := range s.then {
		if strings.Contains(string(b), word) {
			delete(s.then, word)
			do()
		}
	}
	return s.Buffer.Write(b)
}

// What is followed begins with what happened before and goes on with what happens,
// each once.
func TestEventsFollow(t *testing.T) {
	for _, format := range []string{"", " -o json"} {
		b := newBackend(t)
		apply := func(c failover.Command) {
			if err := b.Apply(c); err != nil {
				t.Error(err)
			}
		}
		apply(failover.SetPause{Site: "quai", Reason: "first-of-all"})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		out := &sayer{then: map[string]func(){
			"first-of-all": func() { apply(failover.SetPause{Site: "moulin", Reason: "second-then"}) },
			"second-then":  cancel,
		}}
		got := wwwctl(ctx, agentOf(t, b), "events --follow"+format, func(c *console, _ map[string]string) { c.Out = out })
		text := out.String()
		if got.code != exitOK || strings.Count(text, "first-of-all") != 1 || strings.Count(text, "second-then") != 1 {
			t.Errorf("exit %d: %s\n%s", got.code, text, got.errOut)
		}
		if format != "" && !strings.Contains(text, `"kind":"Event"`) {
			t.Errorf("no event in JSON: %s", text)
		}
	}
}
