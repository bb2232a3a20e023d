package message

// rejections is area 20nn: the log's answer to a command that no longer fits.
var rejections = map[string]Message{
	"WWW-2001": rejected("stale token", "[{what} ][{guest}: token ]is out of date[: have {have}, got {got}]"),
	"WWW-2002": rejected("wrong step", "{guest}: not the step to do[: have {have}][, got {got}]"),
	"WWW-2003": refused("unknown operation", "there is no operation {op}", "wwwctl op list names those that exist."),
	"WWW-2004": refused("network.yaml changed meanwhile", "the declared network changed since you read it[: version {have}, yours is {got}]", "Read the difference again (wwwctl config diff FILE), then apply again."),
	"WWW-2005": refused("guest already in an operation", "{guest} is busy[: held by {holder|op}][, at {site}][ ({phase})][: {what}]", "wwwctl op show OP; approve, cancel or wait for it."),
	"WWW-2006": refused("no network declared", "no network is declared yet", "wwwctl config apply network.yaml"),
	"WWW-2007": rejected("wrong attempt", "{guest}: attempt {got} is not the one that runs[ ({have})]"),
	"WWW-2008": refused("operation has ended", "{op} has ended[ ({phase})]", "wwwctl op show OP tells how."),
	"WWW-2009": rejected("duplicate", "{what} was already recorded[ ({seq})]"),
	"WWW-2010": refused("not in this phase", "[{op}][{guest}] is {phase}: that is not possible now", "wwwctl status shows where things stand."),
	"WWW-2011": refused("unknown site", "there is no site {site}", "wwwctl sites -o name"),
	"WWW-2012": refused("plan is stale", "the state changed since the plan[ {got}] was made[; it would be {have} now]", "Read the plan again and repeat with its new number."),
	"WWW-2013": refused("not a target", "{site} cannot receive guests[: {why}]", "wwwctl plan SITE names the targets."),
	"WWW-2014": refused("nothing waits for approval", "{op}: nothing waits for approval", "wwwctl op show OP"),
	"WWW-2015": refused("invalid request", "invalid: {what}[ ({config})]", "Correct the request."),
	"WWW-2016": refused("unknown guest", "there is no guest {guest}", "wwwctl guests -o name"),
	"WWW-2017": refused("no free guest id", "no guest id is free[ at {site}][ in {range}]", "Widen hosts.NAME.restore.ids of the target in network.yaml."),
	"WWW-2025": refused("warm copies are otherwise", "warm copies are not as that takes them to be[: {what}][: {guest}][ at {site}]",
		"Look again: wwwctl guests. A guest or host that still has one is removed after standby: cold and its removal."),
	"WWW-2026": refused("a voter's site would not be declared", "{site} is not in the new network, and its agent votes ({needed} of {voters} votes are a majority): its vote would count on and nobody would hear it",
		"wwwctl cluster remove {site} (or wwwctl leave, on its machine), then apply again."),
	"WWW-2027": refused("the last copies of guests would be given up", "{site} holds copies of {guests} that it would not restore from any more, and no other site than their home would",
		"Have another site pull these backups first (wwwctl guests shows when it has), or name {site}: --confirm={site}"),
	"WWW-2030": refused("token not valid", "the token is not valid: {why}", "Make another where an agent runs: wwwctl token create"),
	"WWW-2031": refused("site has an agent", "{site} has an agent already[: server {server}]", "If that machine is gone for good: wwwctl cluster remove {site}, on any agent, then join again."),
	"WWW-2032": refused("operation not confirmed", "{op} was open when the group was rebuilt, and nobody has looked at it yet", "wwwctl op show {op}, then wwwctl op confirm {op} or wwwctl op cancel {op}."),
	"WWW-2018": refused("already begun", "{domain}: operation {op} is already under way", "wwwctl op show OP; wwwctl approve OP if it waits."),
	"WWW-2019": refused("no local rescue at this site", "{site} has no PVE of Raoull's that could take guests: its own backups cannot be started there",
		"Repair the structure's PVE (wwwctl sites {site} says who has the key), or bring its guests back elsewhere: wwwctl failover {site}"),
	"WWW-2020": refused("the host still answers", "{host} answers[ ({seen})]: a rescue would start second copies with the same addresses",
		"Shut its guests and the host down first, wait until it is silent, then wwwctl rescue {site} again."),
	"WWW-2021": refused("the home does not answer", "[{guest}: ]{site}, which it is to leave, is not well seen: a planned move needs its help",
		"wwwctl sites {site}; if it is lost: wwwctl failover {site}"),
}

// rejected is an answer that only agents meet; they read the state again.
func rejected(title, text string) Message {
	return Message{
		Severity: Info, Title: title, Text: text,
		Meaning: "Two agents proposed at once, or an answer came late: the log keeps the first and refuses the rest.",
		Impact:  "None: the agent reads the state again and goes on from there.",
		Look:    "journalctl -u wwwd",
		Do:      "Nothing.",
	}
}

// refused is an answer that a person meets.
func refused(title, text, do string) Message {
	return Message{
		Severity: Error, Title: title, Text: text,
		Meaning: "The request does not fit the state of the network as it is now.",
		Impact:  "Nothing was changed.",
		Look:    "wwwctl status · wwwctl events",
		Do:      do,
	}
}

