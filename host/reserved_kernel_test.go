//go:build kernel

package host

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/kube-ipvs/kube-ipvs/frontend"
)

// kernelReserved is for the real kernel, in the namespace of the thread.
func kernelReserved(t testing.TB) ReservedPorts {
	return ReservedPorts{StateDir: filepath.Join(t.TempDir(), "state")}
}

func wantNoReservedPortGivenOut(t *testing.T, protocols ...frontend.Protocol) {
	inNamespace(t, func() error {
		if err := loopback(); err != nil {
			return err
		}
		r := kernelReserved(t)
		if err := r.sysctls().write(ephemeralPorts, "40000 40007"); err != nil {
			return err
		}
		if got, err := r.EphemeralRange(); err != nil || got.String() != "40000-40007" {
			return fmt.Errorf("the ephemeral range is %v, %w", got, err)
		}
		putReserved(t, r, "40000")
		for i, protocol := range protocols {
			for j, family := range []int{unix.AF_INET, unix.AF_INET6} {
				server := 9000 + i*10 + j
				if err := (transport{family: family, protocol: protocol}).serve(t, server); err != nil {
					return err
				}
				for _, connects := range []bool{false, true} {
					k := transport{family: family, protocol: protocol, connects: connects}
					reserve(t, r, true, "40001-40002,40004-40007")
					with, err := k.takeAll(server)
					if err != nil {
						return err
					}
					if got := textOf(with.ranges()); got != "40003" {
						t.Errorf("%s: the kernel gave %s, want the only port that is not reserved, 40003", k, got)
					}
					wantGivenBack(t, r, "40001-40002,40004-40007", "40000")
					without, err := k.takeAll(server)
					if err != nil {
						return err
					}
					if got := textOf(without.ranges()); got != "40001-40007" {
						t.Errorf("%s: without ours the kernel gave %s, want 40001-40007", k, got)
					}
				}
			}
		}
		return nil
	})
}

func TestKernelGivesReservedPortsToNoTCPOrUDPSocket(t *testing.T) {
	wantNoReservedPortGivenOut(t, frontend.TCP, frontend.UDP)
}

func TestKernelGivesReservedPortsToNoSCTPSocket(t *testing.T) {
	wantNoReservedPortGivenOut(t, frontend.SCTP)
}

func TestKernelReservedPortsCanBeBoundByName(t *testing.T) {
	inNamespace(t, func() error {
		if err := loopback(); err != nil {
			return err
		}
		r := kernelReserved(t)
		reserve(t, r, true, "30000-32767")
		return transport{family: unix.AF_INET, protocol: frontend.TCP}.serve(t, 30080)
	})
}

func TestKernelReservedPortsAreGivenBackExactly(t *testing.T) {
	inNamespace(t, func() error {
		r := kernelReserved(t)
		wantGivenBack(t, r, "", "")
		putReserved(t, r, "8080,30010-30012")
		reserve(t, r, true, "30000-30011,443")
		wantReserved(t, r, "443,8080,30000-30012")
		putReserved(t, r, "443,6000,8080,30000-30012") // somebody adds one
		reserve(t, r, true, "30000-30005,30011")       // some are not wanted any more
		wantReserved(t, r, "6000,8080,30000-30005,30010-30012")
		reserve(t, r, false, "30000-30005,30011")
		wantGivenBack(t, r, "30000-30005", "6000,8080,30010-30012")
		reserve(t, r, true, "30000")
		reserve(t, r, true, "")
		wantGivenBack(t, r, "", "6000,8080,30010-30012")
		putReserved(t, r, "")
		reserve(t, r, true, "30000")
		wantGivenBack(t, r, "30000", "")
		return nil
	})
}

