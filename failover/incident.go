package failover

import (
	"cmp"
	"slices"
	"time"
)

// Incident is the record of one operation, for those who were not there: what happened and why,
// on what evidence, who agreed, what it cost each guest. It is made of State alone.
type Incident struct {
	Network  string        `json:"network"`
	Op       OpID          `json:"operation"`
	Kind     OpKind        `json:"kind"`
	Phase    OpPhase       `json:"phase"`
	Domain   DomainID      `json:"domain"`
	Site     SiteID        `json:"site"`
	Made     time.Time     `json:"made"` // when this report was
	Silent   time.Time     `json:"silent_since,omitzero"`
	Begun    time.Time     `json:"begun"`
	Decided  time.Time     `json:"committed,omitzero"`
	Ended    time.Time     `json:"ended,omitzero"`
	BegunBy  string        `json:"begun_by,omitempty"`
	Forced   bool          `json:"by_hand"`
	Approved []Approval    `json:"approved,omitempty"` // persons that let it go on
	Evidence []Vote        `json:"evidence,omitempty"` // the votes it was committed on; none when a person decided
	Plan     string        `json:"plan"`
	Bytes    int64         `json:"bytes"` // restored in all
	Worst    time.Duration `json:"worst_took"`
	Loss     time.Duration `json:"worst_loss"`
	Prepared Prepared      `json:"prepared,omitzero"` // what was restored ahead

	Guests    []IncidentGuest `json:"guests"`
	LeftOut   []LeftOut       `json:"left_out,omitempty"`
	Cancelled Reason          `json:"cancelled,omitzero"`
	Events    []Event         `json:"events"` // oldest first: of the operation, and of its site meanwhile
}

// Prepared is what became of the copies that were restored during a countdown, and of those that
// were restored for what was then given up.
type Prepared struct {
	Used   int   `json:"used"`   // guests that are owned with theirs
	Thrown int   `json:"thrown"` // guests whose copy was removed, or is about to be
	Waits  int   `json:"waits"`  // guests whose copy is kept, stopped
	Wasted int64 `json:"wasted"` // bytes of those that were removed
}

// Approval is a person's word on an operation.
type Approval struct {
	At    time.Time `json:"at"`
	Actor string    `json:"actor"`
	Code  string    `json:"code"` // of the event
}

// IncidentGuest is one guest of an incident. Durations of a guest that does not serve are zero.
type IncidentGuest struct {
	Guest     GuestID       `json:"guest"`
	Structure StructureID   `json:"structure"`
	Priority  int           `json:"priority"`
	Target    SiteID        `json:"target"`
	State     RunState      `json:"state"`
	Point     time.Time     `json:"restore_point"`
	Loss      time.Duration `json:"loss"` // what was written after the point is not in the copy
	Served    time.Time     `json:"served,omitzero"`
	Down      time.Duration `json:"down,omitempty"` // from the first silence (by hand: the decision) until it served
	Bytes     int64         `json:"bytes,omitempty"`
	Prepared  string        `json:"prepared,omitempty"` // what became of the copy that was restored ahead: used, waits, thrown away
	Wasted    int64         `json:"wasted,omitempty"`   // bytes that were restored for it in vain
	Stuck     Reason        `json:"stuck,omitzero"`
	Tried     []Tried       `json:"tried,omitempty"`
	Steps     []Step        `json:"steps"`
}

// IncidentOf reports on an operation; of only the guests of a structure if one is named. It
// returns false when there is no such operation.
func IncidentOf(s *State, id OpID, structure StructureID, now time.Time) (Incident, bool) {
	op, ok := s.Ops[id]
	if !ok {
		return Incident{}, false
	}
	out := Incident{
		Network: s.Network.Network, Op: id, Kind: op.Kind, Phase: op.Phase, Domain: op.Domain, Site: op.Plan.Loss.Site,
		Made: now, Begun: op.Begun.At, Decided: op.Committed.At, Ended: op.Ended.At, BegunBy: op.Begun.Actor, Forced: op.Forced,
		Evidence: op.Votes, Plan: op.Plan.Hash, Cancelled: op.Cancelled, Guests: []IncidentGuest{}, Events: []Event{},
	}
	out.Silent = op.silentSince()
	for _, g := range op.workOrder() {
		run := op.Guests[g]
		if structure != "" && run.Assignment.Structure != structure {
			continue
		}
		ig := op.incidentGuest(run, out.Silent)
		out.Bytes += ig.Bytes
		out.Prepared.add(ig)
		out.Worst = max(out.Worst, ig.Down)
		if !ig.Served.IsZero() {
			out.Loss = max(out.Loss, ig.Loss)
		}
		out.Guests = append(out.Guests, ig)
	}
	for _, l := range op.Plan.LeftOut {
		if structure == "" || s.Network.Guests[l.Guest].Structure == structure {
			out.LeftOut = append(out.LeftOut, l)
		}
	}
	s.incidentEvents(&out, op, structure)
	return out, true
}

func (p *Prepared) add(g IncidentGuest) {
	p.Wasted += g.Wasted
	switch g.Prepared {
	case PreparedUsed:
		p.Used++
	case PreparedThrown:
		p.Thrown++
	case PreparedWaits:
		p.Waits++
	}
}

// silentSince is when the silence began that an operation answers to: what the voters measured
// when it was committed. Zero: a person decided, or it was not committed.
func (o Operation) silentSince() time.Time {
	if len(o.Votes) == 0 || o.Committed.Index == 0 {
		return time.Time{}
	}
	longest := slices.MaxFunc(o.Votes, func(a, b Vote) int { return int(a.Silence - b.Silence) })
	return o.Committed.At.Add(-longest.Silence)
}

func (o Operation) incidentGuest(run GuestRun, silent time.Time) IncidentGuest {
	a := run.Assignment
	out := IncidentGuest{
		Guest: a.Guest, Structure: a.Structure, Priority: a.Priority, Target: a.Target, State: run.State, Point: a.Point.Time,
		Loss: a.Loss, Served: run.Served.At, Stuck: run.Stuck, Tried: run.Tried, Steps: run.Steps,
		Prepared: o.prepared(run), Wasted: run.Wasted,
	}
	if silent.IsZero() {
		silent = o.Begun.At
	}
	if run.Served.Index != 0 {
		out.Down = run.Served.At.Sub(silent)
	}
	if restore, ok := run.copying(); ok && restore.Status == StatusDone {
		out.Bytes = cmp.Or(restore.Total, a.Point.Size)
	}
	return out
}

// incidentEvents adds what happened to the operation, and to its site from the silence on.
func (s *State) incidentEvents(out *Incident, op Operation, structure StructureID) {
	from := op.Begun.At
	if !out.Silent.IsZero() && out.Silent.Before(from) {
		from = out.Silent
	}
	approvals := []string{CodeApproved, CodeOpConfirmed, CodeAcked}
	for _, e := range s.Events {
		of := e.Op == op.ID
		beside := e.Op == "" && e.Guest == "" && e.Site == out.Site && !e.Stamp.At.Before(from) && (op.Ended.Index == 0 || !e.Stamp.At.After(op.Ended.At))
		if !of && !beside || structure != "" && e.Guest != "" && s.Network.Guests[e.Guest].Structure != structure {
			continue
		}
		if of && slices.Contains(approvals, e.Reason.Code) {
			out.Approved = append(out.Approved, Approval{At: e.Stamp.At, Actor: e.Stamp.Actor, Code: e.Reason.Code})
		}
		out.Events = append(out.Events, e)
	}
}