// commandLine is area 30nn: the API and wwwctl themselves.
var commandLine = map[string]Message{
	"WWW-3001": failed("no agent answers", "no agent answers at {endpoint}[: {why}]", "Is wwwd running here? systemctl status wwwd. Are you root or in the group www-admin?"),
	"WWW-3002": failed("no leader", "there is no leader, and this needs one", "wwwctl status shows who is missing; reads still work."),
	"WWW-3003": failed("outcome unknown", "the outcome is unknown: the leader was lost while it decided", "Look before you repeat: wwwctl status, wwwctl events."),
	"WWW-3004": failed("malformed request", "the request is malformed: {why}", "Are wwwctl and wwwd of the same version? wwwctl version"),
	"WWW-3005": failed("not found", "there is no {what}[ {name}]", "wwwctl sites, wwwctl guests and wwwctl op list name what exists."),
	"WWW-3006": failed("request too large", "the request is larger than {limit}", "A network.yaml of this size is not expected; is it the right file?"),
	"WWW-3007": failed("not allowed", "{actor} is not allowed to do this[: {why}]", "Use the unix socket as root or as a member of www-admin, or a login file with that role."),
	"WWW-3008": failed("not confirmed", "not confirmed[: {why}]", "Answer y, or use --yes; a severe action needs --confirm=NAME."),
	"WWW-3038": failed("not confirmed by name", "not confirmed[: {why}]", "This is asked for by name: type {name}, or use --confirm={name}. --yes is not enough."),
	"WWW-3009": failed("usage", "{why}", "wwwctl help"),
	"WWW-3010": failed("internal error", "the agent met an internal error", "journalctl -u wwwd; please report it with the log."),
	"WWW-3011": failed("method not allowed", "{method} is not possible on {path}", "Are wwwctl and wwwd of the same version? wwwctl version"),
	"WWW-3012": failed("it still answers", "{name} still answers[ ({seen})]: this would be a forced failover", "Confirm with the name: --confirm={name}."),
	"WWW-3013": failed("answer not understood", "the answer of {endpoint} was not understood: {why}", "Are wwwctl and wwwd of the same version? wwwctl version"),
	"WWW-3014": failed("file cannot be read", "{why}", "Check the path and the permissions."),
	"WWW-3015": failed("the file has errors", "[{file}: ]{errors} errors[, {warnings} warnings]: nothing is applied", "wwwctl config check FILE"),
	"WWW-3016": failed("timeout", "no answer within {timeout}", "Try --timeout with a longer time; wwwctl status tells whether there is a leader."),
	"WWW-3017": failed("some guests failed", "{op}: some guests need a person", "wwwctl op show {op}"),
	"WWW-3018": {
		Severity: Info, Title: "detached", Text: "operation {op} goes on; wwwctl op cancel {op} stops it",
		Meaning: "wwwctl only watched; the agents carry the operation.", Impact: "None.",
		Look: "wwwctl op follow OP", Do: "Nothing.",
	},
	"WWW-3030": failed("agent of no network yet", "this agent belongs to no network yet", "On the first site: wwwctl init --site SITE. On the others: wwwctl join ADDRESS --site SITE --token TOKEN."),
	"WWW-3031": failed("no key of the authority here", "this agent cannot sign certificates: only voters hold the authority's key[; these can: {voters}]", "Ask on one of those, or give this agent a vote: wwwctl cluster set SITE voter."),
	"WWW-3032": failed("takes a vote", "this takes the vote of {site}, which makes a majority of fewer", "Confirm with the name: --confirm={site}."),
	"WWW-3033": failed("not possible now", "{why}", "wwwctl cluster peers · wwwctl status"),
	"WWW-3034": failed("this machine is not ready", "{problems} of the checks failed: nothing was changed", "Do what stands after each, then repeat."),
	"WWW-3035": failed("belongs to a network already", "this agent is {site} of network {network} already", "To begin anew: stop wwwd, move /var/lib/www aside, start it."),
	"WWW-3037": failed("too many requests", "this caller asks for more than the agent answers", "Try again in {wait}; with a script: ask less often, or follow wwwctl events --follow."),
	"WWW-3036": failed("login file cannot be used", "{why}", "Have another made where an agent runs: wwwctl operator admit NAME --role ROLE."),
	"WWW-3019": failed("confirmation by the leader failed", "the leader does not confirm this effect[: {why}]", "Nothing: the agent tries again."),
	"WWW-3020": failed("operation was cancelled", "{op} was cancelled[: {why}]", "wwwctl op show {op}"),
	"WWW-3022": failed("some guests cannot be saved", "{guests} guests that should be saved would be left out", "The plan names each reason."),
}

// failed is a message of wwwctl or of the API about a request.
func failed(title, text, do string) Message {
	return Message{
		Severity: Error, Title: title, Text: text,
		Meaning: "The command did not do what was asked.",
		Impact:  "Nothing was changed, unless the text says that the outcome is unknown.",
		Look:    "wwwctl status · wwwctl help exit-codes",
		Do:      do,
	}
}
