package api

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/message"
)

//go:embed page.html page.css page.js
var pageFiles embed.FS

var pageTemplate = template.Must(template.ParseFS(pageFiles, "page.html"))

// Bounds of the page.
const (
	pageEvents   = 15
	maxStreams   = 16
	streamEvery  = 2 * time.Second
	streamWrite  = 10 * time.Second // a reader that takes longer is cut off
	streamLength = 10 * time.Minute // browsers come back by themselves
)

// NewPageServer returns the server of the management address: the status page,
// and what metrics answers. It changes nothing and asks nobody who they are.
func NewPageServer(b Backend, metrics http.Handler, log *slog.Logger) *http.Server {
	p := &page{backend: b, log: log, streams: make(chan struct{}, maxStreams), every: streamEvery}
	return newServer(pageRoutes(p, metrics), log)
}

func pageRoutes(p *page, metrics http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", metrics)
	mux.HandleFunc("GET /{$}", p.whole)
	mux.HandleFunc("GET /live", p.live)
	files := http.FileServerFS(pageFiles)
	mux.Handle("GET /page.css", files)
	mux.Handle("GET /page.js", files)
	return pageHeaders(mux)
}

type page struct {
	backend Backend
	log     *slog.Logger
	streams chan struct{}
	every   time.Duration
}

// pageHeaders keeps the page to itself: nothing of others is loaded, and nobody frames it.
func pageHeaders(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}

func (p *page) whole(w http.ResponseWriter, _ *http.Request) {
	b, err := p.render("page")
	if err != nil {
		p.log.Error("page not written", "err", err)
		http.Error(w, "the page could not be written", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write(b) // a reader that has gone away is no event of ours
}

func (p *page) render(name string) ([]byte, error) {
	var b bytes.Buffer
	err := pageTemplate.ExecuteTemplate(&b, name, pageOf(p.backend.State(), p.backend.Local(), p.backend.Now()))
	return b.Bytes(), err
}

// live sends what the page shows, as server-sent events, whenever it differs.
func (p *page) live(w http.ResponseWriter, r *http.Request) {
	select {
	case p.streams <- struct{}{}:
		defer func() { <-p.streams }()
	default:
		http.Error(w, "too many readers", http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	control := http.NewResponseController(w)
	tick := time.NewTicker(p.every)
	defer tick.Stop()
	var last []byte
	for end := time.Now().Add(streamLength); time.Now().Before(end); {
		b, err := p.render("view")
		if err != nil {
			p.log.Error("page not written", "err", err)
			return
		}
		if !bytes.Equal(b, last) {
			last = b
			if control.SetWriteDeadline(time.Now().Add(streamWrite)) != nil {
				return
			}
			if _, err := w.Write(sseEvent("view", b)); err != nil || control.Flush() != nil {
				return
			}
		}
		select {
		case <-r.Context().Done():
			return
		case <-tick.C:
		}
	}
}

// sseEvent writes one server-sent event: each line of its data has a prefix.
func sseEvent(name string, data []byte) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "event: %s\n", name)
	for line := range bytes.Lines(data) {
		fmt.Fprintf(&b, "data: %s\n", bytes.TrimRight(line, "\r\n"))
	}
	b.WriteByte('\n')
	return b.Bytes()
}

// pageHeads are the words and colour of each headline.
var pageHeads = map[failover.Headline][2]string{
	failover.HeadLoss:     {"Loss in progress", "bad"},
	failover.HeadFailover: {"Failover in progress", "warn"},
	failover.HeadFailback: {"Failback in progress", "warn"},
	failover.HeadIsolated: {"Isolated", "bad"},
	failover.HeadNoQuorum: {"No quorum", "bad"},
	failover.HeadDiverged: {"Diverged", "warn"},
	failover.HeadAway:     {"Away from home", "warn"},
	failover.HeadDegraded: {"Degraded", "warn"},
	failover.HeadPaused:   {"Paused", "warn"},
	failover.HeadHealthy:  {"Healthy", "good"},
}

type pageData struct {
	Words, Tone, Network, Age, At string
	From, Leader                  failover.SiteID // Leader is empty where none is heard
	Quorum                        failover.Quorum
	Armed                         bool
	Unwell                        []string
	Todo, Events                  []pageReason
	Ops                           []pageOp
	Sites                         []pageSite
	Guests                        []pageGuest
	Counts                        failover.Counts
}

type pageReason struct{ Code, Text, Hint, At string }

type pageOp struct {
	failover.OpView
	Percent int64
	Left    string
	Guests  []pageRun
}

type pageRun struct {
	failover.OpGuestView
	Percent int64
	Stuck   string
}

type pageSite struct {
	failover.SiteView
	Tone string
}

type pageGuest struct {
	failover.GuestView
	Why string
}

func pageOf(s *failover.State, local failover.LocalView, now time.Time) pageData {
	st := failover.Explain(s, local, now)
	head := pageHeads[st.Headline]
	out := pageData{
		Words: head[0], Tone: head[1], Network: st.Network, From: local.Site, Age: local.LastContact.Round(time.Second).String(),
		At: now.UTC().Format("2 Jan 2006 15:04:05 UTC"), Quorum: st.Quorum, Armed: st.Armed, Unwell: local.Unwell, Counts: st.Counts,
	}
	if local.HasLeader {
		out.Leader = st.Leader
	}
	for _, r := range st.Todo {
		out.Todo = append(out.Todo, reasonOn(r))
	}
	for _, op := range st.Ops {
		if !op.Phase.Ended() {
			out.Ops = append(out.Ops, opOn(op))
		}
	}
	tones := map[string]string{"up": "good", "lost": "bad", "isolated": "bad"}
	for _, v := range st.Sites {
		tone, ok := tones[v.State]
		if !ok {
			tone = "warn"
		}
		out.Sites = append(out.Sites, pageSite{v, tone})
	}
	for _, g := range failover.ExplainGuests(s, now) {
		row := pageGuest{GuestView: g}
		if !g.Ready {
			row.Why = reasonOn(g.NotReady).Text
		}
		out.Guests = append(out.Guests, row)
	}
	for _, e := range slices.Backward(s.Events[max(0, len(s.Events)-pageEvents):]) {
		r := reasonOn(e.Reason)
		r.At = e.Stamp.At.UTC().Format("2 Jan 15:04:05")
		out.Events = append(out.Events, r)
	}
	return out
}

func opOn(op failover.OpView) pageOp {
	out := pageOp{OpView: op, Percent: share(op.Bytes, op.Total)}
	if op.Remaining > 0 {
		out.Left = op.Remaining.Round(time.Second).String()
	}
	for _, g := range op.Guests {
		out.Guests = append(out.Guests, pageRun{g, share(g.Bytes, g.Total), reasonOn(g.Stuck).Text})
	}
	return out
}

func share(part, whole int64) int64 {
	if whole <= 0 {
		return 0
	}
	return min(100, part*100/whole)
}

func reasonOn(r failover.Reason) pageReason {
	if r.IsZero() {
		return pageReason{}
	}
	return pageReason{
		Code: r.Code, Text: strings.TrimSpace(message.Text(message.English, r.Code, r.Args)), Hint: message.Hint(message.English, r.Code, r.Args),
	}
}
