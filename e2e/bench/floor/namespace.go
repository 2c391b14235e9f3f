package floor

import (
	"fmt"
	"runtime"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// inFreshNamespace runs f on a thread in a new network namespace, which ends with it, with its loopback up: without any address the kernel
// refuses every IPv4 real server.
func inFreshNamespace(f func() error) error {
	done := make(chan error, 1)
	go func() {
		// The thread is never unlocked, so that it ends with the goroutine, and the namespace with it.
		runtime.LockOSThread()
		done <- fresh(f)
	}()
	return <-done
}

func fresh(f func() error) error {
	ns, err := netns.New()
	if err != nil {
		return fmt.Errorf("make a network namespace: %w", err)
	}
	defer ns.Close()
	lo, err := netlink.LinkByName("lo")
	if err == nil {
		err = netlink.LinkSetUp(lo)
	}
	if err != nil {
		return fmt.Errorf("bring lo up: %w", err)
	}
	return f()
}
