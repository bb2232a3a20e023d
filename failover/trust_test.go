package failover_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
)

// book applies commands to a state at given times.
type book struct {
	t  *testing.T
	s  *failover.State
	at time.Time
}

func newBook(t *testing.T) *book {
	b := &book{t: t, s: failover.NewState(), at: time.Date(2026, 11, 28, 3, 0, 0, 0, time.UTC)}
	b.do("", failover.Bootstrap{Network: "assos", Generation: 1})
	b.do("", failover.SetMember{Site: "moulin", ServerID: "m1", Address: "10.0.0.1:9977", Voter: true})
	return b
}

// do applies a command and compares the code of its refusal ("" = accepted).
func (b *book) do(want string, c failover.Command) {
	b.t.Helper()
	before := b.s.Clone()
	err := b.s.Apply(failover.Stamp{Index: b.s.Index + 1, Term: 1, At: b.at, Actor: "unix:ada"}, c)
	got := ""
	if r, ok := errors.AsType[*failover.RejectedError](err); ok {
		got = r.Reason.Code
		if len(b.s.Events) != len(before.Events) || len(b.s.Tokens) != len(before.Tokens) || len(b.s.Revoked) != len(before.Revoked) || len(b.s.Operators) != len(before.Operators) {
			b.t.Errorf("%T was refused and changed the state", c)
		}
	}
	if got != want {
		b.t.Errorf("%+v: got %q (%v), want %q", c, got, err, want)
	}
}

var tokenHash = strings.Repeat("0f", 32)

func token(id string) failover.CreateToken {
	return failover.CreateToken{ID: id, Hash: tokenHash, For: time.Hour}
}

func use(id, key string, site failover.SiteID, server string) failover.UseToken {
	return failover.UseToken{ID: id, Hash: tokenHash, Key: key, Site: site, ServerID: server}
}

func TestTokenIsForOneKey(t *testing.T) {
	b := newBook(t)
	b.do(failover.CodeInvalid, failover.CreateToken{ID: "a", Hash: "short", For: time.Hour})
	b.do(failover.CodeInvalid, failover.CreateToken{ID: "a", Hash: tokenHash, For: 8 * 24 * time.Hour})
	b.do("", token("a"))
	b.do(failover.CodeDuplicate, token("a"))
	b.do(failover.CodeBadToken, use("b", "k1", "quai", "q1"))
	wrong := use("a", "k1", "quai", "q1")
	wrong.Hash = strings.Repeat("00", 32)
	b.do(failover.CodeBadToken, wrong)
	b.do(failover.CodeSiteTaken, use("a", "k1", "moulin", "m2"))
	b.do("", use("a", "k1", "quai", "q1"))
	b.do("", use("a", "k1", "quai", "q1")) // the answer was lost
	b.do(failover.CodeBadToken, use("a", "k2", "halle", "h1"))
	b.do("", failover.EndToken{ID: "a"})
	b.do(failover.CodeBadToken, use("a", "k1", "quai", "q1"))
	b.do(failover.CodeBadToken, failover.EndToken{ID: "a"})
}

func TestTokenEnds(t *testing.T) {
	b := newBook(t)
	b.do("", token("a"))
	b.at = b.at.Add(time.Hour)
	b.do(failover.CodeBadToken, use("a", "k1", "quai", "q1"))
	b.do("", token("b"))
	if _, kept := b.s.Tokens["a"]; kept {
		t.Error("a token that ended is kept for ever")
	}
}

func TestTokensAreBounded(t *testing.T) {
	b := newBook(t)
	for i := range failover.MaxTokens {
		b.do("", token(strings.Repeat("x", i+1)))
	}
	b.do(failover.CodeInvalid, token("one-more"))
	b.at = b.at.Add(2 * time.Hour)
	b.do("", token("one-more"))
}

func TestExpelledAgentStaysOut(t *testing.T) {
	b := newBook(t)
	b.do("", token("a"))
	b.do(failover.CodeInvalid, failover.RevokeAgent{ServerID: "m1", Site: "moulin"}) // still a member
	b.do("", failover.RemoveMember{Site: "moulin"})
	b.do("", failover.RevokeAgent{ServerID: "m1", Site: "moulin"})
	b.do(failover.CodeDuplicate, failover.RevokeAgent{ServerID: "m1", Site: "moulin"})
	b.do(failover.CodeBadToken, use("a", "k1", "moulin", "m1"))
	b.do("", use("a", "k1", "moulin", "m2"))
}

