package ipvs

import (
	"fmt"
	"runtime"

	"github.com/vishvananda/netns"
)

// openNamespace is the namespace at path, or that of the calling thread.
func openNamespace(path string) (netns.NsHandle, error) {
	if path == "" {
		ns, err := netns.Get()
		if err != nil {
			return ns, fmt.Errorf("network namespace of the thread: %w", err)
		}
		return ns, nil
	}
	ns, err := netns.GetFromPath(path)
	if err != nil {
		return ns, fmt.Errorf("network namespace %s: %w", path, err)
	}
	return ns, nil
}

// inNamespace runs f on a thread that is in ns. Where the caller's is already, nothing is entered and no privilege
// needed.
func inNamespace(ns netns.NsHandle, f func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	here, err := netns.Get()
	if err != nil {
		return fmt.Errorf("network namespace of the thread: %w", err)
	}
	defer func() { _ = here.Close() }()
	if here.Equal(ns) {
		return f()
	}
	done := make(chan error, 1)
	go func() {
		// The thread is never unlocked, so that it ends with the goroutine and nobody else ever runs in ns on it.
		runtime.LockOSThread()
		if err := netns.Set(ns); err != nil {
			done <- fmt.Errorf("enter network namespace: %w", err)
			return
		}
		done <- f()
	}()
	return <-done
}
