//go:build kernel

package host

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/sys/unix"

	"github.com/kube-ipvs/kube-ipvs/frontend"
)

// bound is a way to make a socket, and what Listeners should say of it.
type bound struct {
	at     string // address and port, IPv4-mapped where an IPv6 socket is bound to an IPv4 address
	v6Only bool
	device string
	quiet  bool // does not listen: TCP and SCTP only
	want   []Listener
}

func listener(at string) Listener {
	addr := netip.MustParseAddrPort(at)
	return Listener{Addr: addr.Addr(), Port: addr.Port()}
}

func v6Only(l Listener) Listener {
	l.V6Only = true
	return l
}

func onDevice(l Listener, index uint32) Listener {
	l.Device = index
	return l
}

func allBounds() []bound {
	return []bound{
		{at: "0.0.0.0:8001", want: []Listener{listener("0.0.0.0:8001")}},
		{at: "[::]:8002", want: []Listener{listener("[::]:8002")}},
		{at: "[::]:8003", v6Only: true, want: []Listener{v6Only(listener("[::]:8003"))}},
		{at: "127.0.0.7:8004", want: []Listener{listener("127.0.0.7:8004")}},
		{at: "[::ffff:127.0.0.7]:8005", want: []Listener{listener("127.0.0.7:8005")}},
		{at: "[::ffff:0.0.0.0]:8006", want: []Listener{listener("0.0.0.0:8006")}},
		{at: "[::1]:8007", want: []Listener{listener("[::1]:8007")}},
		{at: "0.0.0.0:8008", device: "lo", want: []Listener{onDevice(listener("0.0.0.0:8008"), 1)}},
		{at: "0.0.0.0:8009", quiet: true},
	}
}

// open makes the socket, and returns its number.
func (b bound) open(t *testing.T, protocol frontend.Protocol) (fd int, err error) {
	at := netip.MustParseAddrPort(b.at)
	k := transport{family: unix.AF_INET, protocol: protocol}
	addr := unix.Sockaddr(&unix.SockaddrInet4{Port: int(at.Port())})
	if at.Addr().Is4() {
		addr.(*unix.SockaddrInet4).Addr = at.Addr().As4()
	} else {
		k.family, addr = unix.AF_INET6, &unix.SockaddrInet6{Port: int(at.Port()), Addr: at.Addr().As16()}
	}
	if fd, err = k.socket(); err != nil {
		return 0, err
	}
	t.Cleanup(func() { unix.Close(fd) })
	if b.v6Only {
		err = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1)
	}
	if b.device != "" {
		err = errors.Join(err, unix.BindToDevice(fd, b.device))
	}
	if err == nil {
		err = unix.Bind(fd, addr)
	}
	if err == nil && protocol != frontend.UDP && !b.quiet {
		err = unix.Listen(fd, 5)
	}
	if err != nil {
		return 0, fmt.Errorf("listen on %s: %w", b.at, err)
	}
	return fd, nil
}

func inodeOf(fd int) (uint32, error) {
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		return 0, err
	}
	return uint32(stat.Ino), nil
}

// openBounds makes all sockets, and returns what Listeners should say.
func openBounds(t *testing.T, protocol frontend.Protocol) (want []Listener, err error) {
	for _, b := range allBounds() {
		if b.quiet && protocol == frontend.UDP {
			continue
		}
		fd, err := b.open(t, protocol)
		if err != nil {
			return nil, err
		}
		inode, err := inodeOf(fd)
		if err != nil {
			return nil, err
		}
		for _, l := range b.want {
			l.Protocol, l.Inode = protocol, inode
			want = append(want, l)
		}
	}
	return want, nil
}

func byPort(a, b Listener) bool {
	if a.Port != b.Port {
		return a.Port < b.Port
	}
	return a.Addr.Less(b.Addr)
}

func wantListeners(t *testing.T, protocol frontend.Protocol, want []Listener) error {
	t.Helper()
	got, err := Listeners(t.Context())
	if err != nil {
		return err
	}
	got = slices.DeleteFunc(got, func(l Listener) bool { return l.Protocol != protocol })
	if diff := cmp.Diff(want, got, cmpopts.SortSlices(byPort), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("listeners of %s (-want +got)\n%s", protocol, diff)
	}
	return nil
}

