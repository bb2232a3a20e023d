package api

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
)

// streamSilence is how long a reader believes in a stream that says nothing, not
// even that it is alive.
const streamSilence = 3 * streamAlive

// Follow calls each with every event that happens after query.Since (empty: from now
// on), in order, until ctx ends or the stream does; that is an error then, ErrNoAgent
// when it broke off. query.Since follows, so that the next call goes on from there.
func (c *Client) Follow(ctx context.Context, query *EventQuery, each func(failover.Event) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	q := url.Values{}
	for name, v := range map[string]string{"since": query.Since, "site": string(query.Site), "code": query.Code} {
		if v != "" {
			q.Set(name, v)
		}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+"/v1/events/stream?"+q.Encode(), nil)
	if err != nil {
		return fmt.Errorf("make request: %w", err)
	}
	quiet := time.AfterFunc(streamSilence, func() { cancel(errors.New("the stream has gone silent")) })
	defer quiet.Stop()
	resp, err := c.http.Do(req)
	if err != nil {
		return c.failure(CodeNoAgent, err)
	}
	defer func() { _ = resp.Body.Close() }() // nothing more is wanted of it
	if resp.StatusCode != http.StatusOK {
		body, err := io.ReadAll(io.LimitReader(resp.Body, MaxBody))
		if err != nil {
			return c.failure(CodeNoAgent, err)
		}
		return c.refusal(resp, body)
	}
	return c.readStream(resp.Body, func() { quiet.Reset(streamSilence) }, func(id string, e failover.Event) error {
		if id != "" {
			query.Since = id
		}
		return each(e)
	})
}

// readStream reads server-sent events; of their fields id and data matter here.
func (c *Client) readStream(r io.Reader, alive func(), each func(id string, e failover.Event) error) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, MaxBody)
	var data []byte
	var id string
	for lines.Scan() {
		alive()
		if v, ok := bytes.CutPrefix(lines.Bytes(), []byte("id: ")); ok {
			id = string(v)
			continue
		}
		if more, ok := bytes.CutPrefix(lines.Bytes(), []byte("data: ")); ok {
			data = append(data, more...)
			continue
		}
		if len(lines.Bytes()) > 0 || len(data) == 0 {
			continue
		}
		var e failover.Event
		if err := Unmarshal(data, KindEvent, &e); err != nil {
			return c.failure(CodeBadAnswer, err)
		}
		if err := each(id, e); err != nil {
			return err
		}
		id, data = "", data[:0]
	}
	err := lines.Err()
	if err == nil {
		err = io.EOF
	}
	return c.failure(CodeNoAgent, err)
}
