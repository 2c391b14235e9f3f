//go:build kernel

package nodeaddr

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// namespace is a fresh network namespace of one test.
type namespace struct {
	t  *testing.T
	ns netns.NsHandle
	*netlink.Handle
}

func newNamespace(t *testing.T) namespace {
	t.Helper()
	n := namespace{t: t}
	onThread(t, func() error {
		ns, err := netns.New()
		n.ns = ns
		return err
	})
	handle, err := netlink.NewHandleAt(n.ns, unix.NETLINK_ROUTE)
	if err != nil {
		t.Fatal(err)
	}
	n.Handle = handle
	t.Cleanup(func() {
		handle.Close()
		if err := n.ns.Close(); err != nil {
			t.Error(err)
		}
	})
	n.up("lo")
	return n
}

// onThread runs f on a thread of its own that dies afterwards, so that whatever namespace f enters stays there.
func onThread(t *testing.T, f func() error) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		done <- f()
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func (n namespace) must(err error) {
	n.t.Helper()
	if err != nil {
		n.t.Fatal(err)
	}
}

func (n namespace) link(name string) netlink.Link {
	n.t.Helper()
	l, err := n.LinkByName(name)
	n.must(err)
	return l
}

func (n namespace) up(name string) {
	n.t.Helper()
	n.must(n.LinkSetUp(n.link(name)))
}

// quietLink makes a link that is up and does no duplicate address detection.
func (n namespace) quietLink(name string) { n.veth(name, "0") }

// detectingLink makes one that does. It gives the name of its other end, which is in the same namespace.
func (n namespace) detectingLink(name string) string { return n.veth(name, "1") }

func (n namespace) veth(name, detection string) string {
	n.t.Helper()
	peer := name + "-peer"
	n.must(n.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: peer}))
	for _, l := range []string{name, peer} {
		n.sysctl("ipv6/conf/"+l+"/accept_dad", detection)
		n.sysctl("ipv6/conf/"+l+"/dad_transmits", detection)
		n.up(l)
	}
	return peer
}

func parseAddr(t *testing.T, text string) *netlink.Addr {
	t.Helper()
	a, err := netlink.ParseAddr(text)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func (n namespace) add(link, addr string) {
	n.t.Helper()
	n.must(n.AddrAdd(n.link(link), parseAddr(n.t, addr)))
}

func (n namespace) remove(link, addr string) {
	n.t.Helper()
	n.must(n.AddrDel(n.link(link), parseAddr(n.t, addr)))
}

// sysctl writes a file below /proc/sys/net of the namespace.
func (n namespace) sysctl(name, value string) {
	n.t.Helper()
	onThread(n.t, func() error {
		if err := netns.Set(n.ns); err != nil {
			return err
		}
		return os.WriteFile("/proc/sys/net/"+name, []byte(value), 0)
	})
}

// watch runs a Watcher for the namespace until the test ends.
func (n namespace) watch() *Watcher {
	n.t.Helper()
	return n.watchLogging(logr.Discard())
}

func (n namespace) watchLogging(log logr.Logger, options ...Option) *Watcher {
	n.t.Helper()
	w := NewWatcher(log, append(options, WithNamespace(n.ns))...)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	n.t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				n.t.Errorf("Run: %v", err)
			}
		case <-time.After(5 * time.Second):
			n.t.Error("Run does not end with its context")
		}
	})
	waitFor(n.t, w, "the first listing", func([]Address) bool { return true })
	return w
}

// waitFor follows the notices of w, as its user does, until the addresses are as wanted. It returns how long that took.
func waitFor(t *testing.T, w *Watcher, what string, wanted func([]Address) bool) time.Duration {
	t.Helper()
	start, deadline := time.Now(), time.After(30*time.Second)
	for {
		if got, listed := w.Addresses(); listed && wanted(got) {
			return time.Since(start)
		}
		select {
		case <-w.Changed():
		case <-deadline:
			got, listed := w.Addresses()
			t.Fatalf("%s: not told; listed %v, have\n%s", what, listed, text(got))
		}
	}
}

func text(addrs []Address) string {
	var b strings.Builder
	for _, a := range addrs {
		fmt.Fprintln(&b, a)
	}
	return b.String()
}

// exactly wants these addresses beside those of lo and the link-local ones.
func exactly(lines ...string) func([]Address) bool {
	want := strings.Join(append(lines, ""), "\n")
	return func(addrs []Address) bool {
		var b strings.Builder
		for _, a := range addrs {
			if !a.Addr.IsLoopback() && !a.Addr.IsLinkLocalUnicast() {
				fmt.Fprintln(&b, a)
			}
		}
		return b.String() == want || b.String() == "" && len(lines) == 0
	}
}
