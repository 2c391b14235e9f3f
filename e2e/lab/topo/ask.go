package topo

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"syscall"
	"time"
)

// Protocols to ask with.
const (
	TCP  = "tcp"
	UDP  = "udp"
	SCTP = "sctp"
	HTTP = "http" // over TCP
)

// patience bounds one request whose context does not. The guest is slow, and a lost SYN is sent again after 1 s.
const patience = 5 * time.Second

// Answer says who answered a request, and whom it took for the client.
type Answer struct {
	Pod    string
	Client netip.Addr
}

// Ask sends one request on a fresh connection from a host. Nothing is sent twice: a lost datagram is an error.
func Ask(ctx context.Context, from *Host, protocol string, to netip.AddrPort) (Answer, error) {
	return AskAs(ctx, from, netip.AddrPort{}, protocol, to)
}

// AskAs is Ask from one of the host's addresses, and from a port of it if that is not 0.
func AskAs(ctx context.Context, from *Host, as netip.AddrPort, protocol string, to netip.AddrPort) (Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	answer, err := ask(ctx, from, as, protocol, to)
	if err != nil {
		return Answer{}, fmt.Errorf("ask %s %s from %s: %w", protocol, to, from.Name, err)
	}
	return answer, nil
}

func ask(ctx context.Context, from *Host, as netip.AddrPort, protocol string, to netip.AddrPort) (Answer, error) {
	network := protocol
	if protocol == HTTP {
		network = TCP
	}
	c, err := from.DialAs(ctx, network, as, to)
	if err != nil {
		return Answer{}, err
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })()
	if protocol == HTTP {
		return askHTTP(ctx, c, to)
	}
	return AskOn(c)
}

// AskOn sends one request on a connection made with [Host.Dial], which may be used again.
func AskOn(c net.Conn) (Answer, error) {
	if _, err := io.WriteString(c, "who\n"); err != nil {
		return Answer{}, err
	}
	buf := make([]byte, 512) // an answer is one datagram or a short line
	n := 0
	for n == 0 || buf[n-1] != '\n' {
		m, err := c.Read(buf[n:])
		n += m
		if err != nil {
			return Answer{}, err
		}
	}
	return parseAnswer(string(buf[:n]))
}

// askHTTP sends a GET without the machinery of http.Client, whose goroutines would dial outside of the namespace.
func askHTTP(ctx context.Context, c net.Conn, to netip.AddrPort) (Answer, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+to.String()+"/", nil)
	if err != nil {
		return Answer{}, err
	}
	req.Close = true
	if err := req.Write(c); err != nil {
		return Answer{}, err
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), req)
	if err != nil {
		return Answer{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return Answer{}, err
	}
	if resp.StatusCode != http.StatusOK {
		return Answer{}, errors.New(resp.Status)
	}
	return parseAnswer(string(body))
}

// Dial connects from the host: network is TCP, UDP or SCTP. No two sockets of the host have the same source port, unless one is asked
// for, or tens of thousands came between them.
func (h *Host) Dial(ctx context.Context, network string, to netip.AddrPort) (net.Conn, error) {
	return h.DialAs(ctx, network, netip.AddrPort{}, to)
}

// DialAs is Dial from one of the host's addresses, and from a port of it if that is not 0.
func (h *Host) DialAs(ctx context.Context, network string, as, to netip.AddrPort) (net.Conn, error) {
	for tries := 1; ; tries++ {
		c, err := h.dial(ctx, network, h.source(as, to), to)
		if as.Port() != 0 || !errors.Is(err, syscall.EADDRINUSE) || tries == 100 { // a socket that was closed has its port for a minute more
			return c, err
		}
	}
}

func (h *Host) dial(ctx context.Context, network string, as, to netip.AddrPort) (net.Conn, error) {
	var c net.Conn
	err := h.Do(func() (err error) {
		if network == SCTP {
			c, err = dialSCTP(ctx, as, to)
			return err
		}
		dialer := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(as)}
		if network == UDP {
			dialer.LocalAddr = net.UDPAddrFromAddrPort(as)
		}
		// For a single address the dialer makes its socket here, on this thread.
		c, err = dialer.DialContext(ctx, network, to.String())
		return err
	})
	return c, err
}
