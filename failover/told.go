package failover

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// What people are told leaves by the channels of one agent, and nobody can see whether
// another has done it already. So what was told is in the log: written after it has left,
// so that an agent which dies in between causes a repetition and never a silence.

// Notice is what the log knows of one thing that people were told.
type Notice struct {
	Reason Reason    `json:"reason"`
	Site   SiteID    `json:"site,omitempty"`
	Since  time.Time `json:"since,omitzero"` // of what it is about
	Stage  int       `json:"stage"`          // 0: told once; then the number of the last reminder
	First  time.Time `json:"first"`          // when it was told first
	By     SiteID    `json:"by"`             // whose agent told it last
	Index  uint64    `json:"index"`          // of the entry that says so
}

// Told records that people were told of something, by the agent of a site.
type Told struct {
	Key    string    `json:"key"` // of what it is about; the same for all agents
	By     SiteID    `json:"by"`
	Reason Reason    `json:"reason"`
	Site   SiteID    `json:"site,omitempty"`
	Since  time.Time `json:"since,omitzero"`
	Stage  int       `json:"stage,omitempty"`
	Over   bool      `json:"over,omitempty"`   // that it is over
	Failed []string  `json:"failed,omitempty"` // channels of that agent that had not taken it by then
}

// Bounds of what is remembered of what was told.
const (
	MaxTold    = 1_000
	maxToldKey = 200
)

func (c Told) apply(s *State, st Stamp) error {
	if _, ok := s.Members[c.By]; !ok {
		return reject(CodeUnknownSite, "site", string(c.By))
	}
	if c.Key == "" || len(c.Key) > maxToldKey || c.Reason.IsZero() {
		return reject(CodeInvalid, "what", "what was told, without a name or a reason")
	}
	old, known := s.Told[c.Key]
	switch {
	case c.Over && !known, !c.Over && known && c.Stage <= old.Stage:
		return reject(CodeDuplicate, "what", "told "+c.Key)
	case c.Over:
		delete(s.Told, c.Key)
	default:
		n := Notice{Reason: c.Reason, Site: c.Site, Since: c.Since, Stage: c.Stage, First: st.At, By: c.By, Index: st.Index}
		if known {
			n.First = old.First
		}
		s.Told[c.Key] = n
		s.forgetTold()
	}
	code := CodeTold
	if c.Over {
		code = CodeToldOver
	}
	s.event(st, because(code, "what", c.Reason.Code, "about", c.Reason.about(), "by", string(c.By), "failed", strings.Join(c.Failed, ", ")), Event{Site: c.Site})
	return nil
}

// forgetTold drops the oldest: at worst people are told of it once more.
func (s *State) forgetTold() {
	if len(s.Told) <= MaxTold {
		return
	}
	oldest := slices.MinFunc(sortedKeys(s.Told), func(a, b string) int {
		return int(min(1, max(-1, int64(s.Told[a].Index)-int64(s.Told[b].Index))))
	})
	delete(s.Told, oldest)
}

// about is the name of what a reason speaks of, if it names anything.
func (r Reason) about() string {
	for _, key := range []string{"guest", "op", "domain", "site", "zone"} {
		if v := r.Args[key]; v != "" {
			return strings.TrimPrefix(strings.Replace(v, "host:", "host ", 1), "site:")
		}
	}
	return ""
}

// ChannelView is one way by which an agent tells people, as it went last.
type ChannelView struct {
	Name    string    `json:"name"`
	Waiting int       `json:"waiting,omitempty"` // messages that have not left
	Failing string    `json:"failing,omitempty"` // why the last attempt failed; "" if it did not
	Since   time.Time `json:"since,omitzero"`    // of the first failure in a row
}

// channels are the notices of the answering agent's own channels.
func (e explainer) channels() []Reason {
	var out []Reason
	for _, c := range e.local.Channels {
		if c.Failing != "" {
			out = append(out, because(CodeChannelFails, "site", string(e.local.Site), "channel", c.Name, "why", c.Failing, "waiting", fmt.Sprint(c.Waiting), "since", clockText(c.Since)))
		}
	}
	return out
}

// Code is that of the sentence which tells of a cause; "" for one that tells nothing.
func (c Cause) Code() string { return causeCodes[c] }
