//go:build kernel

package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// moduleLoader is the file that names the program with which the kernel loads modules by itself.
const moduleLoader = "/proc/sys/kernel/modprobe"

// modules are those of the guest's kernel, which all tests share: whatever a test takes away is back when it ends.
type modules struct {
	loader  string   // the program, as it was
	removed []string // in the order in which they went
}

// withoutModules takes modules away, with all that need them, and has nobody but the test load any.
func withoutModules(t *testing.T, names ...string) *modules {
	t.Helper()
	loader, err := os.ReadFile(moduleLoader)
	must(t, err)
	m := &modules{loader: strings.TrimSpace(string(loader))}
	t.Cleanup(func() {
		m.loadByKernel(t)
		for _, name := range slices.Backward(m.removed) {
			m.load(t, name)
		}
	})
	for _, name := range names {
		m.load(t, name) // so that what they need is there: libcrc32c has the kernel load its algorithm by itself
	}
	must(t, os.WriteFile(moduleLoader, []byte("/nonexistent"), 0o600))
	for _, name := range names {
		m.unload(t, name)
	}
	return m
}

// loadByKernel lets the kernel load what is missing again.
func (m *modules) loadByKernel(t *testing.T) {
	t.Helper()
	if err := os.WriteFile(moduleLoader, []byte(m.loader), 0o600); err != nil {
		t.Error(err)
	}
}

// load has modprobe run where the kernel itself would run it: nf_conntrack refuses a parameter that is of the machine (EOPNOTSUPP)
// from another network namespace.
func (m *modules) load(t *testing.T, name string) {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked, so that the thread ends in the namespace that it enters
		first, err := netns.GetFromPid(1)
		if err == nil {
			err = netns.Set(first)
			first.Close()
		}
		if err != nil {
			done <- err
			return
		}
		out, err := exec.Command("modprobe", name).CombinedOutput()
		if err != nil {
			err = fmt.Errorf("%w: %s", err, out)
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Errorf("modprobe %s: %v", name, err)
	}
}

// unload removes a module once nobody needs it: what was made in namespaces that are gone goes a moment later.
func (m *modules) unload(t *testing.T, name string) {
	t.Helper()
	err := errors.New("not tried")
	for deadline := time.Now().Add(soon); err != nil && time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) { // until it has no users
		err = m.tryUnload(name)
	}
	must(t, err)
}

func (m *modules) tryUnload(name string) error {
	users, loaded, err := usersOf(name)
	if err != nil || !loaded {
		return err
	}
	for _, user := range users {
		if err := m.tryUnload(user); err != nil {
			return err
		}
	}
	if err := unix.DeleteModule(name, unix.O_NONBLOCK); err != nil {
		all, _ := os.ReadFile("/proc/modules")
		return fmt.Errorf("unload %s: %w\n%s", name, err, all)
	}
	m.removed = append(m.removed, name)
	return nil
}

// usersOf are the modules that need one.
func usersOf(name string) (users []string, loaded bool, err error) {
	text, err := os.ReadFile("/proc/modules")
	if err != nil {
		return nil, false, err
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line) // name, size, number of users, users
		if len(fields) > 3 && fields[0] == name {
			return strings.FieldsFunc(fields[3], func(r rune) bool { return r == ',' || r == '-' }), true, nil
		}
	}
	return nil, false, nil
}

// onlyNFT is the PATH of an agent that cannot load modules by a program either.
func onlyNFT(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"nft", "kube-ipvs"} {
		if path, err := exec.LookPath(name); err == nil {
			must(t, os.Symlink(path, filepath.Join(dir, name)))
		}
	}
	t.Setenv("PATH", dir)
}
