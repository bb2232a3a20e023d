package lab

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

const apiPrefix = "/api2/json"

// maxBody bounds a request body; the vendors' limit is of the same order.
const maxBody = 1 << 20

// Param describes one parameter that a fake accepts.
type Param struct {
	Name     string // "net[n]" stands for net0, net1, ...
	Type     string // string, integer, boolean, number, array
	Required bool
	Enum     []string
	Since    string // the first release that has it, "" = older than all that are played
}

// RouteInfo describes one operation that a fake serves, for contract tests and coverage.
type RouteInfo struct {
	Method, Path string // path template without /api2/json, "/nodes/{node}/tasks"
	Params       []Param
	Since        string // the first release that has it, "" = older than all that are played
	// Protected operations are handed by pveproxy to pvedaemon, so they fail while that is down.
	Protected bool
}

// route is one operation of the API of T (a *PVE or *PBS).
type route[T any] struct {
	RouteInfo
	segments []string
	handle   func(T, *call) (any, error)
}

// call is one request being served.
type call struct {
	vars  map[string]string // from the path
	args  url.Values        // validated parameters
	token string
	delay time.Duration  // what a real server would take; a hint to the driver
	extra map[string]any // further members of the envelope: total, changes

	protected bool            // pvedaemon serves it behind pveproxy
	elsewhere map[int]string  // ids that other nodes of the cluster use
	online    map[string]bool // its other nodes that have power
}

func (c *call) str(name string) string { return c.args.Get(name) }

func (c *call) has(name string) bool { _, ok := c.args[name]; return ok }

func (c *call) num(name string, otherwise int) int {
	n, err := strconv.Atoi(c.args.Get(name))
	if err != nil {
		return otherwise
	}
	return n
}

func (c *call) yes(name string) bool { return truth(c.args.Get(name)) }

func truth(s string) bool {
	return slices.Contains([]string{"1", "on", "yes", "true"}, strings.ToLower(s))
}

// apiError is an answer other than 200.
type apiError struct {
	status int
	text   string
	params map[string]string // parameter -> what is wrong with it, with status 400
	delay  time.Duration
}

func (e *apiError) Error() string { return e.text }

func errText(format string, args ...any) *apiError {
	return &apiError{status: http.StatusInternalServerError, text: fmt.Sprintf(format, args...)}
}

// vendorError is an error with the vendor's own words, capitals and full stops included.
type vendorError string

func (e vendorError) Error() string { return string(e) }

func vendorText(format string, args ...any) error { return vendorError(fmt.Sprintf(format, args...)) }

func badParam(name, format string, args ...any) *apiError {
	return &apiError{
		status: http.StatusBadRequest, text: "Parameter verification failed.",
		params: map[string]string{name: fmt.Sprintf(format, args...)},
	}
}

// newRoute describes one operation; params is "name:type" words, "!" marks a required one, "=a|b" its
// allowed values and "@9.1" its first release. The words "#unprotected" and "#since=9.2" are about the
// operation itself.
func newRoute[T any](method, path, params string, handle func(T, *call) (any, error)) route[T] {
	r := route[T]{RouteInfo: RouteInfo{Method: method, Path: path}, segments: strings.Split(path[1:], "/"), handle: handle}
	r.Protected = true
	for _, word := range strings.Fields(params) {
		if own, ok := strings.CutPrefix(word, "#"); ok {
			r.Protected = r.Protected && own != "unprotected"
			if since, ok := strings.CutPrefix(own, "since="); ok {
				r.Since = since
			}
			continue
		}
		word, since, _ := strings.Cut(word, "@")
		name, kind, _ := strings.Cut(word, ":")
		kind, enum, _ := strings.Cut(kind, "=")
		p := Param{Name: name, Type: strings.TrimSuffix(kind, "!"), Required: strings.HasSuffix(kind, "!"), Since: since}
		if enum != "" {
			p.Enum = strings.Split(enum, "|")
		}
		r.Params = append(r.Params, p)
	}
	return r
}

// find returns the route of a request and the values of its path's variables.
func find[T any](routes []route[T], method, escapedPath string) (*route[T], map[string]string) {
	path := strings.TrimPrefix(escapedPath, "/")
	for i := range routes {
		if r := &routes[i]; r.Method == method && matches(r.segments, path) {
			if vars, ok := pathVars(r.segments, path); ok {
				return r, vars
			}
		}
	}
	return nil, nil
}

// matches says whether a path has the form of a template, whose last variable may hold slashes when it is a volume,
// as PVE's does.
func matches(template []string, path string) bool {
	for i, t := range template {
		segment, rest, more := cutSegment(template, i, path)
		if more == (i == len(template)-1) || !strings.HasPrefix(t, "{") && t != segment {
			return false
		}
		path = rest
	}
	return true
}

