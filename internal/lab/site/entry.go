package site

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"
)

// routerBanner is what the router's SSH says first.
const routerBanner = "SSH-2.0-ROSSSH\r\n"

// serveRouter plays the site's router: a service that speaks first. A routed site has
// a real one, that answers ping.
func (p *process) serveRouter(ctx context.Context) error {
	if p.lab.Routed {
		return nil
	}
	ln, err := p.listen(ctx, netip.AddrPortFrom(p.lab.Plan().RouterBackend(p.index), RouterPort))
	if err != nil {
		return err
	}
	context.AfterFunc(ctx, func() { _ = ln.Close() })
	p.wg.Go(func() {
		for {
			conn, err := ln.Accept()
			switch {
			case err == nil:
				p.wg.Go(func() { greet(conn) })
			case errors.Is(err, net.ErrClosed):
				return
			case Sleep(ctx, tick) != nil:
				return
			}
		}
	})
	return nil
}

// greet says the banner and waits a moment for the caller to go.
func greet(conn net.Conn) {
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(2 * time.Second))
	if _, err := conn.Write([]byte(routerBanner)); err != nil {
		return
	}
	_, _ = conn.Read(make([]byte, 64)) // an SSH client's own banner, or its end
}

// serveEntry plays the site's public entry: a reverse proxy that was prepared for
// every name of the network, and sends each to the guest of this site that serves it.
func (p *process) serveEntry(ctx context.Context) error {
	at, ok := p.lab.Entry(p.index)
	if !ok {
		return nil
	}
	cert, err := loadCert(certFile(p.dir, p.name, "entry"))
	if err != nil {
		return err
	}
	ln, err := p.listen(ctx, netip.AddrPortFrom(p.lab.Plan().PublicBackend(p.index), at.Port()))
	if err != nil {
		return err
	}
	transport := &http.Transport{
		DialContext:           (&net.Dialer{Timeout: 2 * time.Second}).DialContext,
		ResponseHeaderTimeout: 5 * time.Second, MaxIdleConnsPerHost: 4, IdleConnTimeout: 10 * time.Second,
	}
	context.AfterFunc(ctx, transport.CloseIdleConnections)
	var known []string
	for _, g := range p.lab.Guests {
		known = append(known, g.Names...)
	}
	config := &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}}
	p.serve(ctx, tls.NewListener(ln, config), p.entry(transport, known))
	return nil
}

// entry forwards by Host. A name of the network without a running guest here answers
// 503, any other 404: both show that the entry lives.
func (p *process) entry(rt http.RoundTripper, known []string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := hostName(r.Host)
		at, ok := p.guestOf(name)
		switch {
		case ok:
			p.forward(rt, at).ServeHTTP(w, r)
		case slices.Contains(known, name):
			http.Error(w, fmt.Sprintf("%s is not served at %s now", name, p.name), http.StatusServiceUnavailable)
		default:
			http.Error(w, fmt.Sprintf("the public entry of %s knows no such name", p.name), http.StatusNotFound)
		}
	})
}

func (p *process) forward(rt http.RoundTripper, at netip.AddrPort) http.Handler {
	return &httputil.ReverseProxy{
		Transport: rt,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "http", Host: at.String()})
			r.SetXForwarded()
			r.Out.Host = r.In.Host
		},
		ErrorLog: slog.NewLogLogger(p.errorLog().Handler(), slog.LevelDebug),
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			http.Error(w, fmt.Sprintf("%s does not answer at %s: %v", hostName(r.Host), p.name, err), http.StatusServiceUnavailable)
		},
	}
}

// hostName returns a Host header without its port, in lower case.
func hostName(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	return strings.ToLower(strings.TrimSuffix(host, "."))
}
