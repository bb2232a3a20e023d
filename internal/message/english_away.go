package message

// away is area 17nn: guests that live away from home.
var away = map[string]Message{
	"WWW-1701": {
		Severity: Warning, Word: "away-unsaved", Title: "a guest that lives away has no new backup",
		Text:    "{guest}: lives at {site} and was not backed up there for {age}[: {note}]",
		Meaning: "The agent of that site backs it up as often as its home does, into the namespace away/{home}, and that fails or waits.",
		Impact:  "What its users write is at that site only. If it is lost too, so is that.",
		Look:    "wwwctl guests {guest} · wwwctl doctor backups, at {site}",
		Do:      "Mend what the note says: the storage entry, its room, the token's rights.",
	},
	"WWW-1702": {
		Severity: Warning, Word: "away-failed", Title: "a backup of a guest that lives away failed",
		Text:    "{guest}: its backup[ at {site}] failed[: {note}]",
		Meaning: "It is made again, after a pause that doubles up to an hour.",
		Impact:  "None yet. The last backup that went well counts.", Look: "wwwctl doctor backups", Do: "Nothing; after several in a row: mend what the note says.",
	},
	"WWW-1703": {
		Severity: Error, Word: "away-no-place", Title: "a guest that lives away is not backed up",
		Text:    "{guest}: lives at {site}, where no place is declared for its backups",
		Meaning: "Its backups must lie apart from those of its home (lineages, away). No entry for guests of {home} is declared there.",
		Impact:  "What its users write is at that site only. If it is lost too, so is that.",
		Look:    "wwwctl gen lineages {site}",
		Do:      "Run what wwwctl gen lineages {site} prints, and declare it. Until then the guest's next move begins without backups.",
	},
	"WWW-1704": {
		Severity: Info, Word: "away-woken", Title: "a guest that lives away is started again",
		Text:    "{guest}: the host of {site} has started, the guest not: it is started again[ ({op})]",
		Meaning: "Copies away from home do not start with their host: only the agent knows whether they are still the ones that count.",
		Impact:  "The guest was off since its host went down.", Look: "wwwctl op show OP", Do: "Nothing.",
	},
}
