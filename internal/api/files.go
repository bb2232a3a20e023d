package api

import (
	"context"
	"net/http"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/doctor"
)

// KindFile is what an agent tells of its own file.
const KindFile = "LocalFile"

// FilesWait bounds how long the others' word is waited for.
const FilesWait = 3 * time.Second

// Files is the part of an agent that knows its own file and can ask the others of theirs.
type Files interface {
	File() doctor.LocalFile
	// AskFiles asks every agent of the group, itself too, within the context's deadline.
	AskFiles(ctx context.Context) map[failover.SiteID]doctor.Told
}

// LocalFile is the answer of GET /v1/cluster/file.
type LocalFile struct {
	Meta
	File doctor.LocalFile `json:"file"`
}

func (h *handler) file(*http.Request) (any, error) {
	return LocalFile{Meta: h.meta(h.Backend.State()), File: h.Files.File()}, nil
}

// askFiles is what all agents tell; nil where this agent cannot ask.
func (h *handler) askFiles(ctx context.Context) map[failover.SiteID]doctor.Told {
	if h.Files == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, FilesWait)
	defer cancel()
	return h.Files.AskFiles(ctx)
}

// File asks what the agent's own file says.
func (c *Client) File(ctx context.Context) (LocalFile, error) {
	return get[LocalFile](ctx, c, KindFile, "/v1/cluster/file", nil)
}