func TestOperatorsAreRevokedByName(t *testing.T) {
	b := newBook(t)
	admit := func(serial, name string) failover.AdmitOperator {
		return failover.AdmitOperator{Serial: serial, Name: name, Role: failover.RoleOperator, For: time.Hour}
	}
	b.do(failover.CodeInvalid, failover.AdmitOperator{Serial: "01", Name: "ada", Role: "root", For: time.Hour})
	b.do(failover.CodeInvalid, failover.AdmitOperator{Serial: "01", Name: "ada", Role: failover.RoleAdmin, For: 400 * 24 * time.Hour})
	b.do("", admit("01", "ada"))
	b.do("", admit("02", "ada"))
	b.do("", admit("03", "otto"))
	b.do(failover.CodeNothing, failover.RevokeOperator{Name: "nobody"})
	b.do("", failover.RevokeOperator{Name: "ada", Reason: "lost"})
	b.do(failover.CodeNothing, failover.RevokeOperator{Name: "ada"})
	for serial, want := range map[string]bool{"01": true, "02": true, "03": false} {
		if r, got := b.s.Revoked[failover.OperatorKey(serial)]; got != want || want && r.By.Actor != "unix:ada" {
			t.Errorf("certificate %s: revoked %v by %q, want %v", serial, got, r.By.Actor, want)
		}
	}
	b.at = b.at.Add(time.Hour)
	b.do("", admit("04", "ada")) // what has expired is forgotten, its revocation too
	if len(b.s.Operators) != 1 || len(b.s.Revoked) != 0 {
		t.Errorf("operators %v, revoked %v, want only the new certificate", b.s.Operators, b.s.Revoked)
	}
}

func TestRolesAreOrdered(t *testing.T) {
	for _, c := range []struct {
		have, need failover.Role
		want       bool
	}{
		{failover.RoleAdmin, failover.RoleOperator, true},
		{failover.RoleOperator, failover.RoleOperator, true},
		{failover.RoleViewer, failover.RoleOperator, false},
		{failover.RoleOperator, failover.RoleAdmin, false},
		{"", failover.RoleViewer, false},
	} {
		if got := c.have.May(c.need); got != c.want {
			t.Errorf("%q may what needs %q: %v, want %v", c.have, c.need, got, c.want)
		}
	}
}

func TestRebuiltStateOutranksAndWaits(t *testing.T) {
	b := newBook(t)
	b.do("", failover.SetMember{Site: "quai", ServerID: "q1", Address: "10.0.0.2:9977", Voter: true})
	b.do("", token("a"))
	old := b.s.Clone()
	old.Ops["op-7"] = failover.Operation{ID: "op-7", Phase: failover.OpCommitted}
	old.Ops["op-3"] = failover.Operation{ID: "op-3", Phase: failover.OpDone}
	self := failover.SetMember{Site: "moulin", ServerID: "m2", Address: "10.0.0.1:9977", Voter: true}
	s := old.Rebuilt(self, "a test", failover.Stamp{Index: old.Index + 1, Term: 9, At: b.at})
	if s.Generation != 2 || len(s.Members) != 1 || s.Members["moulin"].ServerID != "m2" || len(s.Tokens) != 0 {
		t.Errorf("generation %d, members %v, tokens %v", s.Generation, s.Members, s.Tokens)
	}
	for _, id := range []string{"m1", "q1"} {
		if _, ok := s.Revoked[failover.AgentKey(id)]; !ok {
			t.Errorf("old member %s is not refused", id)
		}
	}
	if old.Generation != 1 || len(old.Revoked) != 0 || len(old.Unconfirmed) != 0 {
		t.Error("the old state was changed")
	}
	b = &book{t: t, s: s, at: b.at}
	b.do(failover.CodeUnconfirmed, failover.CommitOp{Op: "op-7"})
	b.do(failover.CodeUnconfirmed, failover.Own{Token: failover.Token{Op: "op-7", Guest: "g", Step: "own"}})
	b.do(failover.CodeUnconfirmed, failover.EndPause{})
	b.do(failover.CodeUnknownOp, failover.ConfirmOp{Op: "op-7x"})
	b.do("", failover.ConfirmOp{Op: "op-7"})
	b.do(failover.CodeNothingWaits, failover.ConfirmOp{Op: "op-7"})
	b.do("", failover.EndPause{})
}
