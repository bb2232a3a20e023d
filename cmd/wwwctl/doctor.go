package main

import (
	"context"
	"flag"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/raoull/worldwidewelsh/internal/api"
	"github.com/raoull/worldwidewelsh/internal/doctor"
	"github.com/raoull/worldwidewelsh/internal/message"
)

func doctorCommand(a *app, fs *flag.FlagSet) runner {
	issues := fs.Bool("issues", false, "errors and warnings only")
	fresh := fs.Bool("fresh", false, "read this site's machines anew first; takes up to 20s")
	return func(ctx context.Context, args []string) error {
		if err := need(args, 0, 1, ""); err != nil {
			return err
		}
		query := api.DoctorQuery{}
		if len(args) == 1 {
			query.Category = doctor.Category(args[0])
			if !slices.Contains(doctor.Categories(), query.Category) {
				return usagef("there is no category %q; they are %s", args[0], categoryNames())
			}
		}
		if *fresh {
			query.Fresh = api.NewRound
			a.g.timeout = max(a.g.timeout, api.DoctorWait+a.g.timeout)
		}
		failed := 0
		err := a.present(ctx, func(ctx context.Context) (view, error) {
			d, err := a.client.Doctor(ctx, query)
			failed = d.Errors()
			if *issues {
				d.Items = slices.DeleteFunc(d.Items, func(f doctor.Finding) bool { return f.Severity == doctor.OK || f.Severity == doctor.Info })
			}
			return view{kind: api.KindDoctor, data: d, table: a.doctorTable(d.Items), text: func() string { return a.doctorScreen(d) }}, err
		})
		if err == nil && failed > 0 {
			return &exitError{code: exitFailure}
		}
		return err
	}
}

func categoryNames() string {
	var out []string
	for _, c := range doctor.Categories() {
		out = append(out, string(c))
	}
	return strings.Join(out, ", ")
}

func severityTone(s doctor.Severity) tone {
	switch s {
	case doctor.Error:
		return bad
	case doctor.Warning:
		return warn
	case doctor.Info:
		return dim
	}
	return good
}

// doctorTable is one row per finding, for scripts.
func (a *app) doctorTable(items []doctor.Finding) table {
	t := table{cols: cols("CODE", "SEVERITY", "CATEGORY", "SITE", "SUBJECT", "~TEXT", "+REMEDY")}
	for _, f := range items {
		t.add(c(f.Code), cell{string(f.Severity), severityTone(f.Severity)}, c(string(f.Category)), c(dash(string(f.Site))), c(dash(f.Subject)), c(a.findingText(f)), c(f.Remedy))
	}
	return t
}

// findingText is the finding in the person's language. The warnings of the
// network come with their sentence.
func (a *app) findingText(f doctor.Finding) string {
	if _, ok := message.Entry(a.lang(), f.Code); !ok || f.Category == doctor.Network && f.Text != "" {
		return message.Clean(f.Text)
	}
	return message.Text(a.lang(), f.Code, f.Args)
}

func (a *app) doctorScreen(d api.Doctor) string {
	s := a.show
	p := &page{s: s}
	read := "its machines were not read yet"
	if !d.ReadAt.IsZero() {
		read = "machines of " + string(d.Site) + " read " + span(max(0, d.At.Sub(d.ReadAt))) + " ago"
	}
	if d.Stale {
		read += "; the new round has not ended, ask again"
	}
	p.wrap(s.paint(strong, "doctor")+"  ", "        ", fmt.Sprintf("by the agent of %s, %s", d.Site, read))
	count := map[doctor.Severity]int{}
	last := doctor.Category("")
	for _, f := range d.Items {
		count[f.Severity]++
		if f.Category != last {
			p.blank()
			p.raw(s.paint(strong, categoryTitle(f.Category)))
			last = f.Category
		}
		a.findingLines(p, f)
	}
	p.blank()
	p.line("%s, %s", plural(count[doctor.Error], "error"), plural(count[doctor.Warning], "warning"))
	return p.b.String()
}

// findingLines writes one finding: what it is about, the sentence, then what to
// type. Nothing is cut: people copy it, also from a phone.
func (a *app) findingLines(p *page, f doctor.Finding) {
	s := a.show
	mark := s.paint(severityTone(f.Severity), fmt.Sprintf("%-9s", "["+string(f.Severity)+"]"))
	head := f.Subject
	if f.Site != "" {
		head = strings.TrimPrefix(head+" at "+string(f.Site), " ")
	}
	if f.Severity == doctor.OK {
		if head != "" {
			head += ": "
		}
		p.wrap(mark+" ", "          ", s.text(head+a.findingText(f)))
		return
	}
	p.wrap(mark+" ", "          ", strings.TrimSpace(f.Code+"  "+s.text(head)))
	p.wrap("  - ", "    ", s.text(a.findingText(f)))
	for _, line := range remedies(f.Remedy) {
		if line.command {
			p.command("  $ ", "      ", s.text(line.text))
		} else {
			p.wrap("  "+s.glyph("arrow")+" ", strings.Repeat(" ", 3+utf8.RuneCountInString(s.glyph("arrow"))), s.text(line.text))
		}
	}
}

// remedy is a sentence, or a command that can be copied.
type remedy struct {
	text    string
	command bool
}

// programs are the first words of the catalogue's remedies that are commands.
var programs = []string{
	"cat", "chmod", "chronyc", "dig", "ha-manager", "ifup", "ip", "journalctl", "lsblk", "pct", "proxmox-backup-client",
	"proxmox-backup-manager", "pvesh", "pvesm", "pveum", "qm", "systemctl", "timedatectl", "vzdump", "wwwctl", "zfs",
}

// remedies takes the commands of a remedy apart, which "; " separates.
func remedies(text string) []remedy {
	commands, note, _ := strings.Cut(text, "   ") // a remark stands after three blanks
	parts := strings.Split(commands, "; ")
	isCommand := func(part string) bool {
		first, _, _ := strings.Cut(part, " ")
		return slices.Contains(programs, first)
	}
	switch {
	case text == "":
		return nil
	case !isCommand(parts[0]):
		return []remedy{{text: text}}
	}
	var out []remedy
	for _, part := range parts {
		out = append(out, remedy{text: part, command: isCommand(part)})
	}
	if note != "" {
		out = append(out, remedy{text: note})
	}
	return out
}

func categoryTitle(c doctor.Category) string {
	titles := map[doctor.Category]string{
		doctor.Privileges: "Rights on Proxmox", doctor.Keys: "Storage entries and keys", doctor.Restore: "What a restore would refuse or lose",
		doctor.Backups: "Off-site copies", doctor.Guests: "Guests", doctor.Base: "This machine", doctor.DNS: "DNS",
		doctor.Quorum: "Agreement", doctor.Network: "Declared network", doctor.Files: "The agents' own files",
	}
	if t, ok := titles[c]; ok {
		return fmt.Sprintf("%s (%s)", t, c)
	}
	return string(c)
}
