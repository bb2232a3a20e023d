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
	case !slices.Contains(Effects(), f.Effect):
		return fmt.Errorf("fault effect %q: want one of %v", f.Effect, Effects())
	case (f.Effect == EffectDelay || f.Effect == EffectHoldLock) && f.Delay <= 0:
		return fmt.Errorf("fault %s: delay must be longer than 0", f.Effect)
	case f.Effect == EffectSkewClock && f.Delay == 0:
		return fmt.Errorf("fault %s: delay must say by how much, and may be negative", f.Effect)
	case (f.Effect == EffectHoldLock || f.Effect == EffectRevokePrivilege) && f.Text == "":
		return fmt.Errorf("fault %s: text must say which", f.Effect)
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
func (f *Faults) take(where, method, path string, hits func(Fault) bool) (Fault, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, a := range f.list {
		if !hits(a.Fault) || (a.Where != "" && a.Where != where) || (a.Match.Method != "" && a.Match.Method != method) || !glob(a.Match.Path, path) {
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
	suffer(f Fault, r *http.Request)
}

// proxied is a fake behind a proxy of its own, as pvedaemon is behind pveproxy.
type proxied interface {
	// needsBackend tells whether the proxy hands the request to the backend: "protected" in the schema.
	needsBackend(method, path string) bool
}

// WithFaults serves h under the faults in force for where. h should be the *PVE or *PBS itself, so that
// effects on its state reach it. Waits and lost answers are left to the driver as a Hint.
func WithFaults(where string, h http.Handler, faults *Faults) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path := strings.TrimPrefix(r.URL.Path, apiPrefix)
		f, hit := faults.take(where, r.Method, path, func(f Fault) bool { return f.concerns(h, r.Method, path) })
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

// concerns tells whether a fault can happen to a request of this fake at all.
func (f Fault) concerns(h http.Handler, method, path string) bool {
	info, ok := f.Effect.info()
	if !ok || !info.PVEOnly {
		return ok
	}
	p, ok := h.(proxied)
	switch f.Effect {
	case EffectBackendDown, EffectProxyCut, EffectBackendClosed:
		return ok && p.needsBackend(method, path)
	}
	return ok
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
	case EffectBackendDown:
		return proxyAnswer(statusConnect, "Connection refused"), Hint{}
	case EffectBackendClosed:
		return proxyAnswer(statusProxyOther, "Too many redirections"), Hint{}
	}
	if f.Effect.changesWorld() {
		change(h, f, r)
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
		change(h, f, r)
	case EffectTruncate:
		a.body.Truncate(a.body.Len() / 2)
	case EffectProxyCut:
		*a = *proxyAnswer(statusTimeout, "Connection timed out")
		hint = Hint{Delay: proxyPatience}
	}
	return hint
}

func change(h http.Handler, f Fault, r *http.Request) {
	if s, ok := h.(sufferer); ok {
		s.suffer(f, r)
	}
}
