package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/raoull/worldwidewelsh/internal/lab"
	"github.com/raoull/worldwidewelsh/internal/lab/site"
)

const maxControlBody = 64 << 10

// supervisor is what the control socket needs of a room.
type supervisor interface {
	view(ctx context.Context) roomView
	act(ctx context.Context, verb, site string) error // kill, revive, restart, heal
	cut(c cutRequest) error
	hosts(site string) (*site.Client, error)
	visit(ctx context.Context, v visit) (visited, error)
}

// restartPause is how long a restarted agent stays away: long enough for the others
// to choose another leader.
const restartPause = 7 * time.Second

// act carries out a verb on a site.
func (r *room) act(ctx context.Context, verb, name string) error {
	switch verb {
	case "kill":
		return r.kill(name)
	case "revive":
		return r.revive(ctx, name)
	case "restart":
		return r.restart(ctx, name, time.Second)
	case "heal":
		return r.heal(name)
	}
	return fmt.Errorf("there is no verb %q", verb)
}

// hosts returns a client of a site's process.
func (r *room) hosts(name string) (*site.Client, error) {
	if err := r.known(name); err != nil {
		return nil, err
	}
	return site.NewClient(r.dir, name), nil
}

// serveControl answers on the lab's socket until ctx ends or somebody calls for the
// end, which calls stop.
func serveControl(ctx context.Context, r *room, stop func()) error {
	path := controlSocket(r.dir)
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("serve control socket: %w", err)
	}
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "unix", path)
	if err != nil {
		return fmt.Errorf("serve control socket: %w", err)
	}
	srv := &http.Server{Handler: controlHandler(r, stop), ReadHeaderTimeout: 5 * time.Second}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ln) }()
	select {
	case err := <-done:
		return fmt.Errorf("serve control socket: %w", err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if srv.Shutdown(grace) != nil {
		_ = srv.Close() // whoever still waits meets the end of the process
	}
	<-done
	return nil
}

// faultRequest is a fault for the hosts of a site.
type faultRequest struct {
	Site  string    `json:"site"`
	Fault lab.Fault `json:"fault"`
}

// guestRequest is an act on a guest of a site.
type guestRequest struct {
	Site string   `json:"site"`
	Act  site.Act `json:"act"`
}

func controlHandler(s supervisor, stop func()) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, r *http.Request) { reply(w, s.view(r.Context()), nil) })
	mux.HandleFunc("POST /sites/{site}/{verb}", func(w http.ResponseWriter, r *http.Request) {
		reply(w, struct{}{}, s.act(r.Context(), r.PathValue("verb"), r.PathValue("site")))
	})
	mux.HandleFunc("POST /cut", func(w http.ResponseWriter, r *http.Request) {
		var c cutRequest
		err := read(r, &c)
		if err == nil {
			err = s.cut(c)
		}
		reply(w, struct{}{}, err)
	})
	mux.HandleFunc("POST /faults", func(w http.ResponseWriter, r *http.Request) {
		var f faultRequest
		err := read(r, &f)
		if err == nil {
			err = onHosts(s, f.Site, func(c *site.Client) error { return c.AddFault(r.Context(), f.Fault) })
		}
		reply(w, struct{}{}, err)
	})
	mux.HandleFunc("GET /faults/{site}", func(w http.ResponseWriter, r *http.Request) {
		list := []lab.Fault{}
		err := onHosts(s, r.PathValue("site"), func(c *site.Client) (err error) {
			list, err = c.Faults(r.Context())
			return err
		})
		reply(w, list, err)
	})
	mux.HandleFunc("DELETE /faults/{site}", func(w http.ResponseWriter, r *http.Request) {
		reply(w, struct{}{}, onHosts(s, r.PathValue("site"), func(c *site.Client) error { return c.ClearFaults(r.Context()) }))
	})
	mux.HandleFunc("POST /guest", func(w http.ResponseWriter, r *http.Request) {
		var g guestRequest
		err := read(r, &g)
		if err == nil {
			err = onHosts(s, g.Site, func(c *site.Client) error { return c.Act(r.Context(), g.Act) })
		}
		reply(w, struct{}{}, err)
	})
	mux.HandleFunc("POST /visit", func(w http.ResponseWriter, r *http.Request) {
		var v visit
		var out visited
		err := read(r, &v)
		if err == nil {
			out, err = s.visit(r.Context(), v)
		}
		reply(w, out, err)
	})
	mux.HandleFunc("POST /down", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, struct{}{}, nil)
		stop()
	})
	return mux
}

func onHosts(s supervisor, name string, do func(*site.Client) error) error {
	c, err := s.hosts(name)
	if err != nil {
		return err
	}
	return do(c)
}

func read(r *http.Request, into any) error {
	dec := json.NewDecoder(http.MaxBytesReader(nil, r.Body, maxControlBody))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return fmt.Errorf("read request: %w", err)
	}
	return nil
}

// refusal is the body of every answer but 200.
type refusal struct {
	Error string `json:"error"`
}

func reply(w http.ResponseWriter, v any, err error) {
	w.Header().Set("Content-Type", "application/json")
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		v = refusal{err.Error()}
	}
	_ = json.NewEncoder(w).Encode(v) // a caller that left needs no answer
}
