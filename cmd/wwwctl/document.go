package main

import (
	"fmt"
	"html/template"
	"strings"
)

// document is a report on paper: the same parts as Markdown and as HTML.
type document struct {
	Title string
	Lead  []string // paragraphs
	Parts []part
}

// part is a section: facts, then a table, then lines.
type part struct {
	Heading string
	Facts   [][2]string
	Columns []string
	Rows    [][]string
	Lines   []string
}

// fact adds a line "name: value"; an empty value adds none.
func (p *part) fact(name, format string, args ...any) {
	if text := fmt.Sprintf(format, args...); text != "" {
		p.Facts = append(p.Facts, [2]string{name, text})
	}
}

// markdownText keeps what was written by others from being markup: a cell ends at a bar, and
// readers of Markdown pass HTML on.
var markdownText = strings.NewReplacer(
	"\\", "\\\\", "|", "\\|", "<", "&lt;", ">", "&gt;", "&", "&amp;", "*", "\\*", "_", "\\_", "`", "\\`", "[", "\\[", "]", "\\]", "\r", " ", "\n", " ",
)

// markdown writes the document in CommonMark with the tables of GitHub.
func (d document) markdown() string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	text := markdownText.Replace
	row := func(cells []string) {
		out := make([]string, 0, len(cells))
		for _, c := range cells {
			out = append(out, text(c))
		}
		line("| %s |", strings.Join(out, " | "))
	}
	line("# %s", text(d.Title))
	for _, p := range d.Lead {
		line("\n%s", text(p))
	}
	for _, p := range d.Parts {
		line("\n## %s\n", text(p.Heading))
		for _, f := range p.Facts {
			line("- **%s**: %s", text(f[0]), text(f[1]))
		}
		if len(p.Rows) > 0 {
			if len(p.Facts) > 0 {
				line("")
			}
			row(p.Columns)
			line("|%s", strings.Repeat("---|", len(p.Columns)))
			for _, r := range p.Rows {
				row(r)
			}
		}
		for i, l := range p.Lines {
			if i == 0 && len(p.Facts)+len(p.Rows) > 0 {
				line("")
			}
			line("- %s", text(l))
		}
	}
	return b.String()
}

// pageTemplate escapes whatever it is given. Nothing is loaded from elsewhere: the page is
// read where the network may be down.
var pageTemplate = template.Must(template.New("page").Parse(`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{.Title}}</title>
<style>
body { font: 1rem/1.5 sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #111; background: #fff }
table { border-collapse: collapse } th, td { border: 1px solid #888; padding: .25rem .5rem; text-align: left; vertical-align: top }
@media print { body { margin: 0 } h2 { break-after: avoid } }
</style>
</head>
<body>
<h1>{{.Title}}</h1>
{{range .Lead}}<p>{{.}}</p>
{{end}}{{range .Parts}}<h2>{{.Heading}}</h2>
{{if .Facts}}<table>
{{range .Facts}}<tr><th scope="row">{{index . 0}}</th><td>{{index . 1}}</td></tr>
{{end}}</table>
{{end}}{{if .Rows}}<table>
<tr>{{range .Columns}}<th scope="col">{{.}}</th>{{end}}</tr>
{{range .Rows}}<tr>{{range .}}<td>{{.}}</td>{{end}}</tr>
{{end}}</table>
{{end}}{{if .Lines}}<ul>
{{range .Lines}}<li>{{.}}</li>
{{end}}</ul>
{{end}}{{end}}</body>
</html>
`))

// html writes the document as one page without script.
func (d document) html() (string, error) {
	var b strings.Builder
	if err := pageTemplate.Execute(&b, d); err != nil {
		return "", fmt.Errorf("write page: %w", err)
	}
	return b.String(), nil
}
