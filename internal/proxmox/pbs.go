package proxmox

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// PBS is a client of one datastore of a Proxmox Backup Server. It is safe for concurrent use if its transport is.
type PBS struct {
	client *http.Client
	base   string
	store  string
	token  string

	mu       sync.Mutex
	listings map[string]listing // by path; see Snapshots
}

var datastoreText = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]*$`)

// NewPBS makes a client. It makes no call.
func NewPBS(conf Config, datastore string) (*PBS, error) {
	client, base, err := newClient(conf, "PBS", ":")
	if err != nil {
		return nil, err
	}
	if !datastoreText.MatchString(datastore) {
		return nil, fmt.Errorf("make PBS client: datastore name %q is not valid", datastore)
	}
	return &PBS{client: client, base: base, store: datastore, token: conf.TokenID}, nil
}

// TokenID gives the id of the token, as a task's UPID carries it ("user@realm!name").
func (b *PBS) TokenID() string { return b.token }

// Datastore gives the name of the datastore.
func (b *PBS) Datastore() string { return b.store }

// do makes c's one call. params is the JSON body; for GET parameters stand in c.path.
func (b *PBS) do(ctx context.Context, c call, params map[string]any) (json.RawMessage, error) {
	x := &exchange{call: c}
	err := b.send(ctx, x, params)
	return x.data, err
}

// send makes the one call of an exchange.
func (b *PBS) send(ctx context.Context, x *exchange, params map[string]any) error {
	var body []byte
	if params != nil {
		var err error
		if body, err = json.Marshal(params); err != nil {
			return requestError(x.op, "%s", err)
		}
	}
	req, err := http.NewRequestWithContext(context.WithValue(ctx, exchangeKey{}, x), x.method, b.base+x.path, bytes.NewReader(body))
	if err != nil {
		return requestError(x.op, "%s", err)
	}
	req.Header.Set("User-Agent", "wwwd")
	req.Header.Set("Accept", "application/json")
	if params != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := b.client.Do(req)
	if err != nil {
		return outcome(x.call, err)
	}
	_ = res.Body.Close() // the exchange has what was in it
	return nil
}

func (b *PBS) get(ctx context.Context, op, path string, query url.Values, v any) (call, error) {
	x := &exchange{call: call{op: op, method: http.MethodGet, path: withQuery(path, query)}, into: v}
	return x.call, x.read(b.send(ctx, x, nil))
}

func withQuery(path string, query url.Values) string {
	if len(query) == 0 {
		return path
	}
	return path + "?" + query.Encode()
}

func (b *PBS) storePath(rest string) string {
	return "/admin/datastore/" + url.PathEscape(b.store) + rest
}

// Version asks for the version of PBS.
func (b *PBS) Version(ctx context.Context) (Version, error) {
	var w wireVersion
	c, err := b.get(ctx, "read pbs version", "/version", nil, &w)
	if err != nil {
		return Version{}, err
	}
	return w.version(c)
}

// Permissions asks for the token's own effective privileges on path; any token may ask. An empty path asks for all. A
// path on which it has none is left out.
func (b *PBS) Permissions(ctx context.Context, path string) (Permissions, error) {
	query := url.Values{}
	if path != "" {
		query.Set("path", path)
	}
	var w map[string]map[string]wireBool
	if _, err := b.get(ctx, "read pbs permissions on "+path, "/access/permissions", query, &w); err != nil {
		return nil, err
	}
	return permissions(w), nil
}

// DatastoreStatus is the room in a datastore, in bytes.
type DatastoreStatus struct{ Total, Used, Avail int64 }

// Status asks for the room in the datastore (Datastore.Audit).
func (b *PBS) Status(ctx context.Context) (DatastoreStatus, error) {
	var w struct{ Total, Used, Avail wireInt }
	c, err := b.get(ctx, "read status of datastore "+b.store, b.storePath("/status"), nil, &w)
	if err != nil {
		return DatastoreStatus{}, err
	}
	err = need(c, 0, "total", w.Total.Set, "used", w.Used.Set, "avail", w.Avail.Set)
	return DatastoreStatus{Total: w.Total.V, Used: w.Used.V, Avail: w.Avail.V}, err
}

// Namespaces lists the namespaces of the datastore that the token may see; the root is "".
func (b *PBS) Namespaces(ctx context.Context) ([]string, error) {
	var rows []struct{ NS wireString }
	c, err := b.get(ctx, "list namespaces of datastore "+b.store, b.storePath("/namespace"), nil, &rows)
	if err != nil {
		return nil, err
	}
	all := make([]string, 0, len(rows))
	for i, w := range rows {
		if err := need(c, i, "ns", w.NS.Set); err != nil {
			return nil, err
		}
		all = append(all, w.NS.V)
	}
	return all, nil
}

type wireSnapshot struct {
	Type        wireString `json:"backup-type"`
	ID          wireString `json:"backup-id"`
	Time        wireInt    `json:"backup-time"`
	Size        wireInt
	Fingerprint wireString
	Files       []struct {
		Filename wireString
		Size     wireInt
		Crypt    wireString `json:"crypt-mode"`
	}
	Verification struct{ State, UPID wireString }
	Protected    wireBool
	Comment      wireString
	Owner        wireString
}

// Snapshots lists the snapshots of a namespace ("" = the root), of all guests or, with kind and id, of one (kind ""
// and id 0 = all). Unfinished ones are listed too: see Usable. Backups of hosts, and those whose id is not a guest id,
// are left out. Without Datastore.Audit on the namespace only the token's own are listed. An answer that is the same as the last one is
// not decoded again: callers leave the snapshots' files as they are.
func (b *PBS) Snapshots(ctx context.Context, ns string, kind Kind, id int) ([]Snapshot, error) {
	op := "list snapshots of datastore " + b.store + " namespace " + strconv.Quote(ns)
	query := url.Values{}
	if ns != "" {
		query.Set("ns", ns)
	}
	if kind != "" {
		if !kind.valid() {
			return nil, requestError(op, "unknown kind of guest %q", kind)
		}
		query.Set("backup-type", string(kind))
	}
	if id != 0 {
		query.Set("backup-id", strconv.Itoa(id))
	}
	c := call{op: op, method: http.MethodGet, path: withQuery(b.storePath("/snapshots"), query)}
	data, err := b.do(ctx, c, nil)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(data)
	b.mu.Lock()
	known := b.listings[c.path]
	b.mu.Unlock()
	if known.sum == sum && known.all != nil {
		return slices.Clone(known.all), nil
	}
	all, err := snapshotsOf(c, data, ns)
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.listings == nil || len(b.listings) >= maxListings {
		b.listings = map[string]listing{}
	}
	b.listings[c.path] = listing{sum: sum, all: all}
	return slices.Clone(all), nil
}

// maxListings is how many listings a client remembers: a few times the namespaces of a network.
const maxListings = 256

// listing is what was read from an answer with this hash: between two backups a listing of thousands of
// snapshots stays as it is, and is asked for every minute.
type listing struct {
	sum [sha256.Size]byte
	all []Snapshot
}

func snapshotsOf(c call, data json.RawMessage, ns string) ([]Snapshot, error) {
	var rows []wireSnapshot
	if err := decode(c, data, &rows); err != nil {
		return nil, err
	}
	all := make([]Snapshot, 0, len(rows))
	for i, w := range rows {
		if err := need(c, i, "backup-type", w.Type.Set, "backup-id", w.ID.Set, "backup-time", w.Time.Set, "files", w.Files != nil); err != nil {
			return nil, err
		}
		s, ok := w.snapshot(ns)
		if ok {
			all = append(all, s)
		}
	}
	return all, nil
}

func (w wireSnapshot) snapshot(ns string) (Snapshot, bool) {
	kind := Kind(w.Type.V)
	id, ok := parseID(w.ID.V)
	if !ok || !kind.valid() {
		return Snapshot{}, false
	}
	s := Snapshot{
		NS: ns, Kind: kind, ID: id, Time: unix(w.Time), Size: max(w.Size.V, 0), Fingerprint: strings.ToLower(w.Fingerprint.V),
		Verification: Verification{State: w.Verification.State.V, UPID: w.Verification.UPID.V},
		Protected:    w.Protected.V, Comment: w.Comment.V, Owner: w.Owner.V,
	}
	for _, f := range w.Files {
		s.Files = append(s.Files, File{Name: f.Filename.V, Size: f.Size.V, Crypt: f.Crypt.V})
	}
	return s, true
}

// snapshotParams names one snapshot in a request.
func snapshotParams(op string, s Snapshot) (map[string]any, error) {
	if err := checkGuest(op, s.Kind, s.ID); err != nil {
		return nil, err
	}
	if s.Time.Unix() < 1 {
		return nil, requestError(op, "snapshot has no time")
	}
	params := map[string]any{"backup-type": string(s.Kind), "backup-id": strconv.Itoa(s.ID), "backup-time": s.Time.Unix()}
	if s.NS != "" {
		params["ns"] = s.NS
	}
	return params, nil
}

// Protect keeps a snapshot from prune and from being forgotten (Datastore.Modify, or Datastore.Backup for its owner).
// Protecting a protected one succeeds. The flag is not synced.
func (b *PBS) Protect(ctx context.Context, s Snapshot) error {
	return b.change(ctx, "protect snapshot "+s.String(), s, "protected", true)
}

// Unprotect takes the flag away again.
func (b *PBS) Unprotect(ctx context.Context, s Snapshot) error {
	return b.change(ctx, "unprotect snapshot "+s.String(), s, "protected", false)
}

// change sets one property of a snapshot, under the path of that name.
func (b *PBS) change(ctx context.Context, op string, s Snapshot, property string, value any) error {
	params, err := snapshotParams(op, s)
	if err != nil {
		return err
	}
	params[property] = value
	_, err = b.do(ctx, call{op: op, method: http.MethodPut, path: b.storePath("/" + property), write: true}, params)
	return err // the answer of a success is null
}

// Verify starts the verification of one snapshot and gives the task's id. It verifies also what is marked as
// verified: the mark may be another server's, copied by a sync. No key is needed; of encrypted chunks only the
// checksum of what is stored can be checked. Privilege: Datastore.Verify.
func (b *PBS) Verify(ctx context.Context, s Snapshot) (string, error) {
	op := "verify snapshot " + s.String()
	params, err := snapshotParams(op, s)
	if err != nil {
		return "", err
	}
	params["ignore-verified"] = false
	c := call{op: op, method: http.MethodPost, path: b.storePath("/verify"), write: true}
	data, err := b.do(ctx, c, params)
	if err != nil {
		return "", err
	}
	return pbsTask(c, data)
}

// pbsTask reads the id of the task that a call has started.
func pbsTask(c call, data json.RawMessage) (string, error) {
	upid, err := text(c, data)
	if err != nil {
		return "", err
	}
	if _, err := ParsePBSUPID(upid); err != nil {
		return "", c.bad("%s", clip(err.Error(), maxMessage))
	}
	return upid, nil
}

// Task asks for the state of a task of this PBS.
func (b *PBS) Task(ctx context.Context, upid string) (TaskStatus, error) {
	u, err := ParsePBSUPID(upid)
	if err != nil {
		return TaskStatus{}, requestError("read task", "%s", err)
	}
	u.Node = "localhost" // a PBS knows itself by this name whatever its host is called
	var w wireTask
	c, err := b.get(ctx, "read task "+u.Type+" "+u.ID, taskPath(u, "/status"), nil, &w)
	if err != nil {
		return TaskStatus{}, err
	}
	u, _ = ParsePBSUPID(upid)
	return w.state(c, u)
}
