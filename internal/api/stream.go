package api

import (
	"fmt"
	"net/http"
	"sort"
	"strconv"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
)

// KindEvent is one event of the stream.
const KindEvent = "Event"

// Pace of the stream of events.
const (
	lookForEvents = 500 * time.Millisecond
	streamAlive   = 15 * time.Second // a comment, so that a reader knows a quiet line from a dead one
)

// stream sends the events that match as server-sent events, as they happen. since is
// as for GET /v1/events, and what is not given begins now; a reader that comes back
// names the last id that it has (Last-Event-ID).
func (h *handler) stream(w http.ResponseWriter, r *http.Request) {
	if _, ok := ActorFrom(r.Context()); !ok {
		h.refuse(w, r, notAllowed("nobody", "the caller is not known"))
		return
	}
	q := r.URL.Query()
	if id := r.Header.Get("Last-Event-ID"); id != "" {
		q.Set("since", id)
	}
	if q.Get("since") == "" {
		q.Set("since", strconv.FormatUint(h.Backend.State().Index, 10))
	}
	match, err := eventFilter(q, h.Backend.Now())
	if err != nil {
		h.refuse(w, r, err)
		return
	}
	end, ok := h.callers.stream(r)
	if !ok {
		h.tooMany(w, r, streamAlive)
		return
	}
	defer end()
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	h.follow(w, r, match)
}

// follow writes until the reader goes away or is too slow to read.
func (h *handler) follow(w http.ResponseWriter, r *http.Request, match func(failover.Event) bool) {
	control := http.NewResponseController(w)
	tick := time.NewTicker(lookForEvents)
	defer tick.Stop()
	var last uint64 // newest entry whose events were looked at
	wrote := time.Time{}
	for {
		s := h.Backend.State()
		out := []byte(nil)
		if s.Index > last {
			out, last = h.eventsAfter(s, last, match), s.Index
		}
		if len(out) == 0 && time.Since(wrote) >= streamAlive {
			out = []byte(": alive\n\n")
		}
		if len(out) > 0 {
			if control.SetWriteDeadline(time.Now().Add(streamWrite)) != nil {
				return
			}
			if _, err := w.Write(out); err != nil || control.Flush() != nil {
				return
			}
			wrote = time.Now()
		}
		select {
		case <-r.Context().Done():
			return
		case <-tick.C:
		}
	}
}

// eventsAfter writes the events of entries after last. Only the last one of an entry
// bears its number: a reader that was cut off between two of one entry gets all of
// them again rather than not.
func (h *handler) eventsAfter(s *failover.State, last uint64, match func(failover.Event) bool) []byte {
	from := sort.Search(len(s.Events), func(i int) bool { return s.Events[i].Stamp.Index > last })
	var out []byte
	for i := from; i < len(s.Events); i++ {
		e := s.Events[i]
		if !match(e) {
			continue
		}
		body, err := Marshal(KindEvent, e)
		if err != nil {
			h.Log.Error("event not encoded", "err", err)
			continue
		}
		if i+1 == len(s.Events) || s.Events[i+1].Stamp.Index > e.Stamp.Index {
			out = fmt.Appendf(out, "id: %d\n", e.Stamp.Index)
		}
		out = append(out, sseEvent("event", body)...)
	}
	return out
}
