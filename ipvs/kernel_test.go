//go:build kernel && linux

package ipvs_test

import (
	"runtime"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"github.com/kube-ipvs/kube-ipvs/ipvs"
	"github.com/kube-ipvs/kube-ipvs/ipvs/ipvstest"
)

func TestKernelKeepsTheContract(t *testing.T) {
	ipvstest.Contract(t, func(t *testing.T) ipvs.Handle {
		var h ipvs.Handle
		inFreshNamespace(t, func() { h = open(t, ipvs.Options{}) })
		return h
	})
}

// open opens a handle that is closed with the test, unless the test has closed it.
func open(t testing.TB, o ipvs.Options) ipvs.Handle {
	t.Helper()
	h, err := ipvs.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Close() })
	return h
}

// inFreshNamespace runs f in a new network namespace with its loopback up: without any address the kernel refuses
// every IPv4 real server with EINVAL, for it has no local routing table to look the address up in.
func inFreshNamespace(t testing.TB, f func()) {
	t.Helper()
	runtime.LockOSThread()
	before, err := netns.Get()
	if err != nil {
		t.Fatal(err)
	}
	fresh, err := netns.New()
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := netns.Set(before); err != nil {
			t.Fatal(err) // The thread stays locked and ends with the goroutine.
		}
		_ = fresh.Close()
		_ = before.Close()
		runtime.UnlockOSThread()
	}()
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		t.Fatal(err)
	}
	f()
}