func TestKernelKeepsWhatOthersAddBetweenReadAndWrite(t *testing.T) {
	inNamespace(t, func() error {
		r := kernelReserved(t)
		putReserved(t, r, "80")
		v, err := readReserved(r.path())
		if err != nil {
			return err
		}
		putReserved(t, r, "80,443")
		file, err := os.OpenFile(r.path(), os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		if err := errors.Join(v.add(file, newPortSet(portsOf(t, "30000"))), file.Close()); err != nil {
			return err
		}
		wantReserved(t, r, "80,443,30000")
		return nil
	})
}

// every is each stepth port from first on.
func every(first, step int) *portSet {
	s := new(portSet)
	for port := first; port < 1<<16; port += step {
		s[port/64] |= 1 << (port % 64)
	}
	return s
}

func TestKernelTakesAndGivesBackTheLongestLists(t *testing.T) {
	inNamespace(t, func() error {
		r := kernelReserved(t)
		for name, c := range map[string]struct{ theirs, ours *portSet }{
			"all ours":     {new(portSet), every(1, 2)},
			"all theirs":   {every(1, 2), newPortSet(portsOf(t, "30000"))},
			"half of each": {every(1, 4), every(3, 4)},
		} {
			putReserved(t, r, "")
			for _, text := range c.theirs.texts(maxReservedWrite) { // they add theirs in pieces
				v, err := readReserved(r.path())
				if err != nil {
					return err
				}
				piece := new(portSet)
				if err := piece.UnmarshalText([]byte(text)); err != nil {
					return err
				}
				putAdded(t, r, v, piece)
			}
			if _, err := r.Set(c.ours.ranges()); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			wantReserved(t, r, textOf(c.theirs.union(c.ours).ranges()))
			fewer := c.ours.minus(newPortSet(portsOf(t, "30000-40000")))
			if _, err := r.Set(fewer.ranges()); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			wantReserved(t, r, textOf(c.theirs.union(fewer).ranges()))
			wantGivenBack(t, r, textOf(fewer.ranges()), textOf(c.theirs.ranges()))
		}
		return nil
	})
}

func putAdded(t *testing.T, r ReservedPorts, v reservedValue, ports *portSet) {
	t.Helper()
	file, err := os.OpenFile(r.path(), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(v.add(file, ports), file.Close()); err != nil {
		t.Fatal(err)
	}
}

func TestKernelReadOnlySysctlsAreToldApart(t *testing.T) {
	inNamespace(t, func() error {
		if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
			return fmt.Errorf("a mount namespace for the thread: %w", err)
		}
		r := kernelReserved(t)
		reserve(t, r, true, "30000-30001")
		before, err := os.ReadFile(r.recordPath())
		if err != nil {
			return err
		}
		for _, m := range []struct {
			source, target string
			flags          uintptr
		}{
			{"none", "/", unix.MS_REC | unix.MS_PRIVATE},
			{"/proc/sys", "/proc/sys", unix.MS_BIND},
			{"none", "/proc/sys", unix.MS_BIND | unix.MS_REMOUNT | unix.MS_RDONLY},
		} {
			if err := unix.Mount(m.source, m.target, "", m.flags, ""); err != nil {
				return fmt.Errorf("mount %s on %s: %w", m.source, m.target, err)
			}
		}
		if wrote, err := r.Set(portsOf(t, "30000-30005")); wrote || !errors.Is(err, unix.EROFS) {
			t.Errorf("wrote %t, %v", wrote, err)
		}
		if _, err := r.Restore(); !errors.Is(err, unix.EROFS) {
			t.Errorf("restored, %v", err)
		}
		reserve(t, r, false, "30000-30001") // nothing to be written
		if after, err := os.ReadFile(r.recordPath()); err != nil || string(after) != string(before) {
			t.Errorf("the record became %s, %v", after, err)
		}
		first := kernelReserved(t)
		if _, err := first.Set(portsOf(t, "1")); !errors.Is(err, unix.EROFS) {
			t.Error(err)
		}
		if _, err := os.Stat(first.StateDir); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("something was recorded: %v", err)
		}
		return nil
	})
}
