//go:build kernel

package count_test

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/moby/ipvs"
	"github.com/vishvananda/netlink"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/kube-ipvs/kube-ipvs/e2e/bench/count"
)

// threads of the program that work at the same time.
const threads = 3

// TestMain lets the test's own binary be the waiter, and the program that is counted: "program SOCKET" does what it is told, "work WORK N" does that and ends.
func TestMain(m *testing.M) {
	count.Main()
	var err error
	switch {
	case len(os.Args) == 3 && os.Args[1] == "program":
		err = obey(os.Args[2])
	case len(os.Args) == 4 && os.Args[1] == "work":
		err = work(os.Args[2], os.Args[3])
	default:
		os.Exit(m.Run())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// obey does what it is told on a socket, line by line, and says when it is done.
func obey(socket string) error {
	c, err := net.Dial("unix", socket)
	if err != nil {
		return err
	}
	defer c.Close()
	lines := bufio.NewScanner(c)
	for lines.Scan() {
		space := strings.LastIndexByte(lines.Text(), ' ')
		what, n := lines.Text()[:space], lines.Text()[space+1:]
		answer := "done"
		if err := work(what, n); err != nil {
			answer = strconv.Quote(err.Error())
		}
		fmt.Fprintln(c, answer)
	}
	return lines.Err()
}

func work(what, number string) error {
	n, err := strconv.Atoi(number)
	if err != nil {
		return err
	}
	switch what {
	case "ipvsadm":
		return ipvsadm(n)
	case "services":
		return services(n)
	case "remove":
		return run("", "ipvsadm", "-C")
	case "sends":
		return sends(n)
	case "updates":
		return updates(n)
	case "dump":
		return dump(n)
	case "nft":
		return nft(n)
	case "ipset":
		return ipset(n)
	case "iptables":
		return iptables(n)
	case "calls":
		return calls(n)
	case "burn":
		return burn(time.Duration(n) * time.Millisecond)
	case "calls everywhere", "burn everywhere":
		return everywhere(strings.Fields(what)[0], number)
	default:
		return fmt.Errorf("unknown work %q", what)
	}
}

func run(input, name string, args ...string) error {
	cmd := exec.Command(name, args...)
	cmd.Stdin = strings.NewReader(input)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, args, err, out)
	}
	return nil
}

// ipvsadm adds virtual servers, with a process for each.
func ipvsadm(n int) error {
	for i := range n {
		if err := run("", "ipvsadm", "-A", "-t", fmt.Sprintf("10.9.0.1:%d", 1000+i)); err != nil {
			return err
		}
	}
	return nil
}

// services adds virtual servers, with a message for each.
func services(n int) error {
	h, err := ipvs.New("")
	if err != nil {
		return err
	}
	defer h.Close()
	for i := range n {
		if err := h.NewService(service(i)); err != nil {
			return err
		}
	}
	return nil
}

func service(i int) *ipvs.Service {
	return &ipvs.Service{
		AddressFamily: unix.AF_INET, Protocol: unix.IPPROTO_TCP, Address: net.IPv4(10, 9, 0, 2).To4(), Port: uint16(1000 + i),
		SchedName: "rr", Netmask: 0xffffffff,
	}
}

// sends sends messages to the kernel that it refuses, without the language's runtime.
func sends(n int) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	s, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	// Nothing but a header, of a type that there is not, with a wish for an answer.
	message := binary.NativeEndian.AppendUint32(nil, unix.NLMSG_HDRLEN)
	message = binary.NativeEndian.AppendUint16(message, 0xfff0)
	message = binary.NativeEndian.AppendUint16(message, unix.NLM_F_REQUEST|unix.NLM_F_ACK)
	message = append(message, make([]byte, 8)...)
	answer := make([]byte, 4096)
	for range n {
		_, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(s), uintptr(unsafe.Pointer(&message[0])), uintptr(len(message)), 0, 0, 0)
		if errno == 0 {
			_, _, errno = unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(s), uintptr(unsafe.Pointer(&answer[0])), uintptr(len(answer)), 0, 0, 0)
		}
		if errno != 0 {
			return errno
		}
	}
	return nil
}

// updates writes the first of them again and again.
func updates(n int) error {
	h, err := ipvs.New("")
	if err != nil {
		return err
	}
	defer h.Close()
	for range n {
		if err := h.UpdateService(service(0)); err != nil {
			return err
		}
	}
	return nil
}

// dump lists all virtual servers n times, and the real servers of the first.
func dump(n int) error {
	h, err := ipvs.New("")
	if err != nil {
		return err
	}
	defer h.Close()
	for range n {
		all, err := h.GetServices()
		if err != nil {
			return err
		}
		if len(all) < 500 {
			return fmt.Errorf("%d virtual servers, too few to fill several buffers", len(all))
		}
		if _, err := h.GetDestinations(all[0]); err != nil {
			return err
		}
	}
	return nil
}

// nft makes a table with n rules, in one transaction.
func nft(n int) error {
	script := "add table inet count\nadd chain inet count c\nadd set inet count s { type ipv4_addr; }\n" +
		"add element inet count s { 10.0.0.1, 10.0.0.2 }\nadd element inet count s { 10.0.0.3 }\n" +
		strings.Repeat("add rule inet count c counter\n", n)
	return run(script, "nft", "-f", "-")
}

// ipset makes a set with n entries, two messages each.
func ipset(n int) error {
	if err := netlink.IpsetCreate("count", "hash:ip", netlink.IpsetCreateOptions{}); err != nil {
		return err
	}
	for i := range n {
		entry := &netlink.IPSetEntry{IP: net.IPv4(10, 9, 0, byte(i)).To4()}
		if err := errors.Join(netlink.IpsetAdd("count", entry), netlink.IpsetDel("count", entry)); err != nil {
			return err
		}
	}
	return netlink.IpsetDestroy("count")
}

// calls makes system calls.
func calls(n int) error {
	for range n {
		unix.RawSyscallNoError(unix.SYS_GETPPID, 0, 0, 0)
	}
	return nil
}

// burn uses the processor for some time of its own.
func burn(d time.Duration) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	began, err := used()
	for now := began; err == nil && now-began < d; {
		now, err = used()
	}
	return err
}

// used is the CPU time of the thread.
func used() (time.Duration, error) {
	var u syscall.Rusage
	err := syscall.Getrusage(unix.RUSAGE_THREAD, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), err
}

// everywhere does work in each of some threads, and in a child of each.
func everywhere(what, n string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	var g errgroup.Group
	for range threads {
		g.Go(func() error {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			return errors.Join(work(what, n), run("", self, "work", what, n))
		})
	}
	return g.Wait()
}
