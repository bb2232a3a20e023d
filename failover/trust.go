package failover

import (
	"fmt"
	"maps"
	"time"
)

// Role says what an operator may do. Each may do what the one before may.
type Role string

// Roles: a viewer reads, an operator decides on operations, pauses and names,
// an admin changes the network, its members and who may do what.
const (
	RoleViewer   Role = "viewer"
	RoleOperator Role = "operator"
	RoleAdmin    Role = "admin"
)

// rank orders the roles; 0 is none.
func (r Role) rank() int {
	switch r {
	case RoleViewer:
		return 1
	case RoleOperator:
		return 2
	case RoleAdmin:
		return 3
	}
	return 0
}

// Valid says whether there is such a role.
func (r Role) Valid() bool { return r.rank() > 0 }

// May says whether the role suffices where need is asked for.
func (r Role) May(need Role) bool { return r.Valid() && r.rank() >= need.rank() }

// JoinToken lets one agent have a certificate. Its secret is not in State, only
// the SHA-256 of it.
type JoinToken struct {
	Hash   string    `json:"hash"` // hex
	Until  time.Time `json:"until"`
	Site   SiteID    `json:"site,omitempty"` // "" = any
	UsedBy string    `json:"used_by,omitempty"`
	By     Stamp     `json:"by"`
}

// Operator is a person's certificate, by its serial number.
type Operator struct {
	Name  string    `json:"name"`
	Role  Role      `json:"role"`
	Until time.Time `json:"until"`
	By    Stamp     `json:"by"`
}

// Revocation says that certificates are not accepted any more, although the
// network's authority issued them.
type Revocation struct {
	Name   string `json:"name"` // of the site or the operator, for people
	Reason string `json:"reason,omitempty"`
	By     Stamp  `json:"by"`
}

// AgentKey is the key in State.Revoked of every certificate of an agent.
func AgentKey(serverID string) string { return "agent:" + serverID }

// OperatorKey is the key in State.Revoked of one certificate of a person.
func OperatorKey(serial string) string { return "operator:" + serial }

// Limits of what lets others in. What people forget must end by itself.
const (
	MaxTokenLife    = 7 * 24 * time.Hour
	MaxOperatorLife = 366 * 24 * time.Hour
	MaxTokens       = 100
	MaxOperators    = 200
)

// CreateToken lets an agent join, once.
type CreateToken struct {
	ID   string        `json:"id"`
	Hash string        `json:"hash"` // hex SHA-256 of the secret
	For  time.Duration `json:"for"`
	Site SiteID        `json:"site,omitempty"`
}

// EndToken takes a token back.
type EndToken struct {
	ID string `json:"id"`
}

// UseToken spends a token for one key. The same key may use it again while it
// lasts: the answer to the first use may have been lost.
type UseToken struct {
	ID       string `json:"id"`
	Hash     string `json:"hash"` // hex SHA-256 of the secret that was shown
	Key      string `json:"key"`  // hex SHA-256 of the public key
	Site     SiteID `json:"site"`
	ServerID string `json:"server_id"`
}

// AdmitOperator records a person's certificate.
type AdmitOperator struct {
	Serial string        `json:"serial"` // hex
	Name   string        `json:"name"`
	Role   Role          `json:"role"`
	For    time.Duration `json:"for"`
}

// RevokeAgent stops an agent's certificates from being accepted, for good: it
// comes back with an empty data directory only.
type RevokeAgent struct {
	ServerID string `json:"server_id"`
	Site     SiteID `json:"site"` // for people
	Reason   string `json:"reason,omitempty"`
}

// RevokeOperator stops every certificate of a person from being accepted.
type RevokeOperator struct {
	Name   string `json:"name"`
	Reason string `json:"reason,omitempty"`
}

func (c CreateToken) apply(s *State, st Stamp) error {
	switch {
	case c.ID == "" || len(c.Hash) != 64:
		return reject(CodeInvalid, "what", "a token without id or hash")
	case c.For <= 0 || c.For > MaxTokenLife:
		return reject(CodeInvalid, "what", "a token for "+c.For.String()+", want more than 0 and at most "+MaxTokenLife.String())
	}
	live := 0
	for _, t := range s.Tokens {
		if st.At.Before(t.Until) {
			live++
		}
	}
	if _, ok := s.Tokens[c.ID]; ok {
		return reject(CodeDuplicate, "what", "token "+c.ID)
	}
	if live >= MaxTokens {
		return reject(CodeInvalid, "what", fmt.Sprintf("%d tokens are open; revoke some", MaxTokens))
	}
	maps.DeleteFunc(s.Tokens, func(_ string, t JoinToken) bool { return !st.At.Before(t.Until) })
	t := JoinToken{Hash: c.Hash, Until: st.At.Add(c.For), Site: c.Site, By: st}
	s.Tokens[c.ID] = t
	s.event(st, because(CodeTokenMade, "token", c.ID, "site", string(c.Site), "until", clockText(t.Until)), Event{Site: c.Site})
	return nil
}

