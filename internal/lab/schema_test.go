package lab_test

import (
	"net/url"
	"strings"
	"testing"

	"github.com/raoull/worldwidewelsh/internal/lab"
)

func TestSchemaRefusesWhatTheVendorRefuses(t *testing.T) {
	if otherSchema() {
		t.Skip("another schema is being checked")
	}
	s := pveSchema(t)
	const archive = "a:backup/vm/100/2024-01-01T00:00:00Z"
	tests := []struct {
		name, method, path string
		args               url.Values
		want               string
	}{
		{"unknown path", "GET", "/nodes/x/nothing", nil, "no such operation"},
		{"unknown method", "PATCH", "/nodes/x/qemu", nil, "no such operation"},
		{"unknown parameter", "GET", "/nodes/x/tasks", pairs("colour", "red"), "not in the schema"},
		{"missing parameter", "POST", "/nodes/x/qemu", nil, "vmid: missing"},
		{"wrong type", "POST", "/nodes/x/qemu", pairs("vmid", "abc"), "type check ('integer')"},
		{"out of range", "POST", "/nodes/x/qemu", pairs("vmid", "7"), "below 100"},
		{"not in the enumeration", "GET", "/nodes/x/tasks", pairs("source", "everything"), "is not one of"},
		{"bad property string", "POST", "/nodes/x/qemu", pairs("vmid", "100", "net0", "virtio,bridge=vmbr0,colour=red"), "unknown key"},
		{"requires another", "POST", "/nodes/x/qemu", pairs("vmid", "100", "force", "1"), "needs archive"},
		{"good", "POST", "/nodes/x/qemu", pairs("vmid", "100", "archive", archive, "net31", "virtio=BC:24:11:00:00:01,bridge=vmbr0,tag=5"), ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := s.CheckRequest(tt.method, tt.path, tt.args)
			if (tt.want == "") != (err == nil) || (err != nil && !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("CheckRequest(%s %s %v) = %v, want %q", tt.method, tt.path, tt.args, err, tt.want)
			}
		})
	}
}

func TestSchemaSeesWrongAnswers(t *testing.T) {
	if otherSchema() {
		t.Skip("another schema is being checked")
	}
	pve, pbs := pveSchema(t), pbsSchema(t)
	tests := []struct {
		name, path, body, want string
		schema                 *lab.Schema
	}{
		{"not JSON", "/version", "<html>", "decode answer", pve},
		{"no data", "/version", "{}", "no data", pve},
		{"missing key", "/version", `{"data":{"version":"9"}}`, "data.release: missing", pve},
		{"wrong type", "/version", `{"data":{"version":9,"release":"9","repoid":"x"}}`, "want string", pve},
		{"JSON boolean from PVE", "/nodes/x/storage/y/status", `{"data":{"type":"pbs","content":"backup","active":true}}`, "want boolean", pve},
		{"1 for a boolean from PBS", "/ping", `{"data":{"pong":1}}`, "want boolean", pbs},
		{"unknown key from PBS", "/ping", `{"data":{"pong":true,"x":1}}`, "not in the schema", pbs},
		{"good", "/ping", `{"data":{"pong":true}}`, "", pbs},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.schema.CheckAnswer("GET", tt.path, []byte(tt.body))
			if (tt.want == "") != (err == nil) || (err != nil && !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("CheckAnswer(%s, %s) = %v, want %q", tt.path, tt.body, err, tt.want)
			}
		})
	}
}
