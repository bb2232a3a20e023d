package proxmox

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"regexp"
	"strings"
)

const hidden = "***"

// Secret is a token's secret. However it is printed, logged or encoded, it shows "***". The text is behind a pointer
// so that also fmt's view into the unexported fields of a struct that holds a Secret shows an address only.
type Secret struct{ text *string }

// NewSecret wraps text.
func NewSecret(text string) Secret { return Secret{text: &text} }

// Reveal gives the text. Only the code that writes the Authorization header may call it.
func (s Secret) Reveal() string {
	if s.text == nil {
		return ""
	}
	return *s.text
}

// IsZero says that there is no secret.
func (s Secret) IsZero() bool { return s.Reveal() == "" }

// String shows "***".
func (s Secret) String() string { return hidden }

// GoString shows "***" for %#v.
func (s Secret) GoString() string { return hidden }

// Format shows "***" for every verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, hidden) }

// LogValue shows "***" in structured logs.
func (s Secret) LogValue() slog.Value { return slog.StringValue(hidden) }

// MarshalJSON encodes "***".
func (s Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + hidden + `"`), nil }

// MarshalText encodes "***", for YAML and the like.
func (s Secret) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// tokenLine is USER@REALM!NAME, then "=" (as PVE writes it) or ":" (as PBS does), then the secret.
var tokenLine = regexp.MustCompile(`^([^\s:/!=]+@[A-Za-z][A-Za-z0-9._-]*![A-Za-z][A-Za-z0-9._-]*)[=:]([!-~]+)$`)

var tokenIDText = regexp.MustCompile(`^[^\s:/!=]+@[A-Za-z][A-Za-z0-9._-]*![A-Za-z][A-Za-z0-9._-]*$`)

// maxTokenFile is far above the length of any token line, in bytes.
const maxTokenFile = 4096

// ReadTokenFile reads an API token from a file that holds one line, USER@REALM!NAME=SECRET (PVE) or
// USER@REALM!NAME:SECRET (PBS). A file that others than its owner could read or change (any mode but 0600 and 0400)
// is refused. Errors never quote the line.
func ReadTokenFile(path string) (tokenID string, secret Secret, err error) {
	f, err := os.Open(path)
	if err != nil {
		return "", Secret{}, fmt.Errorf("read token file: %w", err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return "", Secret{}, fmt.Errorf("read token file: %w", err)
	}
	switch mode := info.Mode(); {
	case !mode.IsRegular():
		return "", Secret{}, fmt.Errorf("read token file %s: not a regular file", path)
	case mode.Perm() != 0o600 && mode.Perm() != 0o400:
		return "", Secret{}, fmt.Errorf("read token file %s: mode is %04o, must be 0600 or 0400 (chmod 600 %s)", path, mode.Perm(), path)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxTokenFile+1))
	if err != nil {
		return "", Secret{}, fmt.Errorf("read token file %s: %w", path, err)
	}
	if len(b) > maxTokenFile {
		return "", Secret{}, fmt.Errorf("read token file %s: longer than %d bytes", path, maxTokenFile)
	}
	line := strings.TrimSpace(string(b))
	if strings.ContainsAny(line, "\r\n") {
		return "", Secret{}, fmt.Errorf("read token file %s: more than one line", path)
	}
	m := tokenLine.FindStringSubmatch(line)
	if m == nil {
		return "", Secret{}, fmt.Errorf("read token file %s: not of the form USER@REALM!NAME=SECRET (PVE) or USER@REALM!NAME:SECRET (PBS)", path)
	}
	return m[1], NewSecret(m[2]), nil
}
