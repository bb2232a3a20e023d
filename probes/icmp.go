package probes

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// ICMP types (RFC 792, RFC 4443).
const (
	echoRequest4 = 8
	echoReply4   = 0
	echoRequest6 = 128
	echoReply6   = 129
	icmpHeader   = 8
)

// errPingForbidden is returned by PingDial where the system lets nobody of our
// group open echo sockets (Linux: icmp(7), ping_group_range).
var errPingForbidden = errors.New("ping is not allowed here: widen the sysctl net.ipv4.ping_group_range to wwwd's group")

// icmp sends one echo request and waits for its reply. The kernel matches
// replies to the socket and fills identifier and checksum; the random payload
// tells this probe's reply from a late one of a socket before.
func (p prober) icmp(ctx context.Context, t Target) Result {
	to := t.Addr.Addr().Unmap()
	conn, err := p.Ping(t.From, to)
	if errors.Is(err, errPingForbidden) {
		return unknown(errPingForbidden.Error())
	}
	if err != nil {
		return p.dialFailed(ctx, t, err)
	}
	return p.converse(ctx, conn, func(conn net.Conn) (Result, error) {
		request, reply := byte(echoRequest4), byte(echoReply4)
		if to.Is6() {
			request, reply = echoRequest6, echoReply6
		}
		packet := make([]byte, icmpHeader+16)
		packet[0] = request
		binary.BigEndian.PutUint16(packet[6:], 1)
		_, _ = rand.Read(packet[icmpHeader:]) // never fails: crypto/rand ends the process instead
		if _, err := conn.Write(packet); err != nil {
			return Result{}, fmt.Errorf("send echo: %w", err)
		}
		in := make([]byte, 256)
		for {
			n, err := conn.Read(in)
			if err != nil {
				return Result{}, fmt.Errorf("read echo: %w", err)
			}
			if n >= len(packet) && in[0] == reply && bytes.Equal(in[icmpHeader:n], packet[icmpHeader:]) {
				return up(""), nil
			}
		}
	})
}

// PingDial opens an unprivileged echo socket (icmp(7): SOCK_DGRAM with
// IPPROTO_ICMP) that is bound to from, if given, and connected to to.
func PingDial(from, to netip.Addr) (net.Conn, error) {
	family, proto := unix.AF_INET, unix.IPPROTO_ICMP
	if to.Is6() {
		family, proto = unix.AF_INET6, unix.IPPROTO_ICMPV6
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, proto)
	if errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM) {
		return nil, errPingForbidden
	}
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	file := os.NewFile(uintptr(fd), "ping")
	defer file.Close() // FileConn works on its own duplicate
	if from.IsValid() {
		if err := unix.Bind(fd, sockaddr(from)); err != nil {
			return nil, os.NewSyscallError("bind", err)
		}
	}
	if err := unix.Connect(fd, sockaddr(to)); err != nil {
		return nil, os.NewSyscallError("connect", err)
	}
	conn, err := net.FileConn(file)
	if err != nil {
		return nil, fmt.Errorf("open ping: %w", err)
	}
	return conn, nil
}

func sockaddr(a netip.Addr) unix.Sockaddr {
	if a.Is6() {
		return &unix.SockaddrInet6{Addr: a.As16()}
	}
	return &unix.SockaddrInet4{Addr: a.Unmap().As4()}
}
