package main

import (
	"strings"
	"testing"
)

func TestMemberRequestsAreChecked(t *testing.T) {
	for _, c := range []struct {
		q    memberRequest
		want string // "": good
	}{
		{memberRequest{Set: "voter"}, "wwwctl cluster peers"},
		{memberRequest{Site: "quai"}, "want voter, nonvoter or removed"},
		{memberRequest{Site: "quai", Set: "king", Confirm: "quai"}, "want voter, nonvoter or removed"},
		{memberRequest{Site: "quai", Set: "removed"}, "--confirm quai"},
		{memberRequest{Site: "quai", Set: "nonvoter", Confirm: "halle"}, "--confirm quai"},
		{memberRequest{Site: "quai", Set: "voter"}, ""},
		{memberRequest{Site: "quai", Set: "removed", Confirm: "quai"}, ""},
	} {
		err := c.q.check()
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %q", c.q, err, c.want)
		}
	}
}
