package lab

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
)

// ErrKeyDoesNotFit is returned by Key.Open for bytes that another key sealed or that were changed.
var ErrKeyDoesNotFit = errors.New("data was not sealed with this key")

// Key is a site's backup key. Equal plain chunks give equal cipher chunks under one key (the nonce is
// derived from the content), so encrypted backups still share chunks.
type Key struct {
	secret      [32]byte
	aead        cipher.AEAD
	fingerprint string
}

// NewKey draws a key from rng.
func NewKey(rng *rand.Rand) *Key {
	var secret [32]byte
	for i := range secret {
		secret[i] = byte(rng.Uint32())
	}
	return keyFrom(secret)
}

func keyFrom(secret [32]byte) *Key {
	block, err := aes.NewCipher(secret[:])
	if err != nil {
		panic("lab: a 32-byte AES key was refused: " + err.Error()) // cannot happen: the length is fixed
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic("lab: GCM over AES was refused: " + err.Error()) // cannot happen: AES blocks are 16 bytes
	}
	mac := hmac.New(sha256.New, secret[:])
	mac.Write([]byte("fingerprint"))
	pairs := make([]string, 0, sha256.Size)
	for _, b := range mac.Sum(nil) {
		pairs = append(pairs, hex.EncodeToString([]byte{b}))
	}
	return &Key{secret: secret, aead: aead, fingerprint: strings.Join(pairs, ":")}
}

// keyFile is the key file of proxmox-backup-client without a passphrase (reference/proxmox.md 9).
type keyFile struct {
	KDF         *string `json:"kdf"`
	Created     string  `json:"created"`
	Modified    string  `json:"modified"`
	Data        string  `json:"data"`
	Fingerprint string  `json:"fingerprint"`
}

// ParseKey reads a key file (JSON, kdf null). Its errors never contain key material.
func ParseKey(text []byte) (*Key, error) {
	var f keyFile
	if err := json.Unmarshal(text, &f); err != nil {
		return nil, errors.New("parse key: not a JSON key file")
	}
	if f.KDF != nil {
		return nil, errors.New("parse key: protected by a passphrase; PVE takes only kdf none")
	}
	raw, err := base64.StdEncoding.DecodeString(f.Data)
	if err != nil || len(raw) != 32 {
		return nil, errors.New("parse key: data is not 32 bytes in base64")
	}
	return keyFrom([32]byte(raw)), nil
}

// File returns the key as a key file; the bytes are secret.
func (k *Key) File() []byte {
	// The dates are fixed: they mean nothing to the lab and must not depend on a clock.
	const at = "2026-01-01T00:00:00Z"
	b, err := json.Marshal(keyFile{Created: at, Modified: at, Data: base64.StdEncoding.EncodeToString(k.secret[:]), Fingerprint: k.Fingerprint()})
	if err != nil {
		panic("lab: a struct of strings was not encoded: " + err.Error()) // cannot happen
	}
	return b
}

// Fingerprint returns the key's public name, 32 hex pairs with colons.
func (k *Key) Fingerprint() string { return k.fingerprint }

// shortFingerprint is how the client's messages print a fingerprint: its first eight pairs.
func shortFingerprint(fp string) string { return fp[:min(len(fp), 23)] }

// String hides the secret from logs.
func (k *Key) String() string { return "key " + shortFingerprint(k.Fingerprint()) }

// Seal encrypts plain; the result is 28 bytes longer.
func (k *Key) Seal(plain []byte) []byte {
	mac := hmac.New(sha256.New, k.secret[:])
	mac.Write([]byte("nonce"))
	mac.Write(plain)
	nonce := mac.Sum(nil)[:k.aead.NonceSize()]
	return k.aead.Seal(nonce[:len(nonce):len(nonce)], nonce, plain, nil)
}

// Open decrypts what Seal returned; the error is ErrKeyDoesNotFit.
func (k *Key) Open(sealed []byte) ([]byte, error) {
	n := k.aead.NonceSize()
	if len(sealed) < n {
		return nil, ErrKeyDoesNotFit
	}
	plain, err := k.aead.Open(nil, sealed[:n], sealed[n:], nil)
	if err != nil {
		return nil, ErrKeyDoesNotFit
	}
	return plain, nil
}

// keyError returns what proxmox-backup-client prints when have cannot open a manifest made with the key
// of fingerprint want ("" = not encrypted), or "" when it can.
func keyError(have *Key, want string) string {
	switch {
	case want == "" || (have != nil && have.Fingerprint() == want):
		return ""
	case have == nil:
		return fmt.Sprintf("missing key - manifest was created with key %s", shortFingerprint(want))
	default:
		return fmt.Sprintf("wrong key - manifest's key %s does not match provided key %s",
			shortFingerprint(want), shortFingerprint(have.Fingerprint()))
	}
}
