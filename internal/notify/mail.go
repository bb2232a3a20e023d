package notify

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"mime"
	"mime/quotedprintable"
	"net"
	"net/smtp"
	"os"
	"os/exec"
	"strings"
	"time"
)

// smtpSender hands a mail to a server.
type smtpSender struct {
	channel Channel
	edge    Edge
}

// Send implements Sender.
func (s smtpSender) Send(ctx context.Context, m Message) error {
	letter, err := mail(s.channel, m)
	if err != nil {
		return err
	}
	return s.with(ctx, func(c *smtp.Client) error { return s.hand(c, letter) })
}

// Trial implements trier: all that comes before a letter, its addressees included.
func (s smtpSender) Trial(ctx context.Context) error {
	return s.with(ctx, func(c *smtp.Client) error {
		if err := s.address(c); err != nil {
			return err
		}
		_ = c.Reset() // nothing was given that it could send
		_ = c.Quit()
		return nil
	})
}

// with has a conversation with the server.
func (s smtpSender) with(ctx context.Context, say func(*smtp.Client) error) error {
	conn, err := s.edge.Dial(ctx, "tcp", s.channel.Server)
	if err != nil {
		return err
	}
	defer conn.Close()
	// The end of ctx cuts every read and write.
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	c, err := s.open(conn)
	if err == nil {
		err = say(c)
	}
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("no answer: %w", context.Cause(ctx))
	}
	return err
}

func (s smtpSender) open(conn net.Conn) (*smtp.Client, error) {
	host, _, _ := net.SplitHostPort(s.channel.Server)
	if s.channel.TLS == "tls" {
		conf, err := tlsConfig(s.channel.CAFile, host, s.edge.Now)
		if err != nil {
			return nil, err
		}
		conn = tls.Client(conn, conf)
	}
	c, err := smtp.NewClient(conn, host)
	if err != nil {
		return nil, err
	}
	return c, s.greet(c, host)
}

// greet says who we are, over TLS unless the server is this machine.
func (s smtpSender) greet(c *smtp.Client, host string) error {
	if name, err := os.Hostname(); err == nil && name != "" {
		if err := c.Hello(name); err != nil {
			return err
		}
	}
	if cmp.Or(s.channel.TLS, "starttls") == "starttls" {
		if ok, _ := c.Extension("STARTTLS"); !ok {
			return errors.New("the server offers no STARTTLS")
		}
		conf, err := tlsConfig(s.channel.CAFile, host, s.edge.Now)
		if err != nil {
			return err
		}
		if err := c.StartTLS(conf); err != nil {
			return err
		}
	}
	if s.channel.User == "" {
		return nil
	}
	password, err := secret(s.channel.PasswordFile)
	if err != nil {
		return err
	}
	return c.Auth(smtp.PlainAuth("", s.channel.User, password, host))
}

// address says from whom and to whom.
func (s smtpSender) address(c *smtp.Client) error {
	if err := c.Mail(s.channel.From); err != nil {
		return err
	}
	for _, to := range s.channel.To {
		if err := c.Rcpt(to); err != nil {
			return err
		}
	}
	return nil
}

func (s smtpSender) hand(c *smtp.Client, letter []byte) error {
	if err := s.address(c); err != nil {
		return err
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	if _, err := w.Write(letter); err != nil {
		return err
	}
	if err := w.Close(); err != nil { // the server has taken it, or says why not
		return err
	}
	_ = c.Quit() // it is taken whatever comes now
	return nil
}

// mail writes a letter: RFC 5322, text in UTF-8. Its Message-ID is the same at every attempt,
// so that a server or a reader can tell a repetition.
func mail(c Channel, m Message) ([]byte, error) {
	var b bytes.Buffer
	host := c.From[strings.LastIndex(c.From, "@")+1:]
	header := func(name, value string) { fmt.Fprintf(&b, "%s: %s\r\n", name, value) }
	header("From", c.From)
	header("To", strings.Join(c.To, ", "))
	header("Subject", mime.QEncoding.Encode("utf-8", ascii7(m.Subject)))
	header("Date", m.Made.Format(time.RFC1123Z))
	header("Message-ID", fmt.Sprintf("<%s@%s>", m.attempt(), host))
	header("Auto-Submitted", "auto-generated")
	header("X-WWW-Code", m.Code)
	if m.Urgency == Urgent {
		header("Importance", "high")
	}
	header("MIME-Version", "1.0")
	header("Content-Type", "text/plain; charset=utf-8")
	header("Content-Transfer-Encoding", "quoted-printable")
	b.WriteString("\r\n")
	w := quotedprintable.NewWriter(&b)
	if _, err := w.Write([]byte(m.Text)); err != nil {
		return nil, err
	}
	return b.Bytes(), w.Close()
}

// ascii7 keeps a header on its line.
func ascii7(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' {
			return ' '
		}
		return r
	}, text)
}

// sendmail hands a mail to the machine's own program.
type sendmail struct{ channel Channel }

// Send implements Sender.
func (s sendmail) Send(ctx context.Context, m Message) error {
	letter, err := mail(s.channel, m)
	if err != nil {
		return err
	}
	command := s.command()
	args := append(append([]string{}, command[1:]...), "-i", "-f", s.channel.From, "--")
	return run(ctx, command[0], append(args, s.channel.To...), nil, bytes.ReplaceAll(letter, []byte("\r\n"), []byte("\n")))
}

func (s sendmail) command() []string {
	if len(s.channel.Command) > 0 {
		return s.channel.Command
	}
	return []string{"/usr/sbin/sendmail"}
}

// Trial implements trier: the program is there.
func (s sendmail) Trial(context.Context) error { return runnable(s.command()[0]) }

// program has a program of the machine tell people. It gets the text on its standard input
// and the rest in its environment.
type program struct{ channel Channel }

// Send implements Sender.
func (p program) Send(ctx context.Context, m Message) error {
	env := []string{
		"WWW_CODE=" + m.Code, "WWW_SITE=" + string(m.Site), "WWW_NETWORK=" + m.Network, "WWW_FROM=" + string(m.From),
		"WWW_KIND=" + string(m.Kind), "WWW_URGENCY=" + string(m.Urgency), "WWW_SUBJECT=" + m.Subject, "WWW_SHORT=" + m.Short,
		"WWW_ID=" + m.ID, "WWW_KEY=" + m.Key, fmt.Sprintf("WWW_PARTIAL=%t", m.Partial),
	}
	return run(ctx, p.channel.Command[0], p.channel.Command[1:], env, []byte(m.Text))
}

// Trial implements trier: the program is there.
func (p program) Trial(context.Context) error { return runnable(p.channel.Command[0]) }

// runnable says why a program must not or cannot be started.
func runnable(name string) error {
	info, err := os.Stat(name)
	switch {
	case err != nil:
		return err
	case info.Mode().Perm()&0o022 != 0:
		return fmt.Errorf("%s can be changed by others than its owner (chmod go-w)", name)
	case info.Mode().Perm()&0o111 == 0:
		return fmt.Errorf("%s cannot be executed (chmod u+x)", name)
	}
	return nil
}

// run starts a program that nobody but its owner can change, and waits for it.
func run(ctx context.Context, name string, args, env []string, input []byte) error {
	if err := runnable(name); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdin = bytes.NewReader(input)
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		return fmt.Errorf("%s does not end: %w", name, context.Cause(ctx))
	}
	if err != nil {
		return fmt.Errorf("%s: %w %s", name, err, clip(strings.TrimSpace(ascii(string(out))), 200))
	}
	return nil
}
