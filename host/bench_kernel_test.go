//go:build kernel

package host

import (
	"errors"
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/kube-ipvs/kube-ipvs/frontend"
)

func BenchmarkKernelListeners(b *testing.B) {
	for _, c := range []struct {
		name                             string
		servers, tcpClients, udpSessions int
	}{
		{"10000 listeners", 10_000, 0, 0},
		{"5000 TCP connections", 1, 5_000, 0},
		{"10000 connected UDP sockets", 1, 0, 10_000},
	} {
		b.Run(c.name, func(b *testing.B) {
			inNamespace(b, func() error {
				if err := openMany(b, c.servers, c.tcpClients, c.udpSessions); err != nil {
					return err
				}
				for b.Loop() {
					if all, err := Listeners(b.Context()); err != nil || len(all) != c.servers {
						return fmt.Errorf("%d listeners, %w", len(all), err)
					}
				}
				return nil
			})
		})
	}
}

func openMany(b *testing.B, servers, tcpClients, udpSessions int) error {
	if err := loopback(); err != nil {
		return err
	}
	var server int
	for i := range servers {
		k := transport{family: unix.AF_INET, protocol: frontend.TCP}
		fd, err := k.socket()
		if err != nil {
			return err
		}
		b.Cleanup(func() { unix.Close(fd) })
		if err := errors.Join(unix.Bind(fd, k.addr(1024+i)), unix.Listen(fd, 64)); err != nil {
			return err
		}
		server = fd
	}
	for i := range tcpClients + udpSessions {
		k := transport{family: unix.AF_INET, protocol: frontend.TCP, connects: true}
		if i >= tcpClients {
			k.protocol = frontend.UDP
		}
		fd, _, err := k.open(1024 + servers - 1)
		if err != nil {
			return err
		}
		b.Cleanup(func() { unix.Close(fd) })
		if k.protocol == frontend.UDP {
			continue
		}
		accepted, _, err := unix.Accept(server)
		if err != nil {
			return err
		}
		b.Cleanup(func() { unix.Close(accepted) })
	}
	return nil
}

// BenchmarkKernelOwners looks for a socket that nobody holds: through all processes of the machine.
func BenchmarkKernelOwners(b *testing.B) {
	for b.Loop() {
		if got := Owners(os.DirFS("/proc"), []uint32{1}); len(got) != 0 {
			b.Errorf("got %v", got)
		}
	}
}

// BenchmarkKernelReservedPorts changes one port among 1,000 that are not neighbours, and looks where nothing changes.
func BenchmarkKernelReservedPorts(b *testing.B) {
	many := every(30000, 35)
	fewer := *many
	fewer[30000/64] &^= 1 << (30000 % 64)
	for name, other := range map[string]*portSet{"change": &fewer, "no change": many} {
		b.Run(name, func(b *testing.B) {
			inNamespace(b, func() error {
				r := kernelReserved(b)
				sets := [][]frontend.PortRange{many.ranges(), other.ranges()}
				for i := 0; b.Loop(); i++ {
					if _, err := r.Set(sets[i%2]); err != nil {
						return err
					}
				}
				return nil
			})
		})
	}
}
