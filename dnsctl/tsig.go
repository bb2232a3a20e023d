package dnsctl

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"log/slog"

	"github.com/miekg/dns"
)

// Key is a shared secret for signed DNS messages (TSIG, RFC 8945).
type Key struct {
	// Name of the key as an absolute name; both sides must agree on it.
	Name string
	// Algorithm: hmac-sha256 (also for ""), hmac-sha384 or hmac-sha512.
	Algorithm string
	// Secret in base64, at least 16 bytes; 32 and more are advised.
	Secret string
}

// String keeps the secret out of texts.
func (k Key) String() string { return k.Name }

// LogValue keeps the secret out of logs.
func (k Key) LogValue() slog.Value { return slog.StringValue(k.Name) }

// tsigKey is a checked Key.
type tsigKey struct {
	name, algorithm string
	secret          []byte
	hash            func() hash.Hash
}

func (k Key) parse() (tsigKey, error) {
	name, err := canonicalName(k.Name)
	if err != nil {
		return tsigKey{}, fmt.Errorf("read TSIG key: %w", err)
	}
	out := tsigKey{name: name}
	switch k.Algorithm {
	case "", "hmac-sha256", dns.HmacSHA256:
		out.algorithm, out.hash = dns.HmacSHA256, sha256.New
	case "hmac-sha384", dns.HmacSHA384:
		out.algorithm, out.hash = dns.HmacSHA384, sha512.New384
	case "hmac-sha512", dns.HmacSHA512:
		out.algorithm, out.hash = dns.HmacSHA512, sha512.New
	default:
		return tsigKey{}, fmt.Errorf("read TSIG key %s: algorithm %q is not hmac-sha256, hmac-sha384 or hmac-sha512", name, k.Algorithm)
	}
	if out.secret, err = base64.StdEncoding.DecodeString(k.Secret); err != nil || len(out.secret) < 16 {
		return tsigKey{}, fmt.Errorf("read TSIG key %s: the secret is not base64 of at least 16 bytes", name)
	}
	return out, nil
}

// keyring signs and verifies with the algorithm that belongs to each key: miekg's own table of secrets would accept any.
type keyring map[string]tsigKey

var _ dns.TsigProvider = keyring(nil)

func newKeyring(keys []Key) (keyring, error) {
	ring := make(keyring, len(keys))
	for _, k := range keys {
		parsed, err := k.parse()
		if err != nil {
			return nil, err
		}
		if _, twice := ring[parsed.name]; twice {
			return nil, fmt.Errorf("read TSIG key %s: given twice", parsed.name)
		}
		ring[parsed.name] = parsed
	}
	return ring, nil
}

// Generate computes the MAC of a message (dns.TsigProvider).
func (k keyring) Generate(msg []byte, t *dns.TSIG) ([]byte, error) {
	key, known := k[dns.CanonicalName(t.Hdr.Name)]
	if !known {
		return nil, dns.ErrSecret
	}
	if dns.CanonicalName(t.Algorithm) != key.algorithm {
		return nil, dns.ErrKeyAlg
	}
	h := hmac.New(key.hash, key.secret)
	h.Write(msg)
	return h.Sum(nil), nil
}

// Verify compares the MAC of a message in constant time (dns.TsigProvider). Truncated MACs are refused.
func (k keyring) Verify(msg []byte, t *dns.TSIG) error {
	want, err := k.Generate(msg, t)
	if err != nil {
		return err
	}
	got, err := hex.DecodeString(t.MAC)
	if err != nil || !hmac.Equal(got, want) {
		return dns.ErrSig
	}
	return nil
}

// tsigError is the TSIG error code for a failed verification (RFC 8945 section 5.2).
func tsigError(err error) uint16 {
	switch {
	case errors.Is(err, dns.ErrTime):
		return dns.RcodeBadTime
	case errors.Is(err, dns.ErrSecret), errors.Is(err, dns.ErrKeyAlg):
		return dns.RcodeBadKey
	default:
		return dns.RcodeBadSig
	}
}