// cutSegment takes from a path what stands for a template's segment, and says whether there is more.
func cutSegment(template []string, i int, path string) (segment, rest string, more bool) {
	if i == len(template)-1 && template[i] == "{volume}" {
		return path, "", false
	}
	return strings.Cut(path, "/")
}

// pathVars reads the variables out of a path that matches; none may be empty.
func pathVars(template []string, path string) (map[string]string, bool) {
	vars := map[string]string{}
	for i, t := range template {
		segment, rest, _ := cutSegment(template, i, path)
		path = rest
		if !strings.HasPrefix(t, "{") {
			continue
		}
		v, err := url.PathUnescape(segment)
		if err != nil || v == "" {
			return nil, false
		}
		vars[strings.Trim(t, "{}")] = v
	}
	return vars, true
}

// RequestParams returns the parameters of a request as the vendors' servers see them: the query of GET
// and DELETE; query and form or JSON body of the others. JSON true and false become 1 and 0, numbers
// their text, arrays repeated values.
func RequestParams(r *http.Request) (url.Values, error) {
	args, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, fmt.Errorf("parse query: %w", err)
	}
	if r.Body == nil || r.Body == http.NoBody {
		return args, nil
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	if err != nil {
		return nil, fmt.Errorf("read request body: %w", err)
	}
	switch {
	case len(body) == 0:
		return args, nil
	case len(body) > maxBody:
		return nil, fmt.Errorf("read request body: more than %d bytes", maxBody)
	case r.Method == http.MethodGet || r.Method == http.MethodDelete:
		return nil, &apiError{status: http.StatusNotImplemented, text: fmt.Sprintf("Unexpected content for method '%s'", r.Method)}
	}
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err == nil && kind == "application/json" {
		return args, addJSON(args, body)
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, fmt.Errorf("parse form: %w", err)
	}
	for k, v := range form {
		args[k] = append(args[k], v...)
	}
	return args, nil
}

func addJSON(args url.Values, body []byte) error {
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	var m map[string]any
	if err := dec.Decode(&m); err != nil {
		return errText(`'"' expected, at character offset %d`, dec.InputOffset())
	}
	for _, k := range slices.Sorted(maps.Keys(m)) {
		values, ok := m[k].([]any)
		if !ok {
			values = []any{m[k]}
		}
		for _, one := range values {
			switch x := one.(type) {
			case nil:
			case bool:
				args.Add(k, map[bool]string{true: "1", false: "0"}[x])
			case string:
				args.Add(k, x)
			case json.Number:
				args.Add(k, x.String())
			default:
				return badParam(k, "type check ('string') failed")
			}
		}
	}
	return nil
}

var (
	integerText = regexp.MustCompile(`^[+-]?\d+$`)
	numberText  = regexp.MustCompile(`^[+-]?\d+(\.\d*)?([eE][+-]?\d+)?$`)
	indexedName = regexp.MustCompile(`^([a-z]+)\d{1,3}$`)
)

// check returns what is wrong with args by parameter, in the words of PVE's JSON schema check.
func (r *RouteInfo) check(args url.Values, vars map[string]string) map[string]string {
	bad := map[string]string{}
	for name, values := range args {
		p := r.param(name)
		if p == nil || vars[name] != "" {
			bad[name] = "property is not defined in schema and the schema does not allow additional properties"
			continue
		}
		for _, v := range values {
			if msg := p.wrong(v); msg != "" {
				bad[name] = msg
			}
		}
	}
	if v, ok := vars["vmid"]; ok && !integerText.MatchString(v) {
		bad["vmid"] = "type check ('integer') failed - got '" + v + "'"
	}
	for _, p := range r.Params {
		if p.Required && !args.Has(p.Name) {
			bad[p.Name] = "property is missing and it is not optional"
		}
	}
	return bad
}

func (r *RouteInfo) param(name string) *Param {
	indexed := ""
	if m := indexedName.FindStringSubmatch(name); m != nil {
		indexed = m[1] + "[n]"
	}
	for i := range r.Params {
		if n := r.Params[i].Name; n == name || n == indexed {
			return &r.Params[i]
		}
	}
	return nil
}

func (p *Param) wrong(v string) string {
	ok := true
	switch p.Type {
	case "integer":
		ok = integerText.MatchString(v)
	case "number":
		ok = numberText.MatchString(v)
	case "boolean":
		ok = slices.Contains([]string{"0", "1", "on", "off", "yes", "no", "true", "false"}, strings.ToLower(v))
	}
	if !ok {
		return fmt.Sprintf("type check ('%s') failed - got '%s'", p.Type, v)
	}
	if len(p.Enum) > 0 && !slices.Contains(p.Enum, v) {
		return fmt.Sprintf("value '%s' does not have a value in the enumeration '%s'", v, strings.Join(p.Enum, ", "))
	}
	return ""
}

func infos[T any](routes []route[T]) []RouteInfo {
	out := make([]RouteInfo, 0, len(routes))
	for _, r := range routes {
		out = append(out, r.RouteInfo)
	}
	return out
}
