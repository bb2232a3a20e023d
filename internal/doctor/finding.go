package doctor

import (
	"cmp"
	"slices"
	"strconv"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/message"
)

// Severity says how bad a finding is.
type Severity string

// Severities. Error: the rescue of something fails, or data is not safe, as it
// stands. Warning: it may. Info: nothing to do, but good to know.
const (
	OK      Severity = "OK"
	Info    Severity = "INFO"
	Warning Severity = "WARNING"
	Error   Severity = "ERROR"
)

// rank orders severities, worst first.
func (s Severity) rank() int { return slices.Index([]Severity{Error, Warning, Info, OK}, s) }

// Category is what a check is about.
type Category string

// The categories.
const (
	Privileges Category = "privileges" // the token's rights on this site's PVE
	Keys       Category = "keys"       // storage entries and encryption keys
	Restore    Category = "restore"    // what a restore by token would refuse or lose
	Backups    Category = "backups"    // off-site copies: number, age, state
	Guests     Category = "guests"     // what exists against what is declared
	Base       Category = "base"       // the agent's own machine: disk, clock, health
	DNS        Category = "dns"
	Quorum     Category = "quorum"
	Network    Category = "network" // warnings of the declared network
	Files      Category = "files"   // the agents' own files, compared
)

// Categories returns every category in the order of the screens.
func Categories() []Category {
	return []Category{Privileges, Keys, Restore, Backups, Guests, Base, DNS, Quorum, Network, Files}
}

// Finding is the answer of one check about one thing.
type Finding struct {
	Category Category          `json:"category"`
	Severity Severity          `json:"severity"`
	Code     string            `json:"code"`              // WWW-21nn, WWW-24nn; of the network WWW-01nn
	Subject  string            `json:"subject,omitempty"` // "guest nuage", "storage pbs-quai"
	Site     failover.SiteID   `json:"site,omitempty"`    // whose machines it is about; "" = the whole network
	Args     map[string]string `json:"args,omitempty"`    // of the text, for other languages
	Text     string            `json:"text"`
	Remedy   string            `json:"remedy,omitempty"` // the next command to type
}

// Report is the result of one examination.
type Report struct {
	Site   failover.SiteID `json:"site"`             // whose agent answers
	ReadAt time.Time       `json:"read_at,omitzero"` // end of the round that read its machines; zero: none yet
	Items  []Finding       `json:"items"`            // by category, worst first
}

// Errors counts the findings that are errors.
func (r Report) Errors() int {
	n := 0
	for _, f := range r.Items {
		if f.Severity == Error {
			n++
		}
	}
	return n
}

// severityOf returns the severity that the catalogue gives a code.
func severityOf(code string) Severity {
	m, _ := message.Entry(message.English, code)
	switch m.Severity {
	case message.Info:
		return Info
	case message.Warning:
		return Warning
	}
	return Error
}

// found makes a finding; its severity is the catalogue's. pairs are the
// arguments of the text: name, value, …
func found(c Category, code string, site failover.SiteID, subject string, pairs ...string) Finding {
	args := map[string]string{}
	for i := 0; i+1 < len(pairs); i += 2 {
		args[pairs[i]] = pairs[i+1]
	}
	return Finding{
		Category: c, Severity: severityOf(code), Code: code, Subject: message.Clean(subject), Site: site, Args: args,
		Text: message.Text(message.English, code, args), Remedy: message.Hint(message.English, code, args),
	}
}

// fine is the finding of a category in which nothing is wrong.
func fine(c Category, checked int) Finding {
	f := found(c, CodeFine, "", "", "count", strconv.Itoa(checked))
	f.Severity, f.Remedy = OK, ""
	return f
}

func sortFindings(fs []Finding) {
	slices.SortStableFunc(fs, func(a, b Finding) int {
		return cmp.Or(
			cmp.Compare(slices.Index(Categories(), a.Category), slices.Index(Categories(), b.Category)),
			cmp.Compare(a.Severity.rank(), b.Severity.rank()),
			cmp.Compare(a.Code, b.Code), cmp.Compare(a.Subject, b.Subject), cmp.Compare(a.Site, b.Site))
	})
}
