package chaos

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// Names of the files of a round, in its directory.
const (
	PlanFile     = "plan.json"
	TimelineFile = "timeline.jsonl"
	labDir       = "lab" // the network: logs of agents and hosts
)

// Entry is one line of a timeline.
type Entry struct {
	At    time.Time `json:"at"`
	After float64   `json:"after"` // seconds since the round began
	What  string    `json:"what"`  // phase, fault, end, operator, violation, state, note
	Text  string    `json:"text"`
	Data  any       `json:"data,omitempty"`
}

// timeline writes what happens in a round, one JSON object a line, as it happens.
type timeline struct {
	begun time.Time
	mu    sync.Mutex
	file  *os.File
	say   func(string)
}

func newTimeline(dir string, say func(string)) (*timeline, error) {
	f, err := os.OpenFile(filepath.Join(dir, TimelineFile), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("begin timeline: %w", err)
	}
	return &timeline{begun: time.Now(), file: f, say: say}, nil
}

func (t *timeline) add(what, text string, data any) {
	now := time.Now()
	e := Entry{At: now, After: now.Sub(t.begun).Round(time.Millisecond).Seconds(), What: what, Text: text, Data: data}
	b, err := json.Marshal(e)
	if err != nil {
		e.Data = fmt.Sprint(data)
		b, _ = json.Marshal(e) // of texts and numbers only
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	_, _ = t.file.Write(append(b, '\n')) // a disk that is full is told at the end, by close
	if t.say != nil && what != "state" {
		t.say(fmt.Sprintf("[%6.1fs] %-9s %s", e.After, what, text))
	}
}

func (t *timeline) close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.file.Sync(); err != nil {
		return fmt.Errorf("end timeline: %w", err)
	}
	return t.file.Close()
}
