package roothelper

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// ErrNoHelper means that the helper could not be asked, so nothing was done:
// it is not installed, not enabled, or the socket is not ours to use.
var ErrNoHelper = errors.New("no root helper")

// ErrNoAnswer means that the request was sent and the outcome is unknown.
// Asking again is safe: the helper looks at the guest first, and what was done
// already shows as NotLocked, or as success for umount.
var ErrNoAnswer error = noAnswer{}

type noAnswer struct{}

// Error is the text.
func (noAnswer) Error() string { return "no answer from the root helper" }

// Temporary says that asking again may give an answer.
func (noAnswer) Temporary() bool { return true }

// Client asks the helper. Its calls return nil when the thing is done, and
// otherwise an error with a *Refusal (errors.AsType), ErrNoHelper or
// ErrNoAnswer (errors.Is) in it. The context limits the wait; the helper needs
// a few seconds, since each look at a guest starts a Proxmox command.
type Client struct {
	Path string // of the socket, DefaultSocket
}

// Unlock clears lock=create of a stopped guest that a dead restore left.
func (c Client) Unlock(ctx context.Context, id int) error { return c.ask(ctx, Request{Unlock, id}) }

// Umount unmounts what a dead restore of a container left mounted. It asks for
// lock=create too, so it comes before Unlock.
func (c Client) Umount(ctx context.Context, id int) error { return c.ask(ctx, Request{Umount, id}) }

// Probe finds out whether the helper would act on id, without an act: id is that
// of no guest. nil means that it listens, lets the caller ask, covers the id and
// can look at guests; the error is as Unlock's.
//
// It asks for Umount, which for a guest that somebody makes there meanwhile is
// the lesser of the two verbs: it acts on dead restores of containers only.
func (c Client) Probe(ctx context.Context, id int) error {
	err := c.Umount(ctx, id)
	if r, ok := errors.AsType[*Refusal](err); ok {
		switch r.Code {
		case BadRequest, BadPeer, BadRules, OutOfRange, Failed:
		default:
			return nil // it has looked at the guest, or found none
		}
	}
	return err
}

func (c Client) ask(ctx context.Context, r Request) error {
	if _, err := ParseRequest([]byte(r.line())); err != nil {
		return fmt.Errorf("%s guest %d: %w", r.Verb, r.ID, &Refusal{Code: BadRequest, Text: err.Error()})
	}
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unix", c.Path)
	if err != nil {
		return fmt.Errorf("%s guest %d: %w: %w", r.Verb, r.ID, ErrNoHelper, err)
	}
	defer func() { _ = conn.Close() }() // the answer has been read, or never will be
	// A deadline in the past ends the reads and writes that are waiting.
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	// A caller who may not ask is answered before his request is read, so a
	// failed write may still have an answer to read.
	_, writeErr := io.WriteString(conn, r.line())
	b, readErr := io.ReadAll(io.LimitReader(conn, maxAnswer))
	switch {
	case len(b) > 0:
		if err := parseAnswer(b); err != nil {
			return fmt.Errorf("%s guest %d: %w", r.Verb, r.ID, err)
		}
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("%s guest %d: %w: %w", r.Verb, r.ID, ErrNoAnswer, ctx.Err())
	}
	return fmt.Errorf("%s guest %d: %w: %w", r.Verb, r.ID, ErrNoAnswer, errors.Join(writeErr, readErr))
}
