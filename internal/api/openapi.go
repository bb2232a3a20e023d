package api

import (
	_ "embed" // the description
	"net/http"
	"strconv"
)

// openAPI describes the routes. It is written by the tests from the very types that the
// handlers read and write, and held against the routes and their answers.
//
//go:embed openapi.yaml
var openAPI []byte

// description answers with the OpenAPI file of this agent's release.
func (h *handler) description(w http.ResponseWriter, r *http.Request) {
	if _, ok := ActorFrom(r.Context()); !ok {
		h.refuse(w, r, notAllowed("nobody", "the caller is not known"))
		return
	}
	w.Header().Set("Content-Type", "application/yaml")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Content-Length", strconv.Itoa(len(openAPI)))
	_, _ = w.Write(openAPI) // a caller that has gone away is no event of ours
}
