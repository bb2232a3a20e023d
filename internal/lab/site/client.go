package site

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"

	"github.com/raoull/worldwidewelsh/internal/lab"
)

// Client asks a site's process over its control socket. Its methods return what the
// process refused, or that nobody answered.
type Client struct{ http *http.Client }

// NewClient returns a client of the site's process in the lab's directory.
func NewClient(dir, site string) *Client {
	path := Socket(dir, site)
	var d net.Dialer
	return &Client{http: &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return d.DialContext(ctx, "unix", path)
		},
	}}}
}

// Status asks how the site stands.
func (c *Client) Status(ctx context.Context) (Status, error) {
	var s Status
	return s, c.do(ctx, http.MethodGet, "/status", nil, &s)
}

// AddFault puts a fault in force. Where is "pve:HOST" or "pbs:HOST".
func (c *Client) AddFault(ctx context.Context, f lab.Fault) error {
	return c.do(ctx, http.MethodPost, "/faults", f, nil)
}

// Faults lists the faults in force.
func (c *Client) Faults(ctx context.Context) ([]lab.Fault, error) {
	var list []lab.Fault
	return list, c.do(ctx, http.MethodGet, "/faults", nil, &list)
}

// ClearFaults ends all faults, heals what they did and gives crashed hosts power.
func (c *Client) ClearFaults(ctx context.Context) error {
	return c.do(ctx, http.MethodDelete, "/faults", nil, nil)
}

// Backup backs up every running guest that is at home there, now.
func (c *Client) Backup(ctx context.Context) error {
	return c.do(ctx, http.MethodPost, "/backup", nil, nil)
}

// Sync pulls the backups of every other site, now.
func (c *Client) Sync(ctx context.Context) error {
	return c.do(ctx, http.MethodPost, "/sync", nil, nil)
}

// Crash takes the power from one host of the site, until it is repaired.
func (c *Client) Crash(ctx context.Context, host string) error {
	return c.do(ctx, http.MethodPost, "/crash/"+host, nil, nil)
}

// Repair mends a host that Crash has broken; it starts, unless its plug is off.
func (c *Client) Repair(ctx context.Context, host string) error {
	return c.do(ctx, http.MethodPost, "/repair/"+host, nil, nil)
}

// StopStore ends the site's PBS, until it is started: its machine goes on.
func (c *Client) StopStore(ctx context.Context) error {
	return c.do(ctx, http.MethodPost, "/store/stop", nil, nil)
}

// StartStore starts the PBS again that StopStore has ended.
func (c *Client) StartStore(ctx context.Context) error {
	return c.do(ctx, http.MethodPost, "/store/start", nil, nil)
}

// PlugIn gives the site's structure's host its plug back, as a person does who has seen to it that
// its guests do not start.
func (c *Client) PlugIn(ctx context.Context) error {
	return c.do(ctx, http.MethodPost, "/plug-in", nil, nil)
}

// Act starts or stops a guest by hand.
func (c *Client) Act(ctx context.Context, a Act) error {
	return c.do(ctx, http.MethodPost, "/guest", a, nil)
}

func (c *Client) do(ctx context.Context, method, path string, body, into any) error {
	var payload bytes.Buffer
	if body != nil {
		if err := json.NewEncoder(&payload).Encode(body); err != nil {
			return fmt.Errorf("ask site: %w", err)
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://site"+path, &payload)
	if err != nil {
		return fmt.Errorf("ask site: %w", err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("ask site: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		var f failed
		if err := json.NewDecoder(resp.Body).Decode(&f); err != nil || f.Error == "" {
			return fmt.Errorf("ask site: status %s", resp.Status)
		}
		return errors.New(f.Error)
	}
	if into == nil {
		return nil
	}
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		return fmt.Errorf("read answer of site: %w", err)
	}
	return nil
}
