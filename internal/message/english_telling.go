package message

// telling is area 19nn: what people are told, and by which way.
var telling = map[string]Message{
	"WWW-1901": {
		Severity: Info, Title: "people were told",
		Text:    "people were told by {by}: {what}[, {about}][; not yet by {failed}]",
		Meaning: "The agent of that site has sent a message by its channels; no other agent sends it again.",
		Impact:  "None.", Look: "wwwctl events", Do: "Nothing.",
	},
	"WWW-1902": {
		Severity: Info, Title: "people were told that it is over",
		Text:    "people were told by {by} that it is over: {what}[, {about}][; not yet by {failed}]",
		Meaning: "The agent of that site has sent a message by its channels; no other agent sends it again.",
		Impact:  "None.", Look: "wwwctl events", Do: "Nothing.",
	},
	"WWW-1903": {
		Severity: Warning, Title: "a channel does not deliver",
		Text:    "channel {channel} of {site} does not deliver[ since {since}]: {why}[ ({waiting} messages wait)]",
		Meaning: "The agent cannot send its messages by that way. It tries again, at longer and longer intervals, for a day.",
		Impact:  "Who is reached by that channel alone is told by another agent, if its channels work.",
		Look:    "on that machine: wwwctl doctor, journalctl -u wwwd",
		Do:      "Correct notify: in its wwwd.yaml, systemctl reload wwwd, then wwwctl alert test.",
	},
	"WWW-1904": {
		Severity: Critical, Title: "partial view: cut off from the majority",
		Text:    "partial view: the agent of {site} hears no leader[ since {since}][, it reaches {reaches}]",
		Meaning: "This agent and those that it reaches are no majority. What it says of the others is from before.",
		Impact:  "Here nothing is decided and nothing is stopped. If the whole site is silent to the others, they may take its guests over.",
		Look:    "wwwctl status on that site",
		Do:      "Look at the router, the box and the WireGuard tunnel of that site. Stop nothing and restore nothing by hand.",
	},
	"WWW-1905": {
		Severity: Warning, Title: "one more lost voter and nothing is decided",
		Text:    "{present} of {voters} voters are there, and {needed} are needed",
		Meaning: "The group still has its majority and can lose no other voter.",
		Impact:  "At the next loss of a voter no failover is possible.",
		Look:    "wwwctl cluster peers",
		Do:      "Bring a voter back; put off work on the others.",
	},
	"WWW-1906": {
		Severity: Error, Title: "DNS is not as decided",
		Text:    "zone {zone} is not served as decided[ by {servers}]",
		Meaning: "An authoritative server answers otherwise than decided, or not at all.",
		Impact:  "Some users may be sent to a place that is gone.",
		Look:    "wwwctl dns show",
		Do:      "wwwctl dns verify, then repair the server that it names.",
	},
	"WWW-1907": {
		Severity: Info, Title: "weekly digest",
		Text:    "weekly digest of {network}",
		Meaning: "The state of the network, one line per structure. That it comes also proves that the channels work.",
		Impact:  "None.", Look: "wwwctl status", Do: "Nothing. If it does not come: wwwctl alert test.",
	},
	"WWW-1908": {
		Severity: Info, Title: "test of a channel",
		Text:    "test of channel {channel} of {site}",
		Meaning: "A person has asked for it with wwwctl alert test.",
		Impact:  "None.", Look: "wwwctl doctor", Do: "Nothing.",
	},
}
