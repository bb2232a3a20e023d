// Package mesh reads what WireGuard knows of its peers, from the interface of
// this machine (wgctrl) or from the site's router (RouterOS REST), and says
// what that proves.
//
//	Local, RouterOS   Peers(ctx) → []Peer               one reading
//	RouterOS          StaticNames(ctx) → []StaticName   what a router answers its members by itself
//	Judge             Watch, Peer, at → Watch, Judgement  what readings over time tell (pure)
//	Watcher           Step(ctx, now) → next             reads every Every, keeps the judgements
//
// A tunnel explains ("tunnel down", "tunnel up and agent down"); it is never by
// itself a sign that a site is lost. The age of a handshake says next to
// nothing: a healthy pair renews it after 120 s and more, and one without
// traffic never; a dead one looks young for three minutes. What counts is
// whether bytes come back while we send.
package mesh
