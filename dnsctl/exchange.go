package dnsctl

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// Exchanger sends one DNS message to a server ("IP:port") and returns its answer: one outside call, bounded by the
// context's deadline. The message is left as it was, its ID is chosen by the exchanger. A non-nil answer with a nil
// error belongs to the question, whatever its response code.
type Exchanger interface {
	Exchange(ctx context.Context, server string, m *dns.Msg) (*dns.Msg, error)
}

// ErrMalformed is wrapped by an exchange whose answer cannot be read or does not belong to the question.
var ErrMalformed = errors.New("malformed answer")

// NetExchanger asks over the network: UDP, and TCP when the answer was truncated or the message is an UPDATE.
type NetExchanger struct {
	// Dial opens "udp" and "tcp" connections, from the right source address; required.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

var _ Exchanger = NetExchanger{}

// Exchange sends m. The context must have a deadline.
func (n NetExchanger) Exchange(ctx context.Context, server string, m *dns.Msg) (*dns.Msg, error) {
	out := m.Copy()
	out.Id = randomID()
	packet, err := out.Pack()
	if err != nil {
		return nil, fmt.Errorf("ask %s: pack question: %w", server, err)
	}
	network := "udp"
	if m.Opcode == dns.OpcodeUpdate || len(packet) > udpSize {
		network = "tcp"
	}
	reply, err := n.roundTrip(ctx, network, server, out, packet)
	if err == nil && reply.Truncated && network == "udp" {
		reply, err = n.roundTrip(ctx, "tcp", server, out, packet)
	}
	if err != nil {
		return nil, err
	}
	reply.Id = m.Id
	return reply, nil
}

func (n NetExchanger) roundTrip(ctx context.Context, network, server string, q *dns.Msg, packet []byte) (*dns.Msg, error) {
	_, reply, err := n.exchangeRaw(ctx, network, server, q, packet)
	return reply, err
}

// exchangeRaw returns the answer also as it was on the wire, for the verification of its signature.
func (n NetExchanger) exchangeRaw(ctx context.Context, network, server string, q *dns.Msg, packet []byte) ([]byte, *dns.Msg, error) {
	deadline, bounded := ctx.Deadline()
	if !bounded || n.Dial == nil {
		return nil, nil, fmt.Errorf("ask %s: a deadline and a dialer are required", server)
	}
	fail := func(err error) ([]byte, *dns.Msg, error) {
		switch {
		case ctx.Err() != nil: // the connection was woken because of it
			err = ctx.Err()
		case errors.Is(err, os.ErrDeadlineExceeded): // the socket's timer can be ahead of the context's
			err = context.DeadlineExceeded
		}
		return nil, nil, fmt.Errorf("ask %s over %s: %w", server, network, err)
	}
	conn, err := n.Dial(ctx, network, server)
	if err != nil {
		return fail(err)
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(deadline); err != nil {
		return fail(err)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if network == "tcp" {
		packet = append(binary.BigEndian.AppendUint16(nil, uint16(len(packet))), packet...)
	}
	if _, err := conn.Write(packet); err != nil {
		return fail(err)
	}
	raw, reply, err := await(conn, network, q)
	if err != nil {
		return fail(err)
	}
	return raw, reply, nil
}

// await reads until the answer to q. Over UDP anybody can send: what is not the answer is passed over, but a broken
// message with its ID is reported at once.
func await(conn net.Conn, network string, q *dns.Msg) ([]byte, *dns.Msg, error) {
	for {
		raw, err := readPacket(conn, network)
		if err != nil {
			return nil, nil, err
		}
		reply := new(dns.Msg)
		err = reply.Unpack(raw)
		switch {
		case err == nil && belongs(q, reply):
			return raw, reply, nil
		case err == nil && network == "tcp":
			return nil, nil, fmt.Errorf("%w: it is of another question", ErrMalformed)
		case err != nil && (network == "tcp" || len(raw) >= 2 && binary.BigEndian.Uint16(raw) == q.Id):
			return nil, nil, fmt.Errorf("%w: %w", ErrMalformed, err)
		}
	}
}

func readPacket(conn net.Conn, network string) ([]byte, error) {
	if network == "udp" {
		buf := make([]byte, dns.MaxMsgSize)
		n, err := conn.Read(buf)
		return buf[:n], err
	}
	var length [2]byte
	if _, err := io.ReadFull(conn, length[:]); err != nil {
		return nil, err
	}
	buf := make([]byte, binary.BigEndian.Uint16(length[:]))
	_, err := io.ReadFull(conn, buf)
	return buf, err
}

// belongs says whether a message answers a question: a response with its ID, opcode and question. Some servers leave
// the question out of errors.
func belongs(q, reply *dns.Msg) bool {
	if !reply.Response || reply.Id != q.Id || reply.Opcode != q.Opcode {
		return false
	}
	if len(reply.Question) == 0 {
		return reply.Rcode != dns.RcodeSuccess || q.Opcode != dns.OpcodeQuery
	}
	a, b := q.Question[0], reply.Question[0]
	return len(reply.Question) == 1 && a.Qtype == b.Qtype && a.Qclass == b.Qclass && strings.EqualFold(a.Name, b.Name)
}

func randomID() uint16 {
	var b [2]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return binary.BigEndian.Uint16(b[:])
}

// InProcess asks servers in this process by their address, without network, goroutine or clock. Faults are put around
// it. Answers pass through wire form, so that what cannot be packed is noticed.
type InProcess map[string]*Server

var _ Exchanger = InProcess(nil)

// ErrNoServer is wrapped by an in-process exchange with an address where nobody listens.
var ErrNoServer = errors.New("nobody listens there")

// Exchange asks the server registered for the address.
func (p InProcess) Exchange(ctx context.Context, server string, m *dns.Msg) (*dns.Msg, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("ask %s: %w", server, err)
	}
	s, known := p[server]
	if !known {
		return nil, fmt.Errorf("ask %s: %w", server, ErrNoServer)
	}
	req, err := throughWire(m)
	if err != nil {
		return nil, fmt.Errorf("ask %s: pack question: %w", server, err)
	}
	answer := s.Respond(req)
	if answer == nil {
		return nil, fmt.Errorf("ask %s: %w", server, errors.New("not a question"))
	}
	reply, err := throughWire(answer)
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w: %w", server, ErrMalformed, err)
	}
	return reply, nil
}

func throughWire(m *dns.Msg) (*dns.Msg, error) {
	packet, err := m.Pack()
	if err != nil {
		return nil, err
	}
	out := new(dns.Msg)
	return out, out.Unpack(packet)
}
