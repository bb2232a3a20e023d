package proxmox

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
)

const markerPrefix = "www: "

// Marker says on a restored guest whose work it is. It stands in the description, because PVE has no other place that
// survives backup and restore, and lets a retry recognise its own guest; it appears only when the restore has ended.
type Marker struct {
	Network string // name of the network
	Guest   string // id of the guest in the network
	Op      string // id of the operation
	Role    string // what the copy is for: "away", "standby", "drill", ...
	Token   uint64 // log index of the entry that began or last retargeted the operation
}

// Line gives the description line: "www: network=assos guest=nextcloud op=12 token=18204 role=away".
func (m Marker) Line() string {
	return markerPrefix + "network=" + url.QueryEscape(m.Network) + " guest=" + url.QueryEscape(m.Guest) + " op=" + url.QueryEscape(m.Op) +
		" token=" + strconv.FormatUint(m.Token, 10) + " role=" + url.QueryEscape(m.Role)
}

// Describe puts the line above a guest's own description, in place of older lines.
func (m Marker) Describe(description string) string {
	kept := []string{m.Line()}
	for line := range strings.Lines(description) {
		line = strings.TrimRight(line, "\r\n")
		if !strings.HasPrefix(strings.TrimSpace(line), markerPrefix) {
			kept = append(kept, line)
		}
	}
	return strings.TrimRight(strings.Join(kept, "\n"), "\n")
}

// Tags gives the tags that go with the marker: "www", and "www-op-12" for operation 12 (or op-12).
func (m Marker) Tags() []string {
	op := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '-', r == '_', r == '.':
			return r
		}
		return '-'
	}, strings.ToLower(m.Op))
	return []string{"www", "www-op-" + strings.TrimPrefix(op, "op-")}
}

// ParseMarker finds the marker in a description. It is false when there is none, when it is not whole, and when two
// lines contradict each other: then nobody can say whose guest it is.
func ParseMarker(description string) (Marker, bool) {
	var found []Marker
	for line := range strings.Lines(description) {
		rest, ok := strings.CutPrefix(strings.TrimSpace(line), markerPrefix)
		if !ok {
			continue
		}
		m, ok := parseMarkerLine(rest)
		if !ok {
			return Marker{}, false
		}
		found = append(found, m)
	}
	if len(slices.Compact(found)) != 1 {
		return Marker{}, false
	}
	return found[0], true
}

func parseMarkerLine(line string) (Marker, bool) {
	fields := make(map[string]string)
	for _, pair := range strings.Fields(line) {
		key, value, _ := strings.Cut(pair, "=")
		text, err := url.QueryUnescape(value)
		if _, twice := fields[key]; twice || err != nil {
			return Marker{}, false
		}
		fields[key] = text
	}
	token, err := strconv.ParseUint(fields["token"], 10, 64)
	m := Marker{Network: fields["network"], Guest: fields["guest"], Op: fields["op"], Role: fields["role"], Token: token}
	return m, err == nil && m.Network != "" && m.Guest != "" && m.Op != ""
}
