package api

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
)

// JoinToken lets one agent have its certificate. As text it is
// www1.ID.SECRET.AUTHORITY: the id is public, the secret is what is proven, and
// the SHA-256 of the authority's certificate tells the joining agent whom to
// believe.
type JoinToken struct {
	ID        string
	Secret    string
	Authority string // hex SHA-256
}

// NewJoinToken draws a token for the authority with the fingerprint (hex).
func NewJoinToken(authority string) JoinToken {
	return JoinToken{ID: strings.ToLower(rand.Text()[:8]), Secret: strings.ToLower(rand.Text()), Authority: authority}
}

// String is the text that a person carries to the other machine.
func (t JoinToken) String() string {
	sum, err := hex.DecodeString(t.Authority)
	if err != nil {
		sum = nil // ParseJoinToken refuses what comes out
	}
	return strings.Join([]string{"www1", t.ID, t.Secret, base64.RawURLEncoding.EncodeToString(sum)}, ".")
}

// Hash is what State holds of the secret.
func (t JoinToken) Hash() string {
	sum := sha256.Sum256([]byte(t.Secret))
	return hex.EncodeToString(sum[:])
}

var tokenForm = regexp.MustCompile(`^www1\.([a-z2-7]{8})\.([a-z2-7]{26})\.([A-Za-z0-9_-]{43})$`)

// ParseJoinToken reads a token. The error never repeats any of it.
func ParseJoinToken(text string) (JoinToken, error) {
	text = strings.TrimSpace(text)
	m := tokenForm.FindStringSubmatch(text)
	if m == nil {
		return JoinToken{}, fmt.Errorf("not a token: want www1.ID.SECRET.AUTHORITY in one piece, have %d characters in %d parts", len(text), strings.Count(text, ".")+1)
	}
	sum, err := base64.RawURLEncoding.DecodeString(m[3])
	if err != nil || len(sum) != sha256.Size {
		return JoinToken{}, errors.New("not a token: its last part is damaged")
	}
	return JoinToken{ID: m[1], Secret: m[2], Authority: hex.EncodeToString(sum)}, nil
}

// TokenRequest asks for a token.
type TokenRequest struct {
	Site    failover.SiteID `json:"site,omitempty"` // "" = any
	Seconds float64         `json:"for"`
}

// TokenMade is the only answer that ever holds a token.
type TokenMade struct {
	ID    string          `json:"id"`
	Token string          `json:"token"`
	Site  failover.SiteID `json:"site,omitempty"`
	Until time.Time       `json:"until"`
	Via   []string        `json:"via"` // addresses of agents that can admit
}

// TokenView is what can be told of a token.
type TokenView struct {
	ID    string          `json:"id"`
	Site  failover.SiteID `json:"site,omitempty"`
	Until time.Time       `json:"until"`
	Used  bool            `json:"used"`
	Ended bool            `json:"ended"` // its time is over
	By    string          `json:"by,omitempty"`
}

// RedeemRequest is what an agent with a token and no certificate sends.
type RedeemRequest struct {
	Token    string          `json:"token"`
	Site     failover.SiteID `json:"site"`
	ServerID string          `json:"server_id"`
	Address  string          `json:"address"` // of its mesh port
	Request  string          `json:"request"` // certificate request, PEM
}

// Redeemed is the certificate for it, PEM. Whom to believe the agent knows from
// the connection.
type Redeemed struct {
	Certificate string `json:"certificate"`
}
