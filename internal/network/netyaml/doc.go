// Package netyaml reads the project's YAML files strictly and says where every
// mistake stands.
//
// One reading reports all mistakes at once: unknown and repeated keys, values
// of the wrong type, and what network.Spec.Validate finds, each with line and
// column. YAML's surprises are refused: anchors, aliases, tags, merge keys,
// a second document, null, numbers where text is wanted. Size and depth are
// limited before the parser sees the text, since its cost is quadratic in the
// depth.
//
// Keys are those of the json tags; values that implement
// encoding.TextUnmarshaler are read from text. internal/config uses the same
// reader through Read.
package netyaml
