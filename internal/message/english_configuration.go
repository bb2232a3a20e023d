package message

// configuration is area 01nn. Its problems are written by the configuration
// check, with place and hint; here stands what each means.
var configuration = map[string]Message{
	"WWW-0100": problem(Error, "needs a correction", "The configuration check refuses, or warns of, something at the place it names (file:line:column).", "Correct the file and check it again."),
	"WWW-0101": problem(Error, "not readable", "The file is not YAML, or larger or deeper than a network can be.", "Indent with spaces, two per level."),
	"WWW-0102": problem(Error, "unknown key", "The file uses a key that nobody reads: mostly a misspelling.", "The hint names the nearest key."),
	"WWW-0103": problem(Error, "key twice", "The same key stands twice in one mapping; YAML readers disagree on which one counts.", "Remove one."),
	"WWW-0104": problem(Error, "wrong kind of value", "A value is of another kind than its key wants: a list, a number, a text.", "Write it as the hint says."),
	"WWW-0105": problem(Error, "missing value", "A value without a default is not there.", "Add it."),
	"WWW-0106": problem(Error, "YAML feature not allowed", "Anchors, aliases, tags, merge keys and further documents are refused: what stands in the file is what is meant.", "Write the value out."),
	"WWW-0107": problem(Error, "given twice", "A VLAN, guest id, name or address is given to two things.", "Give one of them another."),
	"WWW-0108": problem(Error, "bad name", "Names are used as DNS labels: lower-case letters, digits and dashes.", "Choose another name."),
	"WWW-0109": problem(Error, "names something that is not declared", "A reference leads nowhere.", "Declare it, or correct the name."),
	"WWW-0110": problem(Error, "not one of the choices", "Only certain words are known here.", "Choose one of those in the hint."),
	"WWW-0111": problem(Error, "bad address", "An address cannot be read or cannot be meant.", "Write an IP address, with a port where the hint shows one."),
	"WWW-0112": problem(Error, "bad URL", "A URL cannot be read or is not https.", "Write https://ADDRESS:PORT."),
	"WWW-0113": problem(Error, "name outside every zone", "A public name lies in none of the declared zones, so nobody could move it.", "Declare its zone, or take a name of a declared one."),
	"WWW-0114": problem(Error, "circle of dependencies", "Guests wait for each other.", "Remove one of the dependencies."),
	"WWW-0115": problem(Error, "out of range", "A number is outside what makes sense.", "The message names the bounds."),
	"WWW-0116": problem(Error, "levels do not ascend", "The levels of a policy must ascend: suspect, prepare A, alert, prepare B, commit.", "Order them."),
	"WWW-0117": problem(Error, "short commit delay without a reason", "A commit delay below 60 s moves guests for outages that end by themselves.", "Raise it, or write commit_reason."),
	"WWW-0118": problem(Error, "bad range of guest ids", "The ids of restored guests must not collide with those of residents.", "Choose a free range."),
	"WWW-0119": problem(Error, "kind and content do not fit", "A witness or a parpaing declares what only a brique has, or a brique lacks it.", "Correct the kind, or what is declared."),
	"WWW-0120": problem(Warning, "automation can never act", "A loss of this site can never be proven over two kinds of path, or nobody could receive its guests.", "Declare its public entry, or accept that a person decides."),
	"WWW-0121": problem(Warning, "long TTL", "Names that move should be looked up again soon.", "ttl: 60s"),
	"WWW-0122": problem(Warning, "consent without a date", "Guests of a structure may run elsewhere and nobody wrote when it agreed.", "Write off_site.consent: YYYY-MM-DD."),
	"WWW-0123": problem(Warning, "no other site could restore", "No other site declares a storage entry for this home site.", "Declare hosts.NAME.sources there."),
	"WWW-0124": problem(Error, "keys exclude each other", "Two keys contradict each other.", "Remove one of them."),
	"WWW-0125": problem(Warning, "one authoritative server only", "If its site is lost, nobody answers for the zone.", "Declare dns at a second site, or secondaries."),
	"WWW-0126": problem(Warning, "waits for a guest that is not rescued", "A guest depends on one of priority 4 or of another fate.", "Raise the priority of the other, or drop the dependency."),
	"WWW-0131": problem(Error, "file missing", "wwwd.yaml names a file that is not there.", "Create it, or correct the path."),
	"WWW-0132": problem(Error, "secret readable by everyone", "A file with a secret may be read by others.", "chmod 0600 FILE"),
	"WWW-0133": problem(Error, "file not readable", "A file is there and the agent cannot read it, or it is not a plain file.", "Check owner and mode."),
	"WWW-0134": problem(Error, "relative path", "Paths in wwwd.yaml are absolute: a service has no directory of its own.", "Write the whole path."),
	"WWW-0135": problem(Error, "bad fingerprint", "A certificate fingerprint is not 32 bytes in hexadecimal, with or without colons.", "Copy it from pvenode cert info or proxmox-backup-manager cert info."),
	"WWW-0136": problem(Error, "lab setting on a real network", "This setting is for tests and dangerous in earnest.", "Remove it."),
}

// problem is an entry of the configuration check.
func problem(severity Severity, title, meaning, do string) Message {
	impact := "The file is not applied, not even partly."
	if severity == Warning {
		impact = "The file can be applied all the same."
	}
	return Message{
		Severity: severity, Title: title, Text: "[{path}: ]" + title + "[: {message}]",
		Meaning: meaning, Impact: impact, Do: do,
		Look: "wwwctl config check FILE prints the sentence and a hint · wwwctl config example",
	}
}