func (c EndToken) apply(s *State, st Stamp) error {
	t, ok := s.Tokens[c.ID]
	if !ok {
		return reject(CodeBadToken, "why", "there is no token "+c.ID)
	}
	delete(s.Tokens, c.ID)
	s.event(st, because(CodeTokenEnded, "token", c.ID), Event{Site: t.Site})
	return nil
}

func (c UseToken) apply(s *State, st Stamp) error {
	t, ok := s.Tokens[c.ID]
	member, taken := s.Members[c.Site]
	_, revoked := s.Revoked[AgentKey(c.ServerID)]
	switch {
	case c.Site == "" || c.ServerID == "" || c.Key == "":
		return reject(CodeInvalid, "what", "use of a token without site, server id or key")
	case !ok || c.Hash != t.Hash:
		return reject(CodeBadToken, "why", "it was revoked, or never made here")
	case !st.At.Before(t.Until):
		return reject(CodeBadToken, "why", "it ended at "+clockText(t.Until))
	case t.UsedBy != "" && t.UsedBy != c.Key:
		return reject(CodeBadToken, "why", "another agent has used it")
	case t.Site != "" && t.Site != c.Site:
		return reject(CodeBadToken, "why", "it is for site "+string(t.Site))
	case revoked:
		return reject(CodeBadToken, "why", "this data directory was expelled: start with an empty one")
	case taken && member.ServerID != c.ServerID:
		return reject(CodeSiteTaken, "site", string(c.Site), "server", member.ServerID)
	}
	if s.Network != nil {
		if _, declared := s.Network.Sites[c.Site]; !declared {
			return reject(CodeUnknownSite, "site", string(c.Site))
		}
	}
	if t.UsedBy == "" {
		s.event(st, because(CodeTokenUsed, "token", c.ID, "site", string(c.Site), "server", c.ServerID), Event{Site: c.Site})
	}
	t.UsedBy = c.Key
	s.Tokens[c.ID] = t
	return nil
}

func (c AdmitOperator) apply(s *State, st Stamp) error {
	switch {
	case c.Serial == "" || c.Name == "" || !c.Role.Valid():
		return reject(CodeInvalid, "what", "an operator without serial, name or role")
	case c.For <= 0 || c.For > MaxOperatorLife:
		return reject(CodeInvalid, "what", "a certificate for "+c.For.String()+", want more than 0 and at most "+MaxOperatorLife.String())
	}
	ended := func(serial string) bool { return !st.At.Before(s.Operators[serial].Until) }
	live := 0
	for serial := range s.Operators {
		if !ended(serial) {
			live++
		}
	}
	if live >= MaxOperators {
		return reject(CodeInvalid, "what", fmt.Sprintf("%d certificates of operators are valid", MaxOperators))
	}
	for serial := range s.Operators {
		if ended(serial) { // neither it nor its revocation says anything more
			delete(s.Operators, serial)
			delete(s.Revoked, OperatorKey(serial))
		}
	}
	s.Operators[c.Serial] = Operator{Name: c.Name, Role: c.Role, Until: st.At.Add(c.For), By: st}
	s.event(st, because(CodeOperatorMade, "name", c.Name, "role", string(c.Role), "until", clockText(st.At.Add(c.For))), Event{})
	return nil
}

func (c RevokeAgent) apply(s *State, st Stamp) error {
	if c.ServerID == "" {
		return reject(CodeInvalid, "what", "a revocation of no agent")
	}
	if _, ok := s.Revoked[AgentKey(c.ServerID)]; ok {
		return reject(CodeDuplicate, "what", "revocation of "+c.ServerID)
	}
	for site, m := range s.Members {
		if m.ServerID == c.ServerID {
			return reject(CodeInvalid, "what", "the agent of "+string(site)+" is still a member: remove it first")
		}
	}
	s.Revoked[AgentKey(c.ServerID)] = Revocation{Name: string(c.Site), Reason: c.Reason, By: st}
	s.event(st, because(CodeRevoked, "name", "agent "+c.ServerID, "site", string(c.Site), "reason", c.Reason), Event{Site: c.Site})
	return nil
}

func (c RevokeOperator) apply(s *State, st Stamp) error {
	n := 0
	for _, serial := range sortedKeys(s.Operators) {
		key := OperatorKey(serial)
		if _, done := s.Revoked[key]; s.Operators[serial].Name != c.Name || done {
			continue
		}
		s.Revoked[key] = Revocation{Name: c.Name, Reason: c.Reason, By: st}
		n++
	}
	if n == 0 {
		return reject(CodeNothing, "what", "certificate of operator "+c.Name)
	}
	s.event(st, because(CodeRevoked, "name", "operator "+c.Name, "reason", c.Reason), Event{})
	return nil
}
