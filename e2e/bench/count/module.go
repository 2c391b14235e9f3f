package count

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"

	"github.com/vishvananda/netns"
)

// load loads a module, unless the kernel has it. modprobe runs where the kernel itself would run it: in another network namespace, a module with
// a parameter that is of the machine (hashsize of nf_conntrack) is refused with EOPNOTSUPP.
func load(module string) error {
	there := filepath.Join("/sys/module", module)
	if _, err := os.Stat(there); err == nil {
		return nil
	}
	if err := inFirstNamespace(func() error {
		out, err := exec.Command("modprobe", module).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	}); err != nil {
		return fmt.Errorf("load module %s: %w", module, err)
	}
	if _, err := os.Stat(there); err != nil {
		return fmt.Errorf("module %s is not there after modprobe: %w", module, err)
	}
	return nil
}

// inFirstNamespace runs f on a thread in the network namespace of process 1. The thread ends afterwards.
func inFirstNamespace(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // for good: a thread that ends with its goroutine cannot be used in the wrong namespace
		first, err := netns.GetFromPid(1)
		if err != nil {
			done <- fmt.Errorf("open network namespace of process 1: %w", err)
			return
		}
		defer first.Close()
		if err := netns.Set(first); err != nil {
			done <- fmt.Errorf("enter network namespace of process 1: %w", err)
			return
		}
		done <- f()
	}()
	return <-done
}
