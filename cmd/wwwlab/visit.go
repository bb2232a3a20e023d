package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"

	"github.com/raoull/worldwidewelsh/internal/lab/site"
)

// What a person plays who uses a guest: over the internet, where its name leads, or in the house of a site, over that
// one's own network, which works while its line is cut.

// visit is a look at a guest's lines, or one more of them.
type visit struct {
	Guest string `json:"guest"`
	At    string `json:"at,omitempty"` // the site in whose house it is; "": by its name
	Text  string `json:"text,omitempty"`
}

// visited is what came of it.
type visited struct {
	From string `json:"from"` // who answered
	Page string `json:"page"`
}

// visit carries it out.
func (r *room) visit(ctx context.Context, v visit) (visited, error) {
	m, ok := r.lab.Guest(v.Guest)
	if !ok {
		return visited{}, fmt.Errorf("no guest %q in this lab; wwwctl guests lists them", v.Guest)
	}
	if v.At != "" {
		return r.visitHouse(ctx, v)
	}
	if len(m.Names) == 0 {
		return visited{}, fmt.Errorf("%s has no public name; --at SITE asks it in the house", v.Guest)
	}
	person, err := newMember(site.EntryCA(r.dir))
	if err != nil {
		return visited{}, err
	}
	var addr netip.Addr
	for _, name := range r.living() {
		i, bad := r.lab.Index(name)
		if bad != nil {
			return visited{}, bad
		}
		if addr, err = person.resolve(ctx, r.lab.DNS(i), m.Names[0]); err == nil {
			break
		}
	}
	if err != nil {
		return visited{}, err
	}
	page, err := person.ask(ctx, entryAt(addr), method(v), m.Names[0], "/data", v.Text)
	return visited{From: fmt.Sprintf("%s (%s)", m.Names[0], r.siteOf(addr)), Page: page}, err
}

// visitHouse asks the copy that serves in the house of a site.
func (r *room) visitHouse(ctx context.Context, v visit) (visited, error) {
	c, err := r.hosts(v.At)
	if err != nil {
		return visited{}, err
	}
	st, err := c.Status(ctx)
	if err != nil {
		return visited{}, err
	}
	for _, h := range st.Hosts {
		for _, g := range h.Guests {
			if g.Name != v.Guest || !g.Serving || g.Address == "" {
				continue
			}
			addr, err := netip.ParseAddr(g.Address)
			if err != nil {
				return visited{}, err
			}
			page, err := askLine(ctx, netip.AddrPortFrom(addr, r.lab.Ports().Guest), method(v), v.Text)
			return visited{From: fmt.Sprintf("%s/%d in the house of %s", h.Name, g.ID, v.At), Page: page}, err
		}
	}
	return visited{}, fmt.Errorf("%s does not serve at %s", v.Guest, v.At)
}

func method(v visit) string {
	if v.Text == "" {
		return http.MethodGet
	}
	return http.MethodPost
}

// siteOf is the site whose entry has an address.
func (r *room) siteOf(addr netip.Addr) string {
	for i, name := range r.lab.Names() {
		if r.lab.Plan().Public(i) == addr {
			return name
		}
	}
	return addr.String()
}

// askLine asks a guest for its lines, or writes one.
func askLine(ctx context.Context, at netip.AddrPort, method, note string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, memberPatience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, "http://"+at.String()+"/data", strings.NewReader(note))
	if err != nil {
		return "", err
	}
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	page, err := io.ReadAll(io.LimitReader(resp.Body, maxPage))
	if err == nil && resp.StatusCode != http.StatusOK {
		err = errors.New(resp.Status)
	}
	return string(page), err
}

// writeLine and readLines are the commands.
func writeLine(ctx context.Context, args []string, s streams) error {
	return visitGuest(ctx, "write", args, s, 2)
}

func readLines(ctx context.Context, args []string, s streams) error {
	return visitGuest(ctx, "read", args, s, 1)
}

func visitGuest(ctx context.Context, name string, args []string, s streams, n int) error {
	fs := flag.NewFlagSet(name, flag.ContinueOnError)
	at := fs.String("at", "", "in the house of this `SITE`, over its own network; else where the guest's name leads")
	c, rest, err := connect(fs, args, s, n, n)
	if err != nil {
		return err
	}
	v := visit{Guest: rest[0], At: *at}
	if n > 1 {
		if v.Text = strings.TrimSpace(rest[1]); v.Text == "" {
			return errors.New("there is nothing to write")
		}
	}
	var got visited
	if err := c.do(ctx, http.MethodPost, "/visit", v, &got); err != nil {
		return err
	}
	if v.Text != "" {
		_, err = fmt.Fprintf(s.Out, "%s has taken it\n", got.From)
		return err
	}
	fmt.Fprintf(s.Err, "%s:\n", got.From)
	_, err = io.WriteString(s.Out, strings.TrimRight(got.Page, "\n")+"\n")
	return err
}
