package roothelper

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"syscall"
	"time"
)

// Server answers requests, one after the other: two commands on one guest at
// once could each act on what the other is about to change, and there is one
// caller who asks a few times a year.
type Server struct {
	Rules       func() (Rules, error) // read anew for every request
	Runner      Runner
	Log         *slog.Logger
	MountInfo   func() ([]byte, error) // the host's mounts in the form of /proc/self/mountinfo, proc_pid_mountinfo(5)
	ReadTimeout time.Duration          // for the request to arrive, and for the answer to be taken
	Timeout     time.Duration          // for all commands of one request
	Idle        time.Duration          // Serve returns after so long without a connection; 0: never
}

// Serve answers until the context ends or nobody has asked for Idle; both give
// nil. It closes the listener.
func (s *Server) Serve(ctx context.Context, ln *net.UnixListener) error {
	defer func() { _ = ln.Close() }() // closed already if the context ended
	defer context.AfterFunc(ctx, func() { _ = ln.Close() })()
	for {
		if s.Idle > 0 {
			if err := ln.SetDeadline(time.Now().Add(s.Idle)); err != nil && ctx.Err() == nil {
				return fmt.Errorf("set deadline: %w", err)
			}
		}
		conn, err := ln.AcceptUnix()
		switch {
		case err == nil:
			s.handle(ctx, conn)
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, os.ErrDeadlineExceeded):
			return nil
		default:
			return fmt.Errorf("accept: %w", err)
		}
	}
}

// handle answers one connection and logs it, once, whatever happens.
func (s *Server) handle(ctx context.Context, conn *net.UnixConn) {
	defer func() { _ = conn.Close() }() // the answer is written or lost
	log := s.Log
	peer, err := credentials(conn)
	if err == nil {
		log = log.With("uid", peer.Uid, "pid", peer.Pid)
	}
	var refusal *Refusal
	var request Request
	if err != nil {
		refusal = refuse(BadPeer, "%v", err)
	} else {
		request, refusal = s.admit(conn, peer.Uid)
	}
	if request != (Request{}) {
		log = log.With("verb", string(request.Verb), "id", request.ID)
	}
	if refusal == nil {
		work, cancel := context.WithTimeout(ctx, s.Timeout)
		refusal = s.do(work, log, request)
		cancel()
	}
	switch {
	case refusal == nil:
		log.Info("done")
	case refusal.Code == Absent:
		// The agent asks so, again and again, whether somebody answers (Client.Probe).
		log.Info("refused", "code", string(refusal.Code), "reason", refusal.Text)
	default:
		log.Warn("refused", "code", string(refusal.Code), "reason", refusal.Text)
	}
	if err := conn.SetDeadline(time.Now().Add(s.ReadTimeout)); err != nil {
		log.Warn("answer not sent", "error", err)
		return
	}
	if _, err := conn.Write([]byte(formatAnswer(refusal))); err != nil {
		log.Warn("answer not sent", "error", err)
	}
}

// admit says who may ask what. Nothing is read of a caller who may not ask.
func (s *Server) admit(conn *net.UnixConn, uid uint32) (Request, *Refusal) {
	rules, err := s.Rules()
	switch {
	case err != nil:
		return Request{}, refuse(BadRules, "%v", err)
	case uid != rules.UID:
		return Request{}, refuse(BadPeer, "uid %d may not ask", uid)
	}
	line, err := s.readLine(conn)
	if err != nil {
		return Request{}, refuse(BadRequest, "%v", err)
	}
	request, err := ParseRequest(line)
	switch {
	case err != nil:
		return Request{}, refuse(BadRequest, "%v", err)
	case !rules.Covers(request.ID):
		return request, refuse(OutOfRange, "id %d is in no range of the rules", request.ID)
	}
	return request, nil
}

// readLine reads up to the first newline; what comes with it in the same
// breath is part of it, for ParseRequest to refuse.
func (s *Server) readLine(conn *net.UnixConn) ([]byte, error) {
	if err := conn.SetDeadline(time.Now().Add(s.ReadTimeout)); err != nil {
		return nil, fmt.Errorf("set deadline: %w", err)
	}
	buf := make([]byte, 0, maxRequest+1)
	for !bytes.Contains(buf, []byte("\n")) && len(buf) < cap(buf) {
		n, err := conn.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if err != nil {
			return nil, fmt.Errorf("read request: %w after %d bytes", err, len(buf))
		}
	}
	return buf, nil
}

// Do carries out one request on this goroutine, without a socket and so
// without a caller to judge: it holds the request against the rules' ids, looks
// at the guest and acts if nothing speaks against it. The error is a *Refusal.
// The simulator asks in this way; Serve does it for whoever connects.
func (s *Server) Do(ctx context.Context, r Request) error {
	refusal := s.covered(r)
	if refusal == nil {
		refusal = s.do(ctx, s.Log, r)
	}
	if refusal != nil {
		return refusal
	}
	return nil
}

// covered holds a request against the ids of the rules.
func (s *Server) covered(r Request) *Refusal {
	switch rules, err := s.Rules(); {
	case err != nil:
		return refuse(BadRules, "%v", err)
	case !rules.Covers(r.ID):
		return refuse(OutOfRange, "id %d is in no range of the rules", r.ID)
	}
	return nil
}

// do looks at the guest and acts if nothing speaks against it.
func (s *Server) do(ctx context.Context, log *slog.Logger, r Request) *Refusal {
	g, err := s.look(ctx, r.ID)
	if refusal, ok := errors.AsType[*Refusal](err); ok {
		return refusal
	} else if err != nil {
		return refuse(Failed, "%v", err)
	}
	if refusal := judge(r, g); refusal != nil {
		return refusal
	}
	log.Info("acting", "kind", string(g.kind))
	if r.Verb == Umount {
		err = s.umount(ctx, r.ID)
	} else {
		err = s.unlock(ctx, g.kind, r.ID)
	}
	if err != nil {
		return refuse(Failed, "%v", err)
	}
	return nil
}

// credentials are the peer's as the kernel noted them when it connected,
// unix(7) SO_PEERCRED.
func credentials(conn *net.UnixConn) (*syscall.Ucred, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("read peer's credentials: %w", err)
	}
	var cred *syscall.Ucred
	var inner error
	err = raw.Control(func(fd uintptr) {
		cred, inner = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	})
	if err = errors.Join(err, inner); err != nil {
		return nil, fmt.Errorf("read peer's credentials: %w", err)
	}
	return cred, nil
}
