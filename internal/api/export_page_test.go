package api

import (
	"log/slog"
	"net/http"
	"time"
)

// NewPageHandler is the page whose streams look at State so often.
func NewPageHandler(b Backend, every time.Duration) http.Handler {
	return pageRoutes(&page{backend: b, log: slog.New(slog.DiscardHandler), streams: make(chan struct{}, 1), every: every}, http.NotFoundHandler())
}
