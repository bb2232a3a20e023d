package lab

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// Effect names what a fault does to the requests that it matches.
type Effect string

// The effects. Those marked "before" act on the fake before the request is served, which then meets the
// changed world.
const (
	EffectDelay           Effect = "delay"            // serve, answer Delay later
	EffectHang            Effect = "hang"             // do nothing and never answer
	EffectStatus          Effect = "status"           // do nothing, answer Status with reason Text
	EffectDropReply       Effect = "drop-reply"       // serve, lose the answer
	EffectTwice           Effect = "twice"            // serve twice, answer what the second gave
	EffectCrashHost       Effect = "crash-host"       // serve, then the host loses power; no answer
	EffectFillStorage     Effect = "fill-storage"     // before: the storage named Text has no room left
	EffectLoseSnapshot    Effect = "lose-snapshot"    // before: snapshot Text ("ns:vm/100/TIME"; "" = newest) is gone
	EffectCorruptSnapshot Effect = "corrupt-snapshot" // before: same, a chunk of it is bad
	EffectWrongKey        Effect = "wrong-key"        // before: storage entry Text ("" = every PBS entry) holds another key
	EffectRevokeToken     Effect = "revoke-token"     // before: token Text ("" = the caller's) is refused
	EffectHTML            Effect = "html"             // do nothing, answer 200 with an HTML page
	EffectTruncate        Effect = "truncate"         // serve, answer the first half of the body
)

var effects = []Effect{
	EffectDelay, EffectHang, EffectStatus, EffectDropReply, EffectTwice, EffectCrashHost, EffectFillStorage,
	EffectLoseSnapshot, EffectCorruptSnapshot, EffectWrongKey, EffectRevokeToken, EffectHTML, EffectTruncate,
}

// Effects returns the catalogue of effects.
func Effects() []Effect { return slices.Clone(effects) }

// Match selects requests. Zero fields match everything.
type Match struct {
	Method string `json:"method,omitempty"`
	Path   string `json:"path,omitempty"` // "*" stands for any run of characters, also "/"; without /api2/json
	Skip   int    `json:"skip,omitempty"` // let this many matching requests pass first
}

// Fault is one thing that goes wrong.
type Fault struct {
	Where  string        `json:"where"` // "pve:moulin", "pbs:quai"; "" = everywhere
	Match  Match         `json:"match"`
	Effect Effect        `json:"effect"`
	Times  int           `json:"times,omitempty"` // how many requests it hits; 0 = all until cleared
	Delay  time.Duration `json:"delay,omitempty"`
	Status int           `json:"status,omitempty"`
	Text   string        `json:"text,omitempty"`
}

// Validate returns what is wrong with a fault.
func (f Fault) Validate() error {
	switch {
	case !slices.Contains(effects, f.Effect):
		return fmt.Errorf("fault effect %q: want one of %v", f.Effect, effects)
	case f.Effect == EffectDelay && f.Delay <= 0:
		return fmt.Errorf("fault %s: delay must be longer than 0", f.Effect)
	case f.Effect == EffectStatus && (f.Status < 200 || f.Status > 999):
		return fmt.Errorf("fault %s: status %d is not in 200..999", f.Effect, f.Status)
	case f.Times < 0 || f.Match.Skip < 0:
		return fmt.Errorf("fault %s: times and skip must not be negative", f.Effect)
	}
	return nil
}

// Faults is the list of faults in force. The zero value is an empty list; it is safe for concurrent use.
type Faults struct {
	mu   sync.Mutex
	list []*armed
}

type armed struct {
	Fault
	seen, hits int
}

// Add puts a fault in force, after those that are.
func (f *Faults) Add(x Fault) error {
	if err := x.Validate(); err != nil {
		return fmt.Errorf("add fault: %w", err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.list = append(f.list, &armed{Fault: x})
	return nil
}

// List returns the faults still in force, oldest first.
func (f *Faults) List() []Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := []Fault{}
	for _, a := range f.list {
		if a.Times == 0 || a.hits < a.Times {
			out = append(out, a.Fault)
		}
	}
	return out
}

// Clear ends every fault. What a fault has already done to a fake stays done.
func (f *Faults) Clear() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.list = nil
}

