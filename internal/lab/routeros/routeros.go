// Package routeros is a stand-in for the REST API of a MikroTik router (RouterOS 7), as far as agents use
// it: its ethernet ports, behind which hosts stand, its static DNS entries and its WireGuard peers.
//
// What it does is that of reference/mikrotik-wireguard.md, section 1: every value is a string, a row has an
// .id, GET filters by exact match and picks with .proplist, PUT adds and answers 201 with the row, PATCH
// changes and answers the row, DELETE answers 204, and an error is {"error":…,"message":…,"detail":…} with the
// text of the console. POST, singletons and other menus are not played.
package routeros

import (
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

// The menus that are played.
const (
	Ethernet = "interface/ethernet"
	Names    = "ip/dns/static"
	Peers    = "interface/wireguard/peers"
)

// Policies of RouterOS that a user's group may have.
const (
	PolicyRead  = "read"
	PolicyWrite = "write"
	PolicyREST  = "rest-api"
)

// Row is one row of a menu. Unset properties are absent.
type Row map[string]string

// User is who may call, with the policies of its group.
type User struct {
	Password string
	Policies []string
}

// Config is a new router.
type Config struct {
	Users map[string]User
	Rows  map[string][]Row // by menu
	// File keeps the rows: what a router was told outlives its power. Empty: it does not.
	File string
}

// menu is what a menu lets one do.
type menu struct {
	props []string // that may be set
	fixed bool     // rows are neither added nor removed
}

var menus = map[string]menu{
	Ethernet: {props: []string{"name", "comment", "disabled", "mtu", "arp"}, fixed: true},
	Names: {props: []string{
		"name", "regexp", "type", "address", "cname", "forward-to", "match-subdomain", "disabled", "comment", "ttl", "text",
	}},
	Peers: {props: []string{"interface", "name", "comment", "public-key", "allowed-address", "persistent-keepalive", "disabled"}},
}

// switches are the properties that are yes or no.
var switches = []string{"disabled", "match-subdomain"}

// Router is the stand-in. It is an http.Handler, safe for concurrent use.
type Router struct {
	config Config

	mu   sync.Mutex
	rows map[string][]Row
	last int // of the ids given
}

// New makes a router, with what it was told before if its file has that.
func New(c Config) (*Router, error) {
	r := &Router{config: c, rows: map[string][]Row{}}
	kept, err := r.load()
	if err != nil {
		return nil, fmt.Errorf("router: %w", err)
	}
	if kept == nil {
		kept = c.Rows
	}
	for _, name := range slices.Sorted(maps.Keys(kept)) {
		if _, known := menus[name]; !known {
			return nil, fmt.Errorf("router: no menu %q", name)
		}
		for _, row := range kept[name] {
			r.rows[name] = append(r.rows[name], r.numbered(row))
		}
	}
	return r, nil
}

func (r *Router) load() (map[string][]Row, error) {
	if r.config.File == "" {
		return nil, nil
	}
	b, err := os.ReadFile(r.config.File)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var kept map[string][]Row
	if err := json.Unmarshal(b, &kept); err != nil {
		return nil, fmt.Errorf("%s: %w", r.config.File, err)
	}
	return kept, nil
}

// keep writes the rows down, whole or not at all.
func (r *Router) keep() error {
	if r.config.File == "" {
		return nil
	}
	b, err := json.Marshal(r.rows)
	if err != nil {
		return err
	}
	next := r.config.File + ".new"
	if err := os.MkdirAll(filepath.Dir(next), 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(next, b, 0o600); err != nil {
		return err
	}
	return os.Rename(next, r.config.File)
}

// numbered is a row with an id of its own: opaque, and another one after it was removed and added again.
func (r *Router) numbered(row Row) Row {
	r.last++
	out := maps.Clone(row)
	out[".id"] = fmt.Sprintf("*%X", r.last)
	return out
}

// Off says whether an ethernet port is disabled: what stands behind it has no network.
func (r *Router) Off(port string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := slices.IndexFunc(r.rows[Ethernet], func(row Row) bool { return row["name"] == port })
	return i >= 0 && r.rows[Ethernet][i]["disabled"] == "true"
}

// Enable is what a person does at the router's console: /interface/ethernet enable PORT.
func (r *Router) Enable(port string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, row := range r.rows[Ethernet] {
		if row["name"] == port {
			row["disabled"] = "false"
			return r.keep()
		}
	}
	return fmt.Errorf("router: no port %q", port)
}

// refusal is an answer that is no success.
type refusal struct {
	status int
	detail string
}

// ServeHTTP answers one request.
func (r *Router) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	status, body, no := r.answer(req)
	w.Header().Set("Content-Type", "application/json")
	if no != nil {
		said := map[string]any{"error": no.status, "message": http.StatusText(no.status)}
		if no.detail != "" {
			said["detail"] = no.detail
		}
		status, body = no.status, said
	}
	w.WriteHeader(status)
	if status != http.StatusNoContent {
		_ = json.NewEncoder(w).Encode(body) // the caller has gone
	}
}

func (r *Router) answer(req *http.Request) (int, any, *refusal) {
	name, password, _ := req.BasicAuth()
	user, known := r.config.Users[name]
	if !known || subtle.ConstantTimeCompare([]byte(password), []byte(user.Password)) != 1 {
		return 0, nil, &refusal{http.StatusUnauthorized, ""}
	}
	need := PolicyRead
	if req.Method != http.MethodGet {
		need = PolicyWrite
	}
	for _, p := range []string{PolicyREST, need} {
		if !slices.Contains(user.Policies, p) {
			return 0, nil, &refusal{http.StatusInternalServerError, "not enough permissions (9)"}
		}
	}
	path, found := strings.CutPrefix(req.URL.Path, "/rest/")
	if !found {
		return 0, nil, &refusal{http.StatusNotFound, ""}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for name, m := range menus {
		if path == name {
			return r.onMenu(req, name, m)
		}
		if id, in := strings.CutPrefix(path, name+"/"); in {
			return r.onRow(req, name, id, m)
		}
	}
	return 0, nil, &refusal{http.StatusBadRequest, "no such command or directory (" + path + ")"}
}

func (r *Router) onMenu(req *http.Request, name string, m menu) (int, any, *refusal) {
	switch req.Method {
	case http.MethodGet:
		query, out := req.URL.Query(), []Row{}
		for _, row := range r.rows[name] {
			if fits(row, query) {
				out = append(out, pick(row, query.Get(".proplist")))
			}
		}
		return http.StatusOK, out, nil
	case http.MethodPut:
		if m.fixed {
			return 0, nil, &refusal{http.StatusBadRequest, "no such command or directory (add)"}
		}
		set, no := readProps(req, m)
		if no != nil {
			return 0, nil, no
		}
		row := r.numbered(set)
		if row["disabled"] == "" {
			row["disabled"] = "false"
		}
		r.rows[name] = append(r.rows[name], row)
		return http.StatusCreated, row, r.kept()
	}
	return 0, nil, &refusal{http.StatusMethodNotAllowed, ""}
}

func (r *Router) onRow(req *http.Request, name, id string, m menu) (int, any, *refusal) {
	i := slices.IndexFunc(r.rows[name], func(row Row) bool {
		return row[".id"] == id || m.fixed && row["name"] == id
	})
	if i < 0 {
		return 0, nil, &refusal{http.StatusNotFound, "no such item"}
	}
	row := r.rows[name][i]
	switch req.Method {
	case http.MethodGet:
		return http.StatusOK, pick(row, req.URL.Query().Get(".proplist")), nil
	case http.MethodPatch:
		set, no := readProps(req, m)
		if no != nil {
			return 0, nil, no
		}
		maps.Copy(row, set)
		return http.StatusOK, row, r.kept()
	case http.MethodDelete:
		if m.fixed {
			return 0, nil, &refusal{http.StatusNotAcceptable, "no such command or directory (remove)"}
		}
		r.rows[name] = slices.Delete(r.rows[name], i, i+1)
		return http.StatusNoContent, nil, r.kept()
	}
	return 0, nil, &refusal{http.StatusMethodNotAllowed, ""}
}

func (r *Router) kept() *refusal {
	if err := r.keep(); err != nil {
		return &refusal{http.StatusInternalServerError, err.Error()}
	}
	return nil
}

func fits(row Row, query map[string][]string) bool {
	for key, want := range query {
		if key != ".proplist" && row[strings.TrimPrefix(key, "?")] != want[0] {
			return false
		}
	}
	return true
}

func pick(row Row, list string) Row {
	if list == "" {
		return maps.Clone(row)
	}
	out := Row{}
	for _, key := range strings.Split(list, ",") {
		if v, ok := row[key]; ok {
			out[key] = v
		}
	}
	return out
}

// readProps reads what a request sets: strings, numbers or truth values, all of which are kept as strings.
func readProps(req *http.Request, m menu) (Row, *refusal) {
	body, err := io.ReadAll(io.LimitReader(req.Body, 64<<10))
	if err != nil {
		return nil, &refusal{http.StatusBadRequest, err.Error()}
	}
	var said map[string]any
	if err := json.Unmarshal(body, &said); err != nil {
		return nil, &refusal{http.StatusBadRequest, "invalid JSON"}
	}
	out := Row{}
	for key, v := range said {
		if !slices.Contains(m.props, key) {
			return nil, &refusal{http.StatusBadRequest, "unknown parameter " + key}
		}
		text := fmt.Sprint(v)
		if slices.Contains(switches, key) {
			truth := map[string]string{"yes": "true", "true": "true", "no": "false", "false": "false"}[text]
			if truth == "" {
				return nil, &refusal{http.StatusBadRequest, "input does not match any value of " + key}
			}
			text = truth
		}
		out[key] = text
	}
	return out, nil
}
