package site

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestEffectsAreNoted(t *testing.T) {
	path := filepath.Join(t.TempDir(), "effects.jsonl")
	served := 0
	next := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		served++
		if r.Method == http.MethodDelete {
			w.WriteHeader(http.StatusForbidden)
		}
	})
	serve := (&effects{path: path}).on("raoull-quai")
	ask := func(method, url, body string) {
		serve(next, httptest.NewRecorder(), httptest.NewRequest(method, url, strings.NewReader(body)))
	}
	if list, at, err := ReadEffects(path, 0); err != nil || len(list) != 0 || at != 0 {
		t.Errorf("a log that is not there: %v, %d, %v", list, at, err)
	}
	ask("GET", "/api2/json/nodes/n/qemu", "")
	ask("POST", "/api2/json/nodes/n/qemu", `{"vmid":"90001","force":1}`)
	ask("POST", "/api2/json/nodes/n/lxc", "hostname=x&vmid=90002")
	list, at, err := ReadEffects(path, 0)
	if err != nil {
		t.Fatal(err)
	}
	want := []Effect{
		{Host: "raoull-quai", Method: "POST", Path: "/nodes/n/qemu", ID: 90001, Force: true, Status: 200},
		{Host: "raoull-quai", Method: "POST", Path: "/nodes/n/lxc", ID: 90002, Status: 200},
	}
	if diff := cmp.Diff(want, list, cmpopts.IgnoreFields(Effect{}, "At")); diff != "" {
		t.Errorf("effects (-want +got):\n%s", diff)
	}
	ask("DELETE", "/api2/json/nodes/n/lxc/90002?force=1", "")
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(`{"at":"20`); err != nil { // a kill in the middle of a line
		t.Fatal(err)
	}
	f.Close()
	list, _, err = ReadEffects(path, at)
	want = []Effect{{Host: "raoull-quai", Method: "DELETE", Path: "/nodes/n/lxc/90002", ID: 90002, Force: true, Status: 403}}
	if diff := cmp.Diff(want, list, cmpopts.IgnoreFields(Effect{}, "At")); diff != "" || err != nil {
		t.Errorf("what was added (-want +got):\n%s%v", diff, err)
	}
	if served != 4 {
		t.Errorf("%d requests were served, want all 4", served)
	}
}
