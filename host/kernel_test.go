//go:build kernel

package host

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// inNamespace runs f in a fresh network namespace, on a thread of its own that dies with it.
func inNamespace(t testing.TB, f func() error) {
	t.Helper()
	done := make(chan error)
	go func() {
		defer close(done)      // f may end in t.Fatal
		runtime.LockOSThread() // never unlocked
		ns, err := netns.New()
		if err == nil {
			err = errors.Join(f(), ns.Close())
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestKernelSysctlsAreSetAndGivenBack(t *testing.T) {
	// Asking for the family makes the kernel load the module.
	if _, err := netlink.GenlFamilyGet("IPVS"); err != nil {
		t.Fatalf("this kernel has no IPVS: %v", err)
	}
	s := Sysctls{StateDir: filepath.Join(t.TempDir(), "state")}
	wanted := append(WantedSysctls(KernelRelease()), ForwardIPv4())
	inNamespace(t, func() error {
		before := map[string]string{}
		for _, w := range wanted {
			if err := s.Writable(w.Name); err != nil {
				return err
			}
			value, err := s.read(w.Name)
			if err != nil {
				return err
			}
			before[w.Name] = value
		}
		for name, value := range before {
			if value != "0" {
				t.Errorf("a fresh namespace has %s=%s, so that nothing would be tested", name, value)
			}
		}
		for restart, want := range []int{4, 0} {
			changed, err := s.Set(t.Context(), wanted)
			if err != nil {
				return err
			}
			if changed != want {
				t.Errorf("start %d changed %d settings, want %d", restart, changed, want)
			}
		}
		if items := CheckSysctls(s.FS(), wanted, s.Writable); Worst(items) != OK {
			t.Errorf("%+v", items)
		}
		restored, err := s.Restore(t.Context())
		if err != nil {
			return err
		}
		if len(restored) != 3 {
			t.Errorf("restored %v", restored)
		}
		before["net.ipv4.ip_forward"] = "1" // stays
		for name, want := range before {
			wantValue(t, s, name, want)
		}
		return nil
	})
	value, err := os.ReadFile("/proc/sys/net/ipv4/vs/conntrack")
	if err != nil || normalise(string(value)) != "0" {
		t.Errorf("the other namespace has %q, %v: the settings are not of one namespace", value, err)
	}
}

func TestKernelEachNamespaceHasItsOwnLock(t *testing.T) {
	release, err := Lock()
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := release(); err != nil {
			t.Error(err)
		}
	}()
	inNamespace(t, func() error {
		other, err := Lock()
		if err != nil {
			return err
		}
		return other()
	})
	var held *HeldError
	if _, err := Lock(); !errors.As(err, &held) || held.PID != os.Getpid() {
		t.Errorf("got %v", err)
	}
}
