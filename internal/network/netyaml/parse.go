package netyaml

import (
	"slices"
	"strings"

	"github.com/raoull/worldwidewelsh/internal/network"
)

// Parse reads a network.yaml: strict decoding, defaults expanded, validated.
// The spec is nil if there is any error among the problems; warnings come
// along with a spec. Problems are sorted by their place in the file; file is
// only used to name it.
func Parse(file string, b []byte) (*network.Spec, []network.Problem) {
	var raw network.Spec
	ix, told := Read(file, b, &raw)
	spec := raw.WithDefaults()
	problems := ix.Merge(told, spec.Validate())
	if network.HasErrors(problems) {
		return nil, problems
	}
	return spec, problems
}

// Merge adds to what the reader told what a check of the values found, with
// places, sorted. Nothing is added that only follows from what was told.
func (x Index) Merge(told, found []network.Problem) []network.Problem {
	if len(x.at) == 0 {
		return told // nothing was readable
	}
	all := slices.Concat(told, x.Place(unexplained(found, told)))
	network.SortProblems(all)
	return all
}

// unexplained leaves out what only follows from a mistake that the decoder
// has told: a value that could not be read is missing, a misspelt key leaves
// its place empty, and warnings on a half-read network mean nothing.
func unexplained(found, told []network.Problem) []network.Problem {
	if len(told) == 0 {
		return found
	}
	bad, unknownIn := map[string]bool{}, map[string]bool{}
	for _, p := range told {
		switch p.Code {
		case network.CodeUnknownKey:
			unknownIn[Parent(p.Path)] = true
		case network.CodeRepeated: // the first one was read and is checked
		default:
			bad[p.Path] = true
		}
	}
	var out []network.Problem
	for _, p := range found {
		switch {
		case p.Severity == network.Warning, under(bad, p.Path):
		case p.Code == network.CodeMissing && unknownIn[Parent(p.Path)]:
		default:
			out = append(out, p)
		}
	}
	return out
}

// under says whether a path or one of its parents is in the set.
func under(set map[string]bool, path string) bool {
	for ; path != ""; path = Parent(path) {
		if set[path] {
			return true
		}
	}
	return false
}

// Parent returns the path of the value that holds the one at path, "" for the
// whole file. A key that contains dots is taken apart at each; callers look
// paths up, so the extra steps find nothing.
func Parent(path string) string {
	return path[:max(0, strings.LastIndexAny(path, ".["))]
}

// Format prints problems like a compiler: one line each, the hint indented
// below it.
func Format(problems []network.Problem) string {
	var b strings.Builder
	for _, p := range problems {
		b.WriteString(p.String())
		b.WriteByte('\n')
		if p.Hint != "" {
			b.WriteString("    hint: ")
			b.WriteString(p.Hint)
			b.WriteByte('\n')
		}
	}
	return b.String()
}
