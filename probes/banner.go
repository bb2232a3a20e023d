package probes

import (
	"bytes"
	"context"
	"net"
	"strings"
)

// maxBanner bounds what is read of a service that speaks first. An SSH server
// may send lines before its identification (RFC 4253 section 4.2).
const maxBanner = 1 << 10

// banner waits for a service that speaks first, as SSH does. Dropbear is what
// an initramfs runs while it waits for the passphrase of the disks; OpenSSH on
// the same port means that the host has booted.
func (p prober) banner(ctx context.Context, t Target) Result {
	return p.talk(ctx, "tcp", t, func(conn net.Conn) (Result, error) {
		line, err := readBanner(conn, t.Expect)
		if line == "" && err == nil {
			return refused("says nothing readable"), nil
		}
		if line == "" {
			return Result{}, err
		}
		r := up(line)
		if !strings.Contains(strings.ToLower(line), strings.ToLower(t.Expect)) {
			r = refused("speaks, but not as expected: " + line)
		}
		r.Locked = strings.HasPrefix(strings.ToLower(line), "ssh-2.0-dropbear")
		return r, nil
	})
}

// readBanner reads up to the SSH identification, or else what was said first:
// with nothing expected one line of any kind will do. A partial line that then
// stalls was said nonetheless. The error is why nothing was said.
func readBanner(conn net.Conn, expect string) (string, error) {
	var said []byte
	chunk := make([]byte, maxBanner)
	for len(said) < maxBanner {
		n, err := conn.Read(chunk[:maxBanner-len(said)])
		said = append(said, chunk[:n]...)
		line, whole := identification(said)
		if whole || err != nil || expect == "" && line != "" && bytes.ContainsRune(said, '\n') {
			return line, err
		}
	}
	line, _ := identification(said)
	return line, nil
}

// identification returns the line that begins with "SSH-", and whether it is
// whole; without one, the first line that has text.
func identification(said []byte) (line string, whole bool) {
	for part := range bytes.Lines(said) {
		text := clean(string(part))
		if strings.HasPrefix(text, "SSH-") {
			return text, part[len(part)-1] == '\n'
		}
		if line == "" {
			line = text
		}
	}
	return line, false
}
