package dnsctl

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/miekg/dns"
)

// ErrUnsigned is wrapped when a signed request got an answer without signature: nobody vouches for it. PowerDNS refuses
// a wrong key this way, without detail.
var ErrUnsigned = errors.New("answer is not signed")

// SignatureError is the server's verdict on our signature (RFC 8945 section 5.2).
type SignatureError struct {
	// Code: 16 BADSIG, 17 BADKEY, 18 BADTIME, 22 BADTRUNC.
	Code uint16
	// Skew is how far our clock is ahead of the server's, for BADTIME.
	Skew time.Duration
}

// Error says what an operator has to mend.
func (e *SignatureError) Error() string {
	switch e.Code {
	case dns.RcodeBadTime:
		return fmt.Sprintf("server refuses the signature's time: our clock is off by %s", e.Skew)
	case dns.RcodeBadKey:
		return "server does not know the key, or not with this algorithm, or the key may not write one of the names or types"
	case dns.RcodeBadSig:
		return "server computes another signature: the secrets differ"
	default:
		return fmt.Sprintf("server refuses the signature with code %d", e.Code)
	}
}

// SigningExchanger signs every message with a key, sends it over TCP and accepts only signed answers.
type SigningExchanger struct {
	net  NetExchanger
	key  tsigKey
	ring keyring
	now  func() time.Time
}

var _ Exchanger = (*SigningExchanger)(nil)

// NewSigningExchanger wraps a network exchanger; now is the wall clock that goes into signatures.
func NewSigningExchanger(n NetExchanger, key Key, now func() time.Time) (*SigningExchanger, error) {
	parsed, err := key.parse()
	if err != nil {
		return nil, err
	}
	return &SigningExchanger{net: n, key: parsed, ring: keyring{parsed.name: parsed}, now: now}, nil
}

// Exchange sends a signed copy of m, so that a message can be sent again.
func (s *SigningExchanger) Exchange(ctx context.Context, server string, m *dns.Msg) (*dns.Msg, error) {
	out := m.Copy()
	out.Id = randomID()
	out.SetTsig(s.key.name, s.key.algorithm, 300, s.now().Unix())
	packet, mac, err := dns.TsigGenerateWithProvider(out, s.ring, "", false)
	if err != nil {
		return nil, fmt.Errorf("ask %s: sign question: %w", server, err)
	}
	raw, reply, err := s.net.exchangeRaw(ctx, "tcp", server, out, packet)
	if err != nil {
		return nil, err
	}
	if err := s.check(raw, reply, mac); err != nil {
		return nil, fmt.Errorf("ask %s: answered %s: %w", server, rcodeText(reply.Rcode), err)
	}
	reply.Id = m.Id
	return reply, nil
}

func (s *SigningExchanger) check(raw []byte, reply *dns.Msg, mac string) error {
	t := reply.IsTsig()
	if t == nil {
		return ErrUnsigned
	}
	if t.Error != 0 {
		e := &SignatureError{Code: t.Error}
		if other, err := hex.DecodeString(t.OtherData); err == nil && len(other) == 6 {
			var sec int64
			for _, b := range other {
				sec = sec<<8 | int64(b)
			}
			e.Skew = s.now().Sub(time.Unix(sec, 0)).Round(time.Second)
		}
		return e
	}
	if err := dns.TsigVerifyWithProvider(raw, s.ring, mac, false); err != nil {
		return fmt.Errorf("verify answer's signature: %w", err)
	}
	return nil
}
