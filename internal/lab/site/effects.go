package site

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Effect is a request that reached a PVE host and could change something there. A
// request that a fault serves twice is two of them; one that it drops is none.
type Effect struct {
	At     time.Time `json:"at"`
	Host   string    `json:"host"`
	Method string    `json:"method"`
	Path   string    `json:"path"`            // without /api2/json
	ID     int       `json:"id,omitempty"`    // of the guest that it is about
	Force  bool      `json:"force,omitempty"` // it would overwrite what is there
	Status int       `json:"status"`          // of the answer, whether it arrived or not
}

// EffectsLog is where a site's process notes the effects, one JSON object a line. It
// is only ever appended to: who reads it misses nothing, whatever is killed.
func EffectsLog(dir, site string) string { return secretFile(dir, site, "effects.jsonl") }

// ReadEffects returns the whole lines of a log from an offset on, and the next offset.
// A log that is not there yet has none.
func ReadEffects(path string, from int64) ([]Effect, int64, error) {
	f, err := os.Open(path)
	if os.IsNotExist(err) {
		return nil, from, nil
	}
	if err != nil {
		return nil, from, fmt.Errorf("read effects: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.NewSectionReader(f, from, 1<<40))
	if err != nil {
		return nil, from, fmt.Errorf("read effects: %w", err)
	}
	whole := bytes.LastIndexByte(b, '\n') + 1
	var out []Effect
	for line := range bytes.Lines(b[:whole]) {
		var e Effect
		if err := json.Unmarshal(line, &e); err != nil {
			// Torn by a kill, with a whole line after it.
			continue
		}
		out = append(out, e)
	}
	return out, from + int64(whole), nil
}

// effects appends to a log.
type effects struct {
	path string
	mu   sync.Mutex // keeps lines whole
}

var (
	effectPath = regexp.MustCompile(`^/nodes/[^/]+/(?:qemu|lxc)/(\d+)(?:/|$)`)
	bodyID     = regexp.MustCompile(`(?:"vmid":\s*"?|(?:^|&)vmid=)(\d+)`)
	bodyForce  = regexp.MustCompile(`"force":\s*(?:1|true|"1")|(?:^|&)force=1`)
)

// on returns what serves a request of one host and notes it.
func (e *effects) on(host string) func(http.Handler, http.ResponseWriter, *http.Request) {
	return func(next http.Handler, w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			next.ServeHTTP(w, r)
			return
		}
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequest))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		x := Effect{
			At: time.Now(), Host: host, Method: r.Method, Path: strings.TrimPrefix(r.URL.Path, "/api2/json"),
			Force: bodyForce.Match(body) || bodyForce.MatchString(r.URL.RawQuery),
		}
		id := effectPath.FindStringSubmatch(x.Path)
		if id == nil {
			id = bodyID.FindStringSubmatch(string(body))
		}
		if id != nil {
			x.ID, _ = strconv.Atoi(id[1]) // digits, or too many: then of no guest
		}
		seen := &statusWriter{ResponseWriter: w, status: http.StatusOK}
		next.ServeHTTP(seen, r)
		x.Status = seen.status
		e.add(x)
	}
}

func (e *effects) add(x Effect) {
	b, err := json.Marshal(x)
	if err != nil {
		return // it is made of numbers and texts
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	f, err := os.OpenFile(e.path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return // the lab's directory is being removed
	}
	defer f.Close()
	_, _ = f.Write(append(b, '\n')) // as above
}

// statusWriter remembers the status of an answer.
type statusWriter struct {
	http.ResponseWriter
	status int
}

// WriteHeader notes the status.
func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// WriteReason notes a status with its own reason; see lab.Waiting.
func (w *statusWriter) WriteReason(status int, reason string) {
	w.status = status
	if rw, ok := w.ResponseWriter.(interface{ WriteReason(int, string) }); ok {
		rw.WriteReason(status, reason)
		return
	}
	w.ResponseWriter.WriteHeader(status)
}
