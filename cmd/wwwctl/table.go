package main

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// cell is one field of a table.
type cell struct {
	text string
	tone tone
}

func c(text string) cell { return cell{text: text} }

// column of a table. The flexible one gives way when the terminal is narrow.
type column struct {
	title             string
	right, wide, flex bool
}

// table is rows under a head. The first column names the row.
type table struct {
	cols   []column
	rows   [][]cell
	indent string
}

func cols(titles ...string) []column {
	out := make([]column, len(titles))
	for i, t := range titles {
		// ">" = right-aligned, "+" = with -o wide only, "~" = flexible
		for strings.ContainsAny(t[:min(1, len(t))], ">+~") {
			switch t[0] {
			case '>':
				out[i].right = true
			case '+':
				out[i].wide = true
			case '~':
				out[i].flex = true
			}
			t = t[1:]
		}
		out[i].title = t
	}
	return out
}

func (t *table) add(row ...cell) { t.rows = append(t.rows, row) }

// lines lays the table out for the terminal.
func (t table) lines(s style, noHeaders bool) []string {
	widths := t.widths(s, noHeaders)
	var out []string
	if !noHeaders {
		head := make([]cell, len(t.cols))
		for i, col := range t.cols {
			head[i] = cell{col.title, dim}
		}
		out = append(out, t.line(s, head, widths))
	}
	for _, row := range t.rows {
		out = append(out, t.line(s, row, widths))
	}
	return out
}

// widths returns each column's width, -1 for a column that is not shown.
func (t table) widths(s style, noHeaders bool) []int {
	widths := make([]int, len(t.cols))
	total := len(t.indent)
	flex := -1
	for i, col := range t.cols {
		if col.wide && !s.wide {
			widths[i] = -1
			continue
		}
		if !noHeaders {
			widths[i] = utf8.RuneCountInString(col.title)
		}
		for _, row := range t.rows {
			if i < len(row) {
				widths[i] = max(widths[i], utf8.RuneCountInString(s.text(row[i].text)))
			}
		}
		if col.flex {
			flex = i
		}
		total += widths[i] + 2
	}
	if over := total - 2 - s.columns(); s.cut && flex >= 0 && over > 0 {
		widths[flex] = max(8, widths[flex]-over)
	}
	return widths
}

// least is the narrowest that the table can be laid out without cutting anything but the flexible column, and that to no
// less than leastDecided.
func (t table) least(s style) int {
	s.cut = false
	total := len(t.indent) - 2
	for i, w := range t.widths(s, false) {
		if t.cols[i].flex {
			w = min(w, leastDecided)
		}
		if w >= 0 {
			total += w + 2
		}
	}
	return total
}

// fitting lays the table out whole: as rows, or as one block per row where the terminal is too narrow for them.
func (t table) fitting(s style, noHeaders bool) []string {
	if !s.cut || t.natural(s, noHeaders) <= s.columns() {
		return t.lines(s, noHeaders)
	}
	return t.blocks(s)
}

// natural is the width at which nothing is cut.
func (t table) natural(s style, noHeaders bool) int {
	s.cut = false
	total := len(t.indent) - 2
	for _, w := range t.widths(s, noHeaders) {
		if w >= 0 {
			total += w + 2
		}
	}
	return total
}

// blocks writes a row as its name, and below it each field behind the title of its column.
func (t table) blocks(s style) []string {
	label := 0
	for _, col := range t.cols[1:] {
		if !col.wide || s.wide {
			label = max(label, utf8.RuneCountInString(col.title))
		}
	}
	p := &page{s: s}
	for _, row := range t.rows {
		p.raw(t.indent + s.paint(row[0].tone, s.text(row[0].text)))
		for i, col := range t.cols[1:] {
			if i+1 >= len(row) || col.wide && !s.wide {
				continue
			}
			first := fmt.Sprintf("%s  %-*s  ", t.indent, label, strings.ToLower(col.title))
			p.prose(first, strings.Repeat(" ", utf8.RuneCountInString(first)), s.text(row[i+1].text))
		}
	}
	return strings.Split(strings.TrimSuffix(p.b.String(), "\n"), "\n")
}

func (t table) line(s style, row []cell, widths []int) string {
	var b strings.Builder
	b.WriteString(t.indent)
	used := len(t.indent)
	for i, col := range t.cols {
		if widths[i] < 0 {
			continue
		}
		var field cell
		if i < len(row) {
			field = row[i]
		}
		text := s.clip(s.text(field.text), widths[i])
		pad := strings.Repeat(" ", max(0, widths[i]-utf8.RuneCountInString(text)))
		if s.cut && used+utf8.RuneCountInString(text) > s.columns() {
			text = s.clip(text, max(0, s.columns()-used))
		}
		if col.right {
			b.WriteString(pad + s.paint(field.tone, text))
		} else {
			b.WriteString(s.paint(field.tone, text) + pad)
		}
		b.WriteString("  ")
		used += widths[i] + 2
	}
	return strings.TrimRight(b.String(), " ")
}

// tsv writes every column, tabs between them.
func (t table) tsv(noHeaders bool) []string {
	clean := strings.NewReplacer("\t", " ", "\n", " ")
	join := func(n int, at func(i int) string) string {
		fields := make([]string, n)
		for i := range fields {
			fields[i] = clean.Replace(at(i))
		}
		return strings.Join(fields, "\t")
	}
	var out []string
	if !noHeaders {
		out = append(out, join(len(t.cols), func(i int) string { return t.cols[i].title }))
	}
	for _, row := range t.rows {
		out = append(out, join(len(t.cols), func(i int) string {
			if i < len(row) {
				return row[i].text
			}
			return ""
		}))
	}
	return out
}
