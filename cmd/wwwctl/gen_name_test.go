package main

import (
	"strings"
	"testing"

	"github.com/raoull/worldwidewelsh/internal/network/netyaml"
)

// A site may be known by a name that changes its address, unless a public name
// would need an address there; a zone of other servers counts its own serials.
func TestDynamicNamesAndSerialsAreChecked(t *testing.T) {
	quai := "mesh: 10.77.2.1\n    public: {name: quai.dyndns.example}"
	for _, tt := range []struct{ zone, quai, name, want string }{
		{"{serial_after: 2026112207}", quai, "nuage.assos.example", ""},
		{"{}", quai, "assos.example", "cannot be a CNAME"},
		{"{records: [{name: nuage, type: TXT, data: x}]}", quai, "nuage.assos.example", "cannot be a CNAME"},
		{"{}", "mesh: 10.77.2.1\n    public: {name: quai.assos.example}", "nuage.assos.example", "lies in a zone of this network"},
		{"{}", "mesh: 10.77.2.1\n    public: {name: Quai}", "nuage.assos.example", "is not a host name"},
		{"{serial_after: 4294967296}", quai, "nuage.assos.example", "out of range"},
		{strings.Replace(foreignZone, "{", "{serial_after: 7, ", 1), quai, "nuage.assos.example", "counts its serials"},
	} {
		text := strings.Replace(strings.Replace(genNetwork(tt.zone), "mesh: 10.77.2.1", tt.quai, 1), "names: [nuage.assos.example]", "names: ["+tt.name+"]", 1)
		spec, problems := netyaml.Parse("network.yaml", []byte(text))
		if spec != nil {
			problems = append(problems, spec.Validate()...)
		}
		got := netyaml.Format(problems)
		wrong := strings.Contains(got, "CNAME") || strings.Contains(got, "serial") || strings.Contains(got, "public name")
		if tt.want == "" && wrong || !strings.Contains(got, tt.want) {
			t.Errorf("zone %s, name %s: want %q in\n%s", tt.zone, tt.name, tt.want, got)
		}
	}
}
