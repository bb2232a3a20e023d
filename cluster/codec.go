package cluster

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
)

var (
	// ErrUnknownEntry says that a log entry is of a kind or of a form that this
	// version does not know. Skipping it would let this agent's state diverge,
	// so an agent that meets one in the log stops.
	ErrUnknownEntry = errors.New("log entry not known to this version")

	// ErrMalformedEntry says that bytes are no log entry of any version.
	ErrMalformedEntry = errors.New("malformed log entry")
)

// Sizes of an entry. One MiB crosses a 4 Mbit/s uplink within the transport's
// timeout of 2 s; more could never be replicated there. Bodies are deflated
// from deflateFrom on (declared networks shrink about tenfold).
const (
	MaxEntry    = 1 << 20
	maxBody     = 16 << 20 // of one entry, inflated
	deflateFrom = 8 << 10
)

// Forms of an entry: the first byte. They change only if the envelope does.
const (
	formPlain    = 1
	formDeflated = 2
)

const (
	headerSize   = 3
	ignorableBit = 1 << 15
)

// Entry is one log entry: who proposed what, when.
type Entry struct {
	ID        string           // of the proposal
	Actor     string           // who is behind it
	At        time.Time        // by the leader's term clock
	Command   failover.Command // nil: ignorable, and not known to this version
	Ignorable bool             // a version that does not know the type may skip it
}

type envelope struct {
	ID    string          `json:"id"`
	Actor string          `json:"actor,omitempty"`
	At    time.Time       `json:"at"`
	Body  json.RawMessage `json:"body"`
}

// commandType is one row of the table of log entries. Number and name are in
// the logs of running networks: rows are added, never changed or reused.
type commandType struct {
	number    uint16 // 1…32767
	name      string
	since     int // the MinVersion that allows writing it
	ignorable bool
	goType    reflect.Type
	decode    func([]byte) (failover.Command, error)
}

var commandTypes = []commandType{
	row[failover.Bootstrap](1, "bootstrap", 1),
	row[failover.BeginTerm](2, "begin-term", 1),
	row[failover.SetMember](3, "set-member", 1),
	row[failover.RemoveMember](4, "remove-member", 1),
	row[failover.ApplyNetwork](5, "apply-network", 1),
	row[failover.Report](6, "report", 1),
	row[failover.ReportReadiness](7, "report-readiness", 1),
	row[failover.Assess](8, "assess", 1),
	row[failover.BeginOp](9, "begin-op", 1),
	row[failover.CommitOp](10, "commit-op", 1),
	row[failover.CancelOp](11, "cancel-op", 1),
	row[failover.ResumeOp](12, "resume-op", 1),
	row[failover.StepMoved](13, "step-moved", 1),
	row[failover.RetryStep](14, "retry-step", 1),
	row[failover.Retarget](15, "retarget", 1),
	row[failover.Stick](16, "stick", 1),
	row[failover.RetryOp](17, "retry-op", 1),
	row[failover.Own](18, "own", 1),
	row[failover.Serve](19, "serve", 1),
	row[failover.EndOp](20, "end-op", 1),
	row[failover.Approve](21, "approve", 1),
	row[failover.SetPause](22, "set-pause", 1),
	row[failover.EndPause](23, "end-pause", 1),
	row[failover.Ack](24, "ack", 1),
	row[failover.MarkDiverged](25, "mark-diverged", 1),
	row[failover.VerifyZone](26, "verify-zone", 1),
	row[failover.BeginMaintenance](27, "begin-maintenance", 1),
	row[failover.EndMaintenance](28, "end-maintenance", 1),
	row[failover.ExcludeObserver](29, "exclude-observer", 1),
	row[failover.IncludeObserver](30, "include-observer", 1),
	row[failover.BeginWarm](31, "begin-warm", 1),
	row[failover.DropWarm](32, "drop-warm", 1),
	row[failover.ReportCopies](33, "report-copies", 1),
	row[failover.BeginReturn](34, "begin-return", 1),
	row[failover.AwayBackup](37, "away-backup", 1),
	row[failover.BeginWake](38, "begin-wake", 1),
	row[failover.AckSeal](35, "ack-seal", 1),
	row[failover.LookAgain](39, "look-again", 1),
	row[failover.HoldName](40, "hold-name", 1),
	row[failover.ReleaseName](41, "release-name", 1),
	row[failover.RemoveCopy](50, "remove-copy", 1),
	row[failover.GiveUpSeal](51, "give-up-seal", 1),
	row[failover.ForkCopy](52, "fork-copy", 1),
	row[failover.RetireSite](53, "retire-site", 1),
	row[failover.StartAgain](54, "start-again", 1),
	row[failover.CreateToken](60, "create-token", 1),
	row[failover.EndToken](61, "end-token", 1),
	row[failover.UseToken](62, "use-token", 1),
	row[failover.AdmitOperator](63, "admit-operator", 1),
	row[failover.RevokeAgent](64, "revoke-agent", 1),
	row[failover.RevokeOperator](65, "revoke-operator", 1),
	row[failover.ConfirmOp](66, "confirm-op", 1),
	row[failover.RaiseVersion](67, "raise-version", 1),
	row[failover.Told](70, "told", 1),
}

