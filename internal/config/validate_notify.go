package config

import (
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/raoull/worldwidewelsh/internal/network"
	"github.com/raoull/worldwidewelsh/internal/notify"
)

// notify demands of each channel what its type needs, and nothing else: a key of another type
// is one that somebody thought would do something.
func (k *checker) notify(c notify.Config) {
	for _, name := range network.SortedKeys(c.Channels) {
		path := "notify.channels." + name
		if !network.IsLabel(name) {
			k.fail(path, network.CodeBadName, "write a name such as mail or sms-camille", "channel name %s is not usable as a DNS label", network.Quote(name))
		}
		k.channel(path, c.Channels[name])
	}
	for _, name := range network.SortedKeys(c.DeadMan) {
		path, p := "notify.dead_man."+name, c.DeadMan[name]
		if !network.IsLabel(name) {
			k.fail(path, network.CodeBadName, "write a name such as outside", "name %s is not usable as a DNS label", network.Quote(name))
		}
		k.webAddress(path, p.URL, p.URLFile)
		k.absolute(path+".ca_file", p.CAFile)
		if e := p.Every.D(); e != 0 && (e < 10*time.Second || e > 24*time.Hour) {
			k.fail(path+".every", network.CodeRange, "write every: 5m", "every %s is not between 10s and 1d", p.Every)
		}
	}
	if c.Digest != "" {
		if _, err := notify.ParseWeekly(c.Digest); err != nil {
			k.fail("notify.digest", network.CodeNotOneOf, "write digest: "+notify.DefaultDigest+", or digest: off", "digest %v", err)
		}
	}
	if c.Timezone != "" {
		if _, err := time.LoadLocation(c.Timezone); err != nil {
			k.fail("notify.timezone", network.CodeNotOneOf, "write timezone: Europe/Paris, or remove it", "timezone %s is not known on this machine", network.Quote(c.Timezone))
		}
	}
}

// channelKeys are the keys that a type of channel uses, beside type, quiet, least and test_every.
var channelKeys = map[notify.Type]string{
	notify.SMTP:       "server tls from to user password_file ca_file",
	notify.Sendmail:   "from to command",
	notify.Ntfy:       "url url_file token_file ca_file",
	notify.Matrix:     "url token_file room ca_file",
	notify.Webhook:    "url url_file token_file body ca_file",
	notify.FreeMobile: "url user password_file ca_file",
	notify.Exec:       "command",
}

func (k *checker) channel(path string, c notify.Channel) {
	if !slices.Contains(notify.Types(), c.Type) {
		var all []string
		for _, t := range notify.Types() {
			all = append(all, string(t))
		}
		k.oneOf(path+".type", string(c.Type), all...)
		return
	}
	if c.Least != "" && !slices.Contains(notify.Urgencies(), c.Least) {
		k.oneOf(path+".least", string(c.Least), "info", "warning", "urgent")
	}
	if _, err := notify.ParseWindow(c.Quiet); err != nil {
		k.fail(path+".quiet", network.CodeRange, `write quiet: "22:00-07:00"`, "quiet %v", err)
	}
	if c.TestEvery != 0 && c.TestEvery.D() < time.Hour {
		k.fail(path+".test_every", network.CodeRange, "write test_every: 168h, or remove it", "test_every %s would be a nuisance: an hour is the least", c.TestEvery.D())
	}
	set := map[string]string{
		"server": c.Server, "tls": c.TLS, "from": c.From, "to": strings.Join(c.To, " "), "user": c.User, "password_file": c.PasswordFile,
		"url": c.URL, "url_file": c.URLFile, "token_file": c.TokenFile, "ca_file": c.CAFile, "room": c.Room, "body": c.Body,
		"command": strings.Join(c.Command, " "),
	}
	uses := strings.Fields(channelKeys[c.Type])
	for _, key := range network.SortedKeys(set) {
		if set[key] != "" && !slices.Contains(uses, key) {
			k.fail(path+"."+key, network.CodeConflict, "remove "+key+":", "a channel of type %s does not use %s", c.Type, key)
		}
	}
	for _, file := range []string{"password_file", "token_file", "ca_file"} {
		k.absolute(path+"."+file, set[file])
	}
	demand := func(hint string, keys ...string) {
		for _, key := range keys {
			if set[key] == "" {
				k.fail(path+"."+key, network.CodeMissing, hint, "a channel of type %s needs %s", c.Type, key)
			}
		}
	}
	switch c.Type {
	case notify.SMTP:
		demand("write server: HOST:PORT, from: ADDRESS and to: [ADDRESS]", "server", "from", "to")
		k.mailServer(path, c)
	case notify.Sendmail:
		demand("write from: ADDRESS and to: [root]", "from", "to")
	case notify.Exec:
		demand("write command: [/usr/local/sbin/PROGRAM]", "command")
	case notify.FreeMobile:
		demand("write user: and password_file: as the subscriber's page shows them (Mes options, notifications par SMS)", "user", "password_file")
	case notify.Matrix:
		demand(`write room: "!ID:SERVER", as the room's settings show it, and token_file: PATH`, "room", "token_file")
	}
	k.channelWeb(path, c)
	if len(c.Command) > 0 {
		k.absolute(path+".command", c.Command[0])
	}
	k.addressee(path, c)
}

