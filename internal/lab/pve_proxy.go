package lab

import (
	"net/http"
	"net/url"
	"strings"
	"time"
)

// What pveproxy answers by itself when the process or the node behind it does not (reference/proxmox.md
// section 1); the codes are AnyEvent::HTTP's.
const (
	statusConnect    = 595
	statusTimeout    = 596
	statusProxyOther = 599
)

// proxyPatience is how long pveproxy waits for pvedaemon or another node, whatever these do afterwards.
const proxyPatience = 30 * time.Second

// noRoute is how long a LAN takes to say that a machine is not there.
const noRoute = 3 * time.Second

// Peer is another node of the host's corosync cluster. Requests for /nodes/NAME go through this host's
// proxy to it; its guests take ids of the cluster.
type Peer struct {
	Name string
	Host *PVE // nil = off
}

func proxyAnswer(status int, reason string) *answer {
	a := newAnswer()
	a.WriteReason(status, reason)
	a.header.Set("Connection", "close")
	return a
}

// needsBackend tells whether pveproxy hands a request to pvedaemon.
func (p *PVE) needsBackend(method, path string) bool {
	r, _ := find(p.routes, method, path)
	return r != nil && r.Protected
}

// cutLong ends an answer that took the backend longer than the proxy waits: the work is done.
func cutLong(a *answer) {
	hint := TakeHint(a.header)
	if hint.Delay > proxyPatience {
		*a = *proxyAnswer(statusTimeout, "Connection timed out")
		hint.Delay = proxyPatience
	}
	hint.put(a.header)
}

// peer returns the other node that a request is for.
func (p *PVE) peer(r *http.Request) (Peer, bool) {
	rest, ok := strings.CutPrefix(strings.TrimPrefix(r.URL.EscapedPath(), apiPrefix), "/nodes/")
	if !ok || len(p.cfg.Peers) == 0 {
		return Peer{}, false
	}
	name, _, _ := strings.Cut(rest, "/")
	name, err := url.PathUnescape(name)
	if err != nil {
		return Peer{}, false
	}
	for _, x := range p.cfg.Peers {
		if x.Name == name {
			return x, true
		}
	}
	return Peer{}, false
}

// forward hands a request to another node, without this host's lock: two hosts may ask each other.
func (p *PVE) forward(w http.ResponseWriter, r *http.Request, to Peer) {
	p.mu.Lock()
	off, stalled, reason := p.st.Off, p.st.Stalled, p.refuse(r)
	p.mu.Unlock()
	if off || stalled || reason != "" {
		a := newAnswer()
		if off || stalled {
			silent(a)
		} else {
			unauthorized(a, reason)
		}
		a.send(w)
		return
	}
	if to.Host == nil || !to.Host.powered() {
		a := proxyAnswer(statusConnect, "No route to host")
		Hint{Delay: noRoute}.put(a.header)
		a.send(w)
		return
	}
	a := newAnswer()
	to.Host.ServeHTTP(a, r)
	if TakeHint(a.header.Clone()).Reply != ReplyArrives {
		*a = *proxyAnswer(statusTimeout, "Connection timed out")
		Hint{Delay: proxyPatience}.put(a.header)
	} else {
		cutLong(a)
	}
	a.send(w)
}

func (p *PVE) powered() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.st.Off
}

// elsewhere returns the ids that the cluster's other nodes use, with the node, and which of the nodes have
// power. It is called without the host's lock. A node that is off keeps its ids: they are in /etc/pve.
func (p *PVE) elsewhere() (taken map[int]string, online map[string]bool) {
	if len(p.cfg.Peers) == 0 {
		return nil, nil
	}
	taken, online = map[int]string{}, map[string]bool{}
	for _, x := range p.cfg.Peers {
		if x.Host == nil {
			continue
		}
		online[x.Name] = x.Host.powered()
		for _, g := range x.Host.Guests() {
			taken[g.ID] = x.Name
		}
	}
	return taken, online
}

func (x Peer) address() string {
	if x.Host == nil {
		return ""
	}
	return x.Host.cfg.Address
}

func silent(a *answer) {
	a.status = http.StatusServiceUnavailable
	Hint{Reply: ReplyHangs}.put(a.header)
}

func unauthorized(a *answer, reason string) {
	a.WriteReason(http.StatusUnauthorized, reason)
	a.header.Set("Connection", "close")
	Hint{Delay: authDelay}.put(a.header)
}
