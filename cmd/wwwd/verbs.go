package main

import (
	"log/slog"
	"net/http"

	"github.com/raoull/worldwidewelsh/internal/api"
)

// asPerson lets the verbs of a mux be used by callers that the kernel has named, and writes
// down by whom. What falls through to the API does both itself.
func asPerson(mux *http.ServeMux, log *slog.Logger) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, pattern := mux.Handler(r); pattern != "/" && pattern != "" {
			a, known := api.ActorFrom(r.Context())
			if !known || a.Kind != api.ActorUnix {
				log.Warn("verb refused", "audit", true, "actor", a.String(), "method", r.Method, "path", r.URL.Path, "from", r.RemoteAddr)
				answerVerb(w, "", &api.Error{
					Status: http.StatusForbidden, Code: api.CodeNotAllowed,
					Args: map[string]string{"actor": a.String(), "why": "this is for people on the agent's own machine"},
				})
				return
			}
			log.Info("verb of a person", "audit", true, "actor", a.String(), "method", r.Method, "path", r.URL.Path)
		}
		mux.ServeHTTP(w, r)
	})
}
