package lab

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// The headers that carry a Hint from a passive handler to its driver. No client sees them: TakeHint
// removes them.
const (
	hintDelay = "X-Lab-Delay"
	hintReply = "X-Lab-Reply"
	hintCrash = "X-Lab-Crash"
)

// Reply says what becomes of an answer on its way back.
type Reply string

// The fates of an answer: it arrives, the connection breaks instead (the work is done), or nothing ever
// comes (the work is done or not; the caller runs into its deadline).
const (
	ReplyArrives Reply = ""
	ReplyDropped Reply = "dropped"
	ReplyHangs   Reply = "hangs"
)

// Hint is what a passive handler asks of its driver: to hold the answer back for Delay, to lose it, to
// take the whole host Crash ("pve:moulin") off the network. The work of the request is done already.
type Hint struct {
	Delay time.Duration
	Reply Reply
	Crash string
}

// TakeHint reads the hint out of an answer's header and removes it.
func TakeHint(h http.Header) Hint {
	hint := Hint{Reply: Reply(h.Get(hintReply)), Crash: h.Get(hintCrash)}
	if text := h.Get(hintDelay); text != "" {
		hint.Delay, _ = time.ParseDuration(text) // what put has written
	}
	for _, name := range []string{hintDelay, hintReply, hintCrash} {
		h.Del(name)
	}
	return hint
}

func (h Hint) put(to http.Header) {
	if h.Reply != ReplyArrives {
		to.Set(hintReply, string(h.Reply))
	}
	if h.Crash != "" {
		to.Set(hintCrash, h.Crash)
	}
	if h.Delay > 0 {
		to.Set(hintDelay, h.Delay.String())
	}
}

// reasonWriter is a ResponseWriter that can send a reason phrase of the handler's choice, which pveproxy
// uses for its error texts.
type reasonWriter interface {
	WriteReason(status int, reason string)
}

// answer is a whole answer in memory; it is the ResponseWriter for in-process calls.
type answer struct {
	header http.Header
	status int
	reason string
	body   bytes.Buffer
}

func newAnswer() *answer { return &answer{header: http.Header{}} }

func (a *answer) Header() http.Header { return a.header }

func (a *answer) Write(b []byte) (int, error) {
	if a.status == 0 {
		a.WriteHeader(http.StatusOK)
	}
	return a.body.Write(b)
}

func (a *answer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
}

// WriteReason sends the status line.
func (a *answer) WriteReason(status int, reason string) {
	a.WriteHeader(status)
	a.reason = reason
}

// send writes the answer to w with its reason phrase. net/http has no way to set one, so over a real
// connection an error takes the connection over, writes the bytes and closes it: pveproxy closes after
// every status >= 400 anyway.
func (a *answer) send(w http.ResponseWriter) {
	if a.status == 0 {
		a.status = http.StatusOK
	}
	if next, ok := w.(*answer); ok && next.status == 0 && len(next.header) == 0 {
		*next = *a // in memory, and untouched
		return
	}
	if rw, ok := w.(reasonWriter); ok {
		maps.Copy(w.Header(), a.header)
		rw.WriteReason(a.status, a.reason)
		_, _ = w.Write(a.body.Bytes()) // into memory
		return
	}
	if a.status >= 400 && a.reason != "" && a.header.Get(hintDelay)+a.header.Get(hintReply)+a.header.Get(hintCrash) == "" {
		if conn, rw, err := http.NewResponseController(w).Hijack(); err == nil {
			_, _ = rw.Write(a.wire()) // a client that left needs no answer
			_ = rw.Flush()
			_ = conn.Close()
			return
		}
	}
	maps.Copy(w.Header(), a.header)
	w.WriteHeader(a.status)
	_, _ = w.Write(a.body.Bytes()) // a client that left needs no answer
}

// wire returns the bytes of the answer as HTTP/1.1 with Connection: close.
func (a *answer) wire() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "HTTP/1.1 %03d %s\r\n", a.status, a.reason)
	for _, name := range slices.Sorted(maps.Keys(a.header)) {
		if name == "Content-Length" || name == "Connection" {
			continue
		}
		for _, v := range a.header[name] {
			fmt.Fprintf(&b, "%s: %s\r\n", name, v)
		}
	}
	fmt.Fprintf(&b, "Content-Length: %d\r\nConnection: close\r\n\r\n", a.body.Len())
	b.Write(a.body.Bytes())
	return b.Bytes()
}

func (a *answer) response(req *http.Request) *http.Response {
	if a.status == 0 {
		a.status = http.StatusOK
	}
	reason := a.reason
	if reason == "" {
		reason = http.StatusText(a.status)
	}
	return &http.Response{
		Status: strconv.Itoa(a.status) + " " + reason, StatusCode: a.status,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: a.header,
		Body: io.NopCloser(bytes.NewReader(a.body.Bytes())), ContentLength: int64(a.body.Len()), Request: req,
	}
}

type inProcess struct{ h http.Handler }

// InProcess returns a transport that calls h on the caller's goroutine, without sockets or goroutines.
// Hints stay in the response's header for the caller to take with TakeHint: it charges the delay to the
// actor or loses the answer.
func InProcess(h http.Handler) http.RoundTripper { return inProcess{h} }

// RoundTrip calls the handler. The only error is that of a request context that has ended.
func (t inProcess) RoundTrip(req *http.Request) (*http.Response, error) {
	body := req.Body
	if body == nil {
		body = http.NoBody
	}
	defer func() { _ = body.Close() }() // the contract of RoundTripper; nothing to learn from the error
	if err := req.Context().Err(); err != nil {
		return nil, err
	}
	r := req.WithContext(req.Context()) // a copy; handlers leave the header as it is
	r.RequestURI = req.URL.RequestURI()
	r.Body = body
	r.RemoteAddr = "127.0.0.1:0"
	if r.Host == "" {
		r.Host = req.URL.Host
	}
	a := newAnswer()
	t.h.ServeHTTP(a, r)
	return a.response(req), nil
}

// Waiting makes a passive handler behave in time, for real servers: it calls h at once, then waits with
// wait for the hinted delay, breaks the connection of a dropped answer, keeps a hanging one until the
// client leaves, and calls crash (may be nil) with the host of a hinted crash. Answers without a hint
// pass through with their reason phrase.
func Waiting(h http.Handler, wait func(context.Context, time.Duration) error, crash func(where string)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a := newAnswer()
		h.ServeHTTP(a, r)
		hint := TakeHint(a.header)
		if hint.Crash != "" && crash != nil {
			crash(hint.Crash)
		}
		if hint.Delay > 0 && wait(r.Context(), hint.Delay) != nil {
			return // the client left
		}
		switch hint.Reply {
		case ReplyHangs:
			<-r.Context().Done()
			panic(http.ErrAbortHandler) // net/http's own way to close without an answer; it is not logged
		case ReplyDropped:
			panic(http.ErrAbortHandler)
		default:
			a.send(w)
		}
	})
}
