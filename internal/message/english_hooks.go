package message

// hooks is area 22nn: programs that operations call for a guest.
var hooks = map[string]Message{
	"WWW-2200": {
		Severity: Info, Word: "hook-ran", Title: "a program was called",
		Text:    "{guest}: {program}[ ({when})] ended well[ at {site}][: {note}]",
		Meaning: "network.yaml names it at the guest or its structure (hooks).",
		Impact:  "None.", Look: "wwwctl op show OP", Do: "Nothing.",
	},
	"WWW-2201": {
		Severity: Warning, Word: "hook-failed", Title: "a program did not end well",
		Text:    "{guest}: {program}[ ({when})] did not end well[ at {site}][: {note}]; the operation goes on",
		Meaning: "Its word does not stop the operation: it has no veto, or the guest serves already.",
		Impact:  "What the program is for was not done.",
		Look:    "wwwctl op show {op} · wwwctl explain WWW-2201",
		Do:      "Do by hand what the program does, and mend it: its line stands in that site's wwwd.yaml (programs:).",
	},
	"WWW-2202": {
		Severity: Critical, Word: "hook-veto", Title: "a program forbids the move of a guest",
		Text:    "{guest}: {program}[ at {site}] did not let it be moved[: {note}]; when that is settled: wwwctl op retry {op} (a planned move was taken back: type it again)",
		Meaning: "The program has a veto: unless it ends well, nothing is done that cannot be taken back.",
		Impact:  "In a failover or rescue the restored copy waits, stopped, and the guest is down. A planned move is taken back.",
		Look:    "wwwctl op show {op}",
		Do: "Find out what the program found. To ask it again: wwwctl op retry OP (a move that was taken back: type it again). To go on without it: " +
			"take it out of hooks: in network.yaml, wwwctl config apply, wwwctl op retry OP. To give up: wwwctl op cancel OP.",
	},
}