func TestKernelListenersAreFoundWithTheirAddresses(t *testing.T) {
	for _, protocol := range []frontend.Protocol{frontend.TCP, frontend.UDP} {
		inNamespace(t, func() error {
			if err := loopback(); err != nil {
				return err
			}
			if err := wantListeners(t, protocol, nil); err != nil {
				return err
			}
			want, err := openBounds(t, protocol)
			if err != nil {
				return err
			}
			return wantListeners(t, protocol, want)
		})
	}
}

func TestKernelSCTPListenersAreFoundWithAllTheirAddresses(t *testing.T) {
	inNamespace(t, func() error {
		if err := loopback(); err != nil {
			return err
		}
		want, err := openBounds(t, frontend.SCTP)
		if err != nil {
			return err
		}
		fd, err := bound{at: "127.0.0.8:8010", quiet: true}.open(t, frontend.SCTP)
		if err != nil {
			return err
		}
		const bindxAdd = 100 // SCTP_SOCKOPT_BINDX_ADD, of an array of struct sockaddr_in
		second := string([]byte{unix.AF_INET, 0, 8010 >> 8, 8010 & 0xff, 127, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0})
		if err := unix.SetsockoptString(fd, unix.IPPROTO_SCTP, bindxAdd, second); err != nil {
			return fmt.Errorf("bind to a second address: %w", err)
		}
		if err := unix.Listen(fd, 5); err != nil {
			return err
		}
		inode, err := inodeOf(fd)
		if err != nil {
			return err
		}
		for _, at := range []string{"127.0.0.8:8010", "127.0.0.9:8010"} {
			l := listener(at)
			l.Protocol, l.Inode = frontend.SCTP, inode
			want = append(want, l)
		}
		return wantListeners(t, frontend.SCTP, want)
	})
}

func TestKernelConnectionsAreNoListeners(t *testing.T) {
	inNamespace(t, func() error {
		if err := loopback(); err != nil {
			return err
		}
		for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
			for _, protocol := range []frontend.Protocol{frontend.TCP, frontend.UDP} {
				k := transport{family: family, protocol: protocol, connects: true}
				if err := k.serve(t, 9000); err != nil {
					return err
				}
				fd, _, err := k.open(9000)
				if err != nil {
					return err
				}
				t.Cleanup(func() { unix.Close(fd) })
			}
		}
		got, err := Listeners(t.Context())
		if err != nil {
			return err
		}
		if len(got) != 4 || slices.ContainsFunc(got, func(l Listener) bool { return l.Port != 9000 }) {
			t.Errorf("got %v, want the four servers on port 9000", got)
		}
		return nil
	})
}

// What Takes says is what a client sees.
func TestKernelSocketsTakeWhatTheirListenerSays(t *testing.T) {
	inNamespace(t, func() error {
		if err := loopback(); err != nil {
			return err
		}
		if _, err := openBounds(t, frontend.TCP); err != nil {
			return err
		}
		all, err := Listeners(t.Context())
		if err != nil {
			return err
		}
		if len(all) == 0 {
			t.Error("there are no listeners")
		}
		for _, l := range all {
			for _, text := range []string{"127.0.0.1", "127.0.0.7", "::1"} {
				addr := netip.MustParseAddr(text)
				c, err := net.DialTCP("tcp", nil, net.TCPAddrFromAddrPort(netip.AddrPortFrom(addr, l.Port)))
				if err == nil {
					err = c.Close()
				} else if errors.Is(err, unix.ECONNREFUSED) {
					if l.Takes(addr) {
						t.Errorf("%s does not take %s", l, addr)
					}
					continue
				}
				if err != nil {
					return err
				}
				if !l.Takes(addr) {
					t.Errorf("%s takes %s", l, addr)
				}
			}
		}
		return nil
	})
}

func TestKernelOwnerOfAListenerIsItsProcess(t *testing.T) {
	inNamespace(t, func() error {
		if err := loopback(); err != nil {
			return err
		}
		want, err := openBounds(t, frontend.UDP)
		if err != nil {
			return err
		}
		inodes := []uint32{0, 1}
		for _, l := range want {
			inodes = append(inodes, l.Inode)
		}
		owners := Owners(os.DirFS("/proc"), inodes)
		for _, l := range want {
			if p := owners[l.Inode]; p.PID != os.Getpid() || !strings.HasSuffix(os.Args[0], p.Name) {
				t.Errorf("%s is held by %+v, not by this process", l, p)
			}
		}
		if len(owners) != len(want) {
			t.Errorf("%d sockets have owners, want %d", len(owners), len(want))
		}
		return nil
	})
}
