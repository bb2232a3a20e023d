package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/message"
)

// hostile is text of others that would be markup.
const hostile = `<script>alert("x")</script> | **bold** & [link](http://evil.example)`

// anIncident is a failover of two guests, one of which is stuck, with text of others wherever it may stand.
func anIncident() failover.Incident {
	at := func(minute, second int) time.Time { return time.Date(2026, 11, 22, 3, minute, second, 0, time.UTC) }
	stamp := func(minute, second int) failover.Stamp {
		return failover.Stamp{Index: uint64(60*minute + second), Term: 42, At: at(minute, second), Actor: "agent:fabrique"}
	}
	return failover.Incident{
		Network: "assos", Op: "op-187", Kind: failover.KindFailover, Phase: failover.OpStuck, Domain: "site:moulin", Site: "moulin",
		Made: at(59, 0), Silent: at(2, 9), Begun: at(2, 54), Decided: at(7, 9), Ended: at(40, 0), BegunBy: "agent:fabrique", Plan: "p-c27f2545-2h",
		Bytes: 60 << 30, Worst: 7*time.Minute + 22*time.Second, Loss: 107 * time.Minute,
		Approved: []failover.Approval{{At: at(8, 0), Actor: "unix:lea " + hostile, Code: failover.CodeApproved}},
		Evidence: []failover.Vote{
			{Observer: "fabrique", Voter: true, Dark: true, Silence: 300 * time.Second, Paths: []failover.Path{failover.PathMesh, failover.PathPublic}, Age: time.Second},
			{Observer: "quai", Voter: true, Dark: false, Sees: []string{"entry"}, Unwell: []string{"uplink"}},
		},
		Guests: []failover.IncidentGuest{
			{
				Guest: "nextcloud-moulin", Structure: "le-moulin", Priority: 1, Target: "quai", State: failover.RunDone, Point: at(1, 15),
				Loss: 107 * time.Minute, Served: at(9, 31), Down: 7*time.Minute + 22*time.Second, Bytes: 60 << 30,
				Steps: []failover.Step{{ID: failover.StepRestore, Status: failover.StatusDone, Attempt: 1, Total: 60 << 30, Begun: stamp(2, 55), Ended: stamp(8, 40), Note: hostile}},
			},
			{
				Guest: "compta-moulin", Structure: "le-moulin", Priority: 2, Target: "fabrique", State: failover.RunStuck, Point: at(1, 15),
				Stuck: failover.Reason{Code: failover.CodeStepFailed, Args: map[string]string{"guest": "compta-moulin", "step": "check", "note": hostile}},
				Tried: []failover.Tried{{Target: "quai", Reason: failover.Reason{Code: failover.CodeLost, Args: map[string]string{"domain": "site:quai"}}}},
			},
		},
		LeftOut: []failover.LeftOut{{Guest: "archives", Priority: 4, Reason: failover.Reason{Code: failover.CodePriority4}}},
		Events: []failover.Event{
			{Stamp: stamp(7, 9), Op: "op-187", Reason: failover.Reason{Code: failover.CodeOpCommitted, Args: map[string]string{"op": "op-187", "guests": "2", "votes": "4"}}},
		},
	}
}

func TestIncidentReportGolden(t *testing.T) {
	a := &app{g: globals{lang: string(message.English)}, show: style{zone: time.UTC}}
	d := a.incidentDocument(anIncident(), "")
	golden(t, "incident.md", d.markdown())
	page, err := d.html()
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "incident.html", page)
	for name, text := range map[string]string{"html": page, "markdown": d.markdown()} {
		if strings.Contains(text, "<script") {
			t.Errorf("%s: what others wrote is markup", name)
		}
	}
	if strings.Contains(d.markdown(), "**bold**") || strings.Contains(d.markdown(), "[link](") {
		t.Error("markdown: what others wrote is markup")
	}
}

// What preparation was good for stands in every form, and nothing where there was none.
func TestIncidentTellsOfPreparation(t *testing.T) {
	a := &app{g: globals{lang: string(message.English)}, show: style{zone: time.UTC}}
	in := anIncident()
	if text := a.incidentDocument(in, "").markdown(); strings.Contains(text, "prepared") {
		t.Errorf("preparation in the record of an operation without:\n%s", text)
	}
	in.Prepared = failover.Prepared{Used: 1, Thrown: 1, Wasted: 12 << 30}
	in.Guests[0].Prepared, in.Guests[1].Prepared, in.Guests[1].Wasted = failover.PreparedUsed, failover.PreparedThrown, 12<<30
	d := a.incidentDocument(in, "")
	page, err := d.html()
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"markdown": d.markdown(), "html": page} {
		for _, want := range []string{
			"of the stopped copies 1 used, 1 thrown away (12 GiB in vain)",
			"compta-moulin: 12 GiB were restored at fabrique and thrown away",
		} {
			if !strings.Contains(text, want) {
				t.Errorf("%s: no %q in\n%s", name, want, text)
			}
		}
	}
}

func TestReportIncident(t *testing.T) {
	b := newBackend(t)
	if err := b.Lose(); err != nil {
		t.Fatal(err)
	}
	socket := agentOf(t, b)
	if got := wwwctl(t.Context(), socket, "failover moulin -y --detach"); got.code != exitOK {
		t.Fatalf("failover: exit %d\n%s", got.code, got.errOut)
	}
	id := string(onlyOp(t, b))
	for _, tt := range []struct {
		line string
		code int
		says string
	}{
		{"report incident " + id, exitOK, "# " + id + ": failover of moulin"},
		{"report incident " + id + " --format html", exitOK, "<h1>" + id + ": failover of moulin</h1>"},
		{"report incident " + id + " --for le-moulin", exitOK, "guests of le-moulin"},
		{"report incident " + id + " --for nobody", exitFailure, "there is no structure nobody"},
		{"report incident op-0", exitFailure, "there is no operation op-0"},
		{"report incident", exitUsage, "the operation is missing"},
		{"report", exitUsage, "report incident OP"},
		{"report incident " + id + " --format pdf", exitUsage, "md, html or json"},
	} {
		if got := wwwctl(t.Context(), socket, tt.line); got.code != tt.code || !strings.Contains(got.out+got.errOut, tt.says) {
			t.Errorf("wwwctl %s: exit %d, want %d and %q\n%s%s", tt.line, got.code, tt.code, tt.says, got.out, got.errOut)
		}
	}
	got := wwwctl(t.Context(), socket, "report incident "+id+" --format json")
	var in struct {
		Kind     string
		Incident failover.Incident
	}
	if err := json.Unmarshal([]byte(got.out), &in); err != nil || in.Kind != "Incident" || in.Incident.Op != failover.OpID(id) || len(in.Incident.Guests) == 0 {
		t.Errorf("json: %v, kind %q, %+v", err, in.Kind, in.Incident)
	}
}