func row[C failover.Command](number uint16, name string, since int) commandType {
	return commandType{
		number: number, name: name, since: since, goType: reflect.TypeFor[C](),
		decode: func(b []byte) (failover.Command, error) {
			var c C
			err := strictJSON(b, &c)
			return c, err
		},
	}
}

// strictJSON refuses fields that the type does not have: a newer version wrote
// them, and reading past them would let states diverge.
func strictJSON(b []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("data after the JSON value")
	}
	return nil
}

func typeOf(c failover.Command) (commandType, error) {
	t := reflect.TypeOf(c)
	for _, row := range commandTypes {
		if row.goType == t {
			return row, nil
		}
	}
	return commandType{}, fmt.Errorf("encode entry: no type number for %v: %w", t, ErrUnknownEntry)
}

// Encode writes an entry: one byte of form, two bytes of type number (big
// endian, the top bit says ignorable), then {id, actor, at, body} as JSON.
func Encode(e Entry) ([]byte, error) {
	row, err := typeOf(e.Command)
	if err != nil {
		return nil, err
	}
	body, err := json.Marshal(e.Command)
	if err != nil {
		return nil, fmt.Errorf("encode entry %s: %w", row.name, err)
	}
	payload, err := json.Marshal(envelope{ID: e.ID, Actor: e.Actor, At: e.At.UTC(), Body: body})
	if err != nil {
		return nil, fmt.Errorf("encode entry %s: %w", row.name, err)
	}
	form := byte(formPlain)
	if len(payload) >= deflateFrom {
		form = formDeflated
		if payload, err = deflate(payload); err != nil {
			return nil, fmt.Errorf("encode entry %s: %w", row.name, err)
		}
	}
	if size := headerSize + len(payload); size > MaxEntry {
		return nil, fmt.Errorf("encode entry %s: %d bytes, at most %d: %w", row.name, size, MaxEntry, failover.ErrRefused)
	}
	number := row.number
	if row.ignorable || e.Ignorable {
		number |= ignorableBit
	}
	b := make([]byte, headerSize, headerSize+len(payload))
	b[0] = form
	binary.BigEndian.PutUint16(b[1:], number)
	return append(b, payload...), nil
}

// Decode reads an entry. It fails with ErrUnknownEntry for what a newer
// version wrote and with ErrMalformedEntry for anything else; an ignorable
// entry of an unknown type has a nil Command.
func Decode(b []byte) (Entry, error) {
	if len(b) < headerSize || len(b) > MaxEntry {
		return Entry{}, fmt.Errorf("decode entry: %d bytes: %w", len(b), ErrMalformedEntry)
	}
	number := binary.BigEndian.Uint16(b[1:])
	ignorable := number&ignorableBit != 0
	number &^= ignorableBit
	row, known := rowOf(number)
	switch {
	case b[0] == 0:
		return Entry{}, fmt.Errorf("decode entry: form 0: %w", ErrMalformedEntry)
	case b[0] > formDeflated:
		return Entry{}, fmt.Errorf("decode entry: form %d: %w", b[0], ErrUnknownEntry)
	case !known && !ignorable:
		return Entry{}, fmt.Errorf("decode entry: type %d: %w", number, ErrUnknownEntry)
	}
	payload := b[headerSize:]
	if b[0] == formDeflated {
		var err error
		if payload, err = inflate(payload); err != nil {
			return Entry{}, fmt.Errorf("decode entry: type %d: %w: %w", number, ErrMalformedEntry, err)
		}
	}
	var env envelope
	if err := strictJSON(payload, &env); err != nil {
		return Entry{}, fmt.Errorf("decode entry: type %d: %w: %w", number, ErrMalformedEntry, err)
	}
	e := Entry{ID: env.ID, Actor: env.Actor, At: env.At.UTC(), Ignorable: ignorable}
	if !known {
		return e, nil
	}
	c, err := row.decode(env.Body)
	if err != nil {
		return Entry{}, fmt.Errorf("decode entry: body of %s: %w: %w", row.name, ErrUnknownEntry, err)
	}
	e.Command = c
	return e, nil
}

// tooNew is what an agent says of a log that it can read no longer.
func tooNew(version int) error {
	return fmt.Errorf("the network writes version %d of the log, this wwwd reads up to %d (install the newer package again): %w",
		version, failover.CommandVersion, ErrUnknownEntry)
}

func rowOf(number uint16) (commandType, bool) {
	for _, row := range commandTypes {
		if row.number == number {
			return row, true
		}
	}
	return commandType{}, false
}

func deflate(b []byte) ([]byte, error) {
	var out bytes.Buffer
	w, err := flate.NewWriter(&out, flate.DefaultCompression)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(b); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

func inflate(b []byte) ([]byte, error) {
	out, err := io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(b)), maxBody+1))
	if err != nil {
		return nil, err
	}
	if len(out) > maxBody {
		return nil, fmt.Errorf("inflates to more than %d bytes", maxBody)
	}
	return out, nil
}