// channelWeb checks where a channel of HTTP sends to, and what.
func (k *checker) channelWeb(path string, c notify.Channel) {
	switch c.Type {
	case notify.Ntfy, notify.Matrix, notify.Webhook:
		k.webAddress(path, c.URL, c.URLFile)
	case notify.FreeMobile:
		if c.URL != "" {
			k.webAddress(path, c.URL, "")
		}
	}
	if c.Body != "" {
		if _, err := notify.ParseBody(c.Body); err != nil {
			k.fail(path+".body", network.CodeNotOneOf, `write body: '{"text": {{json .Text}}}'`, "body is no template of JSON: %v", err)
		}
	}
}

// webAddress demands https, but on this machine. An address in a file is a secret and looked
// at when it is used.
func (k *checker) webAddress(path, text, file string) {
	k.absolute(path+".url_file", file)
	switch u, err := url.Parse(text); {
	case text == "" && file == "":
		k.fail(path+".url", network.CodeMissing, "write url: https://…, or url_file: PATH where the address is a secret", "%s has no url", path)
	case text != "" && file != "":
		k.fail(path+".url", network.CodeConflict, "remove one of url: and url_file:", "%s has a url and a url_file", path)
	case text == "":
	case err != nil || u.Host == "" || u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname())):
		k.fail(path+".url", network.CodeBadAddress, "write url: https://…", "url %s is not https (http is for this machine only)", network.Quote(text))
	}
}

func (k *checker) mailServer(path string, c notify.Channel) {
	host, _, err := net.SplitHostPort(c.Server)
	if c.Server != "" && (err != nil || host == "") {
		k.fail(path+".server", network.CodeBadAddress, "write server: mail.assos.example:587", "server %s is not HOST:PORT", network.Quote(c.Server))
	}
	if c.TLS != "" {
		k.oneOf(path+".tls", c.TLS, "starttls", "tls", "none")
	}
	if c.TLS == "none" && !loopback(host) {
		k.fail(path+".tls", network.CodeConflict, "write tls: starttls, or name a server of this machine", "mail leaves this machine over TLS only")
	}
	if (c.User == "") != (c.PasswordFile == "") {
		k.fail(path+".password_file", network.CodeConflict, "write both user: and password_file:, or neither", "%s has one of user and password_file", path)
	}
}

// addressee refuses what would end a line of a mail or pass for an option.
func (k *checker) addressee(path string, c notify.Channel) {
	for _, a := range append(slices.Clone(c.To), c.From) {
		if strings.ContainsAny(a, " \t\r\n<>,;") || strings.HasPrefix(a, "-") {
			k.fail(path+".to", network.CodeBadAddress, "write the bare address, such as equipe@assos.example", "%s is no mail address", network.Quote(a))
		}
	}
}

func loopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.IsLoopback()
}

// notifyFiles are the files that channels name. A missing one costs the channel, not the agent.
func notifyFiles(c notify.Config) []namedFile {
	var out []namedFile
	for _, name := range network.SortedKeys(c.Channels) {
		path, ch := "notify.channels."+name, c.Channels[name]
		out = append(
			out,
			namedFile{path + ".password_file", ch.PasswordFile, true, network.Warning, "write the password into it, one line"},
			namedFile{path + ".token_file", ch.TokenFile, true, network.Warning, "write the token into it, one line"},
			namedFile{path + ".url_file", ch.URLFile, true, network.Warning, "write the address into it, one line"},
			namedFile{path + ".ca_file", ch.CAFile, false, network.Warning, "copy the authority of the server's certificate there"},
		)
		if len(ch.Command) > 0 {
			out = append(out, namedFile{path + ".command", ch.Command[0], false, network.Warning, "put the program there, owner root, mode 0755"})
		}
	}
	for _, name := range network.SortedKeys(c.DeadMan) {
		path, p := "notify.dead_man."+name, c.DeadMan[name]
		out = append(
			out,
			namedFile{path + ".url_file", p.URLFile, true, network.Warning, "write the address into it, one line"},
			namedFile{path + ".ca_file", p.CAFile, false, network.Warning, "copy the authority of the server's certificate there"},
		)
	}
	return out
}