// take returns the first fault that hits the request and counts the hit.
func (f *Faults) take(where, method, path string) (Fault, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, a := range f.list {
		if (a.Where != "" && a.Where != where) || (a.Match.Method != "" && a.Match.Method != method) || !glob(a.Match.Path, path) {
			continue
		}
		a.seen++
		if a.seen <= a.Match.Skip || (a.Times > 0 && a.hits >= a.Times) {
			continue
		}
		a.hits++
		return a.Fault, true
	}
	return Fault{}, false
}

func glob(pattern, s string) bool {
	if pattern == "" {
		return true
	}
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return s == pattern
	}
	if !strings.HasPrefix(s, parts[0]) {
		return false
	}
	s = s[len(parts[0]):]
	for _, p := range parts[1 : len(parts)-1] {
		i := strings.Index(s, p)
		if i < 0 {
			return false
		}
		s = s[i+len(p):]
	}
	return strings.HasSuffix(s, parts[len(parts)-1])
}

// sufferer is a fake whose world a fault can change.
type sufferer interface {
	suffer(e Effect, text string, r *http.Request)
}

// WithFaults serves h under the faults in force for where. h should be the *PVE or *PBS itself, so that
// effects on its state reach it. Waits and lost answers are left to the driver as a Hint.
func WithFaults(where string, h http.Handler, faults *Faults) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f, hit := faults.take(where, r.Method, strings.TrimPrefix(r.URL.Path, apiPrefix))
		if !hit {
			h.ServeHTTP(w, r)
			return
		}
		a, hint := serveFault(f, h, r)
		if f.Effect == EffectCrashHost {
			hint.Crash = where
		}
		hint.put(a.header)
		a.send(w)
	})
}

func serveFault(f Fault, h http.Handler, r *http.Request) (*answer, Hint) {
	a := newAnswer()
	switch f.Effect {
	case EffectHang:
		a.status = http.StatusServiceUnavailable
		return a, Hint{Reply: ReplyHangs}
	case EffectStatus:
		a.WriteReason(f.Status, f.Text)
		return a, Hint{Delay: f.Delay}
	case EffectHTML:
		a.header.Set("Content-Type", "text/html")
		a.body.WriteString("<!DOCTYPE html>\n<html><head><title>Bad gateway</title></head><body>Bad gateway</body></html>\n")
		return a, Hint{}
	case EffectTwice:
		body, err := io.ReadAll(r.Body)
		if err != nil {
			a.status = http.StatusBadRequest
			return a, Hint{Reply: ReplyDropped}
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		h.ServeHTTP(newAnswer(), r)
		r.Body = io.NopCloser(bytes.NewReader(body))
		h.ServeHTTP(a, r)
		return a, Hint{}
	case EffectFillStorage, EffectLoseSnapshot, EffectCorruptSnapshot, EffectWrongKey, EffectRevokeToken:
		change(h, f.Effect, f.Text, r)
	}
	h.ServeHTTP(a, r)
	return a, afterServing(f, h, r, a)
}

func afterServing(f Fault, h http.Handler, r *http.Request, a *answer) Hint {
	hint := TakeHint(a.header)
	switch f.Effect {
	case EffectDelay:
		hint.Delay += f.Delay
	case EffectDropReply:
		hint.Reply = ReplyDropped
	case EffectCrashHost:
		hint.Reply = ReplyHangs
		change(h, f.Effect, f.Text, r)
	case EffectTruncate:
		a.body.Truncate(a.body.Len() / 2)
	}
	return hint
}

func change(h http.Handler, e Effect, text string, r *http.Request) {
	if s, ok := h.(sufferer); ok {
		s.suffer(e, text, r)
	}
}
