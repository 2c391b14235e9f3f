//go:build cluster

package topo_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab"
	"github.com/kube-ipvs/kube-ipvs/e2e/lab/topo"
)

const (
	guestPort   = 4711
	envHostPort = "HOST_PORT"
)

// This program runs on the host, and once more in the guest that the test below boots.
func TestMain(m *testing.M) {
	if os.Getenv(lab.EnvLab) == "" {
		os.Exit(m.Run())
	}
	if err := inGuest(); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

func TestNodesReachTheHostsLoopbackAndTheHostReachesTheGuest(t *testing.T) {
	var listen net.ListenConfig
	l, err := listen.Listen(t.Context(), "tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go greet(l, "host")

	forwarded := make(chan netip.AddrPort, 1)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	g := guest(t)
	g.Files = []lab.File{{Source: self, Dest: "/usr/local/bin/self"}}
	g.Network = &lab.Network{Forward: guestPort, Forwarded: func(at netip.AddrPort) { forwarded <- at }}
	step := lab.Step{
		Name: "guest", Args: []string{"self"}, Network: true, OneStream: true,
		Env: []string{fmt.Sprintf("%s=%d", envHostPort, l.Addr().(*net.TCPAddr).Port)},
	}
	said := &transcript{}
	ended := make(chan error, 1)
	lives, dead := context.WithCancel(t.Context()) // whom nobody hears is not waited for
	go func() {
		defer dead()
		report, err := g.Run(t.Context(), lab.Job{Steps: []lab.Step{step}}, said)
		t.Logf("our code ran after %v, all was done after %v", report.Ready, report.Total)
		ended <- err
	}()
	select {
	case at := <-forwarded:
		if greeting, err := hear(lives, &net.Dialer{}, at.String(), 2*time.Minute); err != nil || greeting != "guest" {
			t.Errorf("the guest at %s said %q: %v", at, greeting, err)
		}
		err = <-ended
	case err = <-ended:
	}
	t.Logf("the guest said:\n%s", &said.output)
	if err != nil || said.code != 0 {
		t.Errorf("guest: code %d, %v", said.code, err)
	}
	for _, want := range []string{"node1 heard host", "node2 heard host", "again heard host", "nobody else"} {
		if !strings.Contains(said.output.String(), want) {
			t.Errorf("the guest did not say %q", want)
		}
	}
}

// guest returns one like those of other tests.
func guest(t *testing.T) *lab.Guest {
	t.Helper()
	l, err := lab.New(os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	k, err := l.Prepare(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	init, err := lab.BuildInit(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return &lab.Guest{Kernel: k, Init: init, Memory: "512M", Timeout: 3 * time.Minute}
}

// inGuest is the guest's part: both nodes hear the host, the second time in a network that was built anew, and reach
// nobody else. It ends when the host has heard it.
func inGuest() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	host := net.JoinHostPort(lab.HostAddress, os.Getenv(envHostPort))
	for _, again := range []bool{false, true} {
		n, err := topo.New(ctx)
		if err != nil {
			return err
		}
		if err := n.JoinUserNetwork(); err != nil {
			return err
		}
		for _, node := range []*topo.Host{n.Node1, n.Node2} {
			name := node.Name
			if again {
				name = "again"
			}
			start := time.Now()
			greeting, err := hear(ctx, nodeDialer{node}, host, 10*time.Second)
			if err != nil {
				return fmt.Errorf("from %s: %w", node.Name, err)
			}
			fmt.Printf("%s heard %s after %v\n", name, greeting, time.Since(start).Round(time.Millisecond))
			if _, err := node.Dial(ctx, topo.TCP, netip.MustParseAddrPort("192.0.2.1:80")); !errors.Is(err, unix.ENETUNREACH) {
				return fmt.Errorf("%s has a way out: %w", node.Name, err)
			}
		}
		if again {
			// With the bridge in place, as tests will have it.
			if err := awaitHost(ctx); err != nil {
				return err
			}
		}
		if err := n.Close(); err != nil {
			return err
		}
	}
	fmt.Println("nobody else")
	return nil
}

// awaitHost greets the host, once.
func awaitHost(ctx context.Context) error {
	var listen net.ListenConfig
	l, err := listen.Listen(ctx, "tcp4", fmt.Sprintf(":%d", guestPort))
	if err != nil {
		return err
	}
	defer l.Close()
	c, err := l.Accept()
	if err != nil {
		return err
	}
	_, err = c.Write([]byte("guest\n"))
	return errors.Join(err, c.Close())
}

func greet(l net.Listener, name string) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		_, _ = c.Write([]byte(name + "\n"))
		c.Close()
	}
}

type dialer interface {
	DialContext(ctx context.Context, network, address string) (net.Conn, error)
}

// nodeDialer dials from a node.
type nodeDialer struct{ *topo.Host }

func (d nodeDialer) DialContext(ctx context.Context, _, address string) (net.Conn, error) {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, err
	}
	return d.Dial(ctx, topo.TCP, to)
}

// hear asks until somebody answers with a line.
func hear(ctx context.Context, d dialer, at string, patience time.Duration) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		line, err := hearOnce(ctx, d, at)
		if err == nil || ctx.Err() != nil {
			return strings.TrimSpace(line), err
		}
		time.Sleep(50 * time.Millisecond) // QEMU accepts and closes while nobody listens
	}
}

func hearOnce(ctx context.Context, d dialer, at string) (string, error) {
	c, err := d.DialContext(ctx, "tcp4", at)
	if err != nil {
		return "", err
	}
	defer c.Close()
	deadline, _ := ctx.Deadline()
	if err := c.SetDeadline(deadline); err != nil {
		return "", err
	}
	return bufio.NewReader(c).ReadString('\n')
}

// transcript is a lab.Observer.
type transcript struct {
	output strings.Builder
	code   int
}

func (*transcript) Started(int)                               { /* there is one step */ }
func (r *transcript) Output(_ int, _ lab.Stream, data []byte) { r.output.Write(data) }
func (r *transcript) Exited(e lab.Exit)                       { r.code = e.Code }
