// Package roothelper does the one thing about a guest that no API token may
// do: clear what a restore left behind when its host or its process died.
//
// Such a guest keeps the config property lock=create. There is no API call to
// clear it, "qm unlock" and "pct unlock" ask for root, and a killed container
// restore also leaves the image mounted (reference/proxmox.md, fact 3). The
// agent is not root, so a helper process is, behind a unix socket and with two
// verbs. It trusts the agent as little as it can: a request names a verb and a
// guest id, nothing else, and the helper looks for itself whether the guest is
// in the range that root wrote down, stopped, unprotected, no template, locked
// by a restore and not being restored at this moment.
//
// One connection carries one request and one answer, a line of ASCII each:
//
//	unlock 90001     →  ok
//	umount 90001     →  refused running guest 90001 is running
//
// Order matters to the caller: umount asks for lock=create as well, so it
// comes before unlock. Deleting the leftover needs no root and goes by token.
package roothelper

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
)

// Where the helper listens and finds its rules when nothing else is said.
const (
	DefaultSocket = "/run/www/helper.sock"
	DefaultRules  = "/etc/www/helper.yaml"
	DefaultUser   = "wwwd"
)

// Verb is what the helper can do. There are two and no more.
type Verb string

// The verbs.
const (
	Unlock Verb = "unlock" // clear lock=create of a VM or container
	Umount Verb = "umount" // unmount the file systems that a killed container restore left mounted
)

// Request is one parsed request.
type Request struct {
	Verb Verb
	ID   int // 100 … 999999999
}

// Code is the reason of a refusal, for programs.
type Code string

// The codes of a refusal. After every one of them but Failed nothing was done.
const (
	BadRequest Code = "request"   // not one well-formed line in time
	BadPeer    Code = "peer"      // the caller is not the configured user
	BadRules   Code = "rules"     // the rules file is missing, wrong or could have been written by others
	OutOfRange Code = "range"     // the id is in no range of the rules file
	Absent     Code = "absent"    // this host has no such guest
	WrongKind  Code = "kind"      // umount of a VM: only containers are mounted
	Running    Code = "running"   // the guest is not stopped
	Template   Code = "template"  // the guest is a template
	Protected  Code = "protected" // protection=1
	NotLocked  Code = "unlocked"  // there is no lock: nothing to do
	OtherLock  Code = "lock"      // the lock is not "create": something else is at work
	Busy       Code = "busy"      // a task on this guest runs: ask again later
	Failed     Code = "failed"    // a command failed or did not have its effect
)

// Refusal is the helper's answer when it did not do what was asked. It is the
// error of Client's calls in that case.
type Refusal struct {
	Code Code
	Text string // for a person, one line
}

// Error gives code and text.
func (r *Refusal) Error() string { return fmt.Sprintf("refused (%s): %s", r.Code, r.Text) }

// Temporary says that the same request may be granted a little later: a task
// ends, or a command that failed, on a host that has just booted, say, works.
func (r *Refusal) Temporary() bool { return r.Code == Busy || r.Code == Failed }

func refuse(code Code, format string, args ...any) *Refusal {
	return &Refusal{Code: code, Text: fmt.Sprintf(format, args...)}
}

const (
	maxRequest = 32  // bytes with the newline; the longest request has 17
	maxAnswer  = 512 // bytes with the newline
)

// ParseRequest reads one request with its newline. There is one way to write
// each request: one space, no sign, no leading zero, nothing after the newline.
func ParseRequest(b []byte) (Request, error) {
	if len(b) > maxRequest {
		return Request{}, fmt.Errorf("parse request: longer than %d bytes", maxRequest)
	}
	line, ok := bytes.CutSuffix(b, []byte("\n"))
	if !ok {
		return Request{}, fmt.Errorf("parse request: %q is not one line", b)
	}
	verb, id, ok := strings.Cut(string(line), " ")
	if !ok || Verb(verb) != Unlock && Verb(verb) != Umount {
		return Request{}, fmt.Errorf("parse request: %q: want \"unlock ID\" or \"umount ID\"", line)
	}
	n, err := strconv.Atoi(id)
	if err != nil || n < 100 || n > 999999999 || strconv.Itoa(n) != id {
		return Request{}, fmt.Errorf("parse request: %q is not a guest id", id)
	}
	return Request{Verb: Verb(verb), ID: n}, nil
}

// line is the request as it is sent.
func (r Request) line() string { return fmt.Sprintf("%s %d\n", r.Verb, r.ID) }

// formatAnswer writes an answer: nil is success. Texts of commands get into
// refusals, so whatever is not printable ASCII is replaced.
func formatAnswer(r *Refusal) string {
	if r == nil {
		return "ok\n"
	}
	text := strings.Map(func(c rune) rune {
		if c < ' ' || c > '~' {
			return '?'
		}
		return c
	}, strings.Join(strings.Fields(r.Text), " "))
	line := fmt.Sprintf("refused %s %s", r.Code, text)
	return line[:min(len(line), maxAnswer-1)] + "\n"
}

// parseAnswer reads an answer: nil, a *Refusal, or another error if it is none.
func parseAnswer(b []byte) error {
	line, ok := strings.CutSuffix(string(b), "\n")
	if ok && line == "ok" {
		return nil
	}
	rest, refused := strings.CutPrefix(line, "refused ")
	code, text, _ := strings.Cut(rest, " ")
	if !ok || !refused || code == "" || strings.Contains(line, "\n") {
		return fmt.Errorf("%w: answer %q is none of the helper's", ErrNoAnswer, line)
	}
	return &Refusal{Code: Code(code), Text: text}
}
