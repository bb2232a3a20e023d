package main

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/raoull/worldwidewelsh/internal/api"
)

// TestAlertTest: the agent's answer is shown, and its failure is one.
func TestAlertTest(t *testing.T) {
	var asked string
	socket := listen(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		asked = r.Method + " " + r.URL.Path + " " + string(b)
		if strings.Contains(string(b), "sms") {
			api.AnswerVerb(w, "", api.NotNow("1 of 1 channels failed"))
			return
		}
		api.AnswerVerb(w, "mail: taken", nil)
	}))
	if got := wwwctl(t.Context(), socket, "alert test"); got.code != exitOK || got.out != "mail: taken\n" || asked != `POST /v1/alert/test {"channel":""}` {
		t.Errorf("got %+v, the agent was asked %s", got, asked)
	}
	if got := wwwctl(t.Context(), socket, "alert test --channel sms"); got.code == exitOK || !strings.Contains(got.errOut, "1 of 1 channels failed") {
		t.Errorf("a channel that fails: %+v", got)
	}
	for _, line := range []string{"alert", "alert shout", "alert test now"} {
		if got := wwwctl(t.Context(), socket, line); got.code != exitUsage {
			t.Errorf("%s: exit code %d, want %d", line, got.code, exitUsage)
		}
	}
}
