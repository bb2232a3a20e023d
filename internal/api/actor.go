package api

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"os/user"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/raoull/worldwidewelsh/failover"
)

// ActorKind says how a caller was recognised.
type ActorKind string

// Kinds of actor.
const (
	ActorUnix  ActorKind = "unix"  // by the kernel, on the local socket
	ActorAgent ActorKind = "agent" // by its certificate on the mesh
	// ActorOperator is a person, by the certificate of a login file.
	ActorOperator ActorKind = "operator"
)

// Actor is who is behind a request.
type Actor struct {
	Kind     ActorKind
	Name     string          // unix: user name or "uid 1000"; agent: www://NETWORK/SITE/SERVERID; operator: their name
	Role     failover.Role   // operators only
	From     string          // address of an operator
	Network  string          // agents only
	Site     failover.SiteID // agents only
	ServerID string          // agents only
}

// String is how the log and the events name the actor.
func (a Actor) String() string {
	s := string(a.Kind) + ":" + a.Name
	if a.From != "" {
		s += "@" + a.From
	}
	return s
}

// role is what the actor may do. Who may connect to the local socket is an
// admin; agents are no people.
func (a Actor) role() failover.Role {
	switch a.Kind {
	case ActorUnix:
		return failover.RoleAdmin
	case ActorOperator:
		return a.Role
	}
	return ""
}

type actorKey struct{}

// WithActor names the actor of a request, for the handlers and for the
// proposals made with the context.
func WithActor(ctx context.Context, a Actor) context.Context {
	return context.WithValue(failover.WithActor(ctx, a.String()), actorKey{}, a)
}

// ActorFrom returns the actor of a request; false when nobody was recognised.
func ActorFrom(ctx context.Context) (Actor, bool) {
	a, ok := ctx.Value(actorKey{}).(Actor)
	return a, ok
}

// unixActor asks the kernel who is at the other end of a unix socket
// (SO_PEERCRED, unix(7)).
func unixActor(c *net.UnixConn) (Actor, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return Actor{}, fmt.Errorf("read peer of socket: %w", err)
	}
	var cred *unix.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return Actor{}, fmt.Errorf("read peer of socket: %w", err)
	}
	if credErr != nil {
		return Actor{}, fmt.Errorf("read peer of socket: %w", credErr)
	}
	uid := strconv.FormatUint(uint64(cred.Uid), 10)
	name := "uid " + uid
	if u, err := user.LookupId(uid); err == nil {
		name = u.Username
	}
	return Actor{Kind: ActorUnix, Name: name}, nil
}

// certActor reads who is at the other end from a verified certificate.
func certActor(r *http.Request) (Actor, error) {
	a, err := agentActor(r.TLS)
	if err == nil {
		return a, nil
	}
	return operatorActor(r.TLS, r.RemoteAddr)
}

// operatorActor reads a person's certificate: www-operator://NETWORK/NAME/ROLE.
func operatorActor(state *tls.ConnectionState, from string) (Actor, error) {
	if state == nil || len(state.VerifiedChains) == 0 || len(state.PeerCertificates) == 0 {
		return Actor{}, fmt.Errorf("identify operator: no verified certificate")
	}
	for _, u := range state.PeerCertificates[0].URIs {
		name, role, ok := strings.Cut(strings.TrimPrefix(u.Path, "/"), "/")
		if u.Scheme != "www-operator" || u.Host == "" || !ok || name == "" || !failover.Role(role).Valid() {
			continue
		}
		if host, _, err := net.SplitHostPort(from); err == nil {
			from = host
		}
		return Actor{Kind: ActorOperator, Name: name, Role: failover.Role(role), Network: u.Host, From: from}, nil
	}
	return Actor{}, fmt.Errorf("identify operator: certificate names no www-operator://NETWORK/NAME/ROLE")
}

// agentActor reads an agent's identity from its verified certificate: the URI
// www://NETWORK/SITE/SERVERID (design section 11).
func agentActor(state *tls.ConnectionState) (Actor, error) {
	if state == nil || len(state.VerifiedChains) == 0 || len(state.PeerCertificates) == 0 {
		return Actor{}, fmt.Errorf("identify agent: no verified certificate")
	}
	for _, u := range state.PeerCertificates[0].URIs {
		site, server, ok := strings.Cut(strings.TrimPrefix(u.Path, "/"), "/")
		if u.Scheme != "www" || u.Host == "" || !ok || site == "" || server == "" || strings.Contains(server, "/") {
			continue
		}
		return Actor{Kind: ActorAgent, Name: u.String(), Network: u.Host, Site: failover.SiteID(site), ServerID: server}, nil
	}
	return Actor{}, fmt.Errorf("identify agent: certificate names no www://NETWORK/SITE/SERVERID")
}

// connActor puts the peer of a unix connection into the context of all its requests.
func connActor(ctx context.Context, c net.Conn) context.Context {
	uc, ok := c.(*net.UnixConn)
	if !ok {
		return ctx
	}
	a, err := unixActor(uc)
	if err != nil {
		return ctx // nobody recognised: every write is refused
	}
	return WithActor(ctx, a)
}

// tlsActor is a handler that recognises agents and operators by their certificate.
func tlsActor(next http.Handler, refused func(*x509.Certificate) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a, err := certActor(r)
		if err == nil && refused != nil {
			err = refused(r.TLS.PeerCertificates[0])
		}
		if err == nil {
			r = r.WithContext(WithActor(r.Context(), a))
		}
		next.ServeHTTP(w, r)
	})
}
