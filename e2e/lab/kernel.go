package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
)

// guestArch is the architecture of the guest, whose programs are the host's.
const guestArch = "amd64"

// Kernel is a prepared kernel: a directory with the package it came in and what was made of that.
type Kernel struct {
	Version string // as in uname -r
	Dir     string
}

func (k Kernel) deb() string     { return filepath.Join(k.Dir, "linux-image.deb") }
func (k Kernel) vmlinux() string { return filepath.Join(k.Dir, "vmlinux") }
func (k Kernel) base() string    { return filepath.Join(k.Dir, "base-"+baseVersion+".cpio") }

// Lab prepares kernels.
type Lab struct {
	Cache    string    // directory for kernels, outside the tree
	Series   string    // of kernels, such as 6.12, from Debian's backports; "" is the kernel of this release
	Progress io.Writer // is told what takes time or changes the machine
}

// New returns a Lab that keeps its kernels in the user's cache directory, for the series that EnvSeries names.
func New(progress io.Writer) (*Lab, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, fmt.Errorf("find cache directory: %w", err)
	}
	series := os.Getenv(EnvSeries)
	return &Lab{Cache: filepath.Join(cache, "kube-ipvs", "lab"), Series: series, Progress: progress}, checkSeries(series)
}

// Prepare installs the tools, and fetches and unpacks the kernel, as far as that is not done. A prepared lab works
// offline: only if update is set does it look for a newer kernel, and take over the tools anew.
func (l *Lab) Prepare(ctx context.Context, update bool) (Kernel, error) {
	if runtime.GOARCH != guestArch {
		return Kernel{}, errors.New("the lab's guest is an amd64 machine with programs of the host's: it needs an amd64 host")
	}
	if err := installTools(ctx, l.Progress); err != nil {
		return Kernel{}, err
	}
	unlock, err := l.lock()
	if err != nil {
		return Kernel{}, err
	}
	defer unlock()
	k, ok := l.current()
	if !ok || update {
		if k, err = l.fetch(ctx, update); err != nil {
			return Kernel{}, fmt.Errorf("fetch kernel: %w", err)
		}
	}
	if err := l.unpack(ctx, k, update); err != nil {
		return Kernel{}, fmt.Errorf("unpack kernel %s: %w", k.Version, err)
	}
	if err := os.WriteFile(l.pointer(), []byte(k.Version+"\n"), 0o644); err != nil {
		return Kernel{}, fmt.Errorf("prepare kernel: %w", err)
	}
	return k, nil
}

// lock waits for its turn: of two runs at the same time, one prepares first.
func (l *Lab) lock() (unlock func(), err error) {
	if err := os.MkdirAll(l.Cache, 0o755); err != nil {
		return nil, fmt.Errorf("prepare kernel: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(l.Cache, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("prepare kernel: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", l.Cache, err)
	}
	return func() { f.Close() }, nil
}

func (l *Lab) kernel(version string) Kernel {
	return Kernel{Version: version, Dir: filepath.Join(l.Cache, version)}
}

// pointer is the file with the version of the kernel last prepared, one for each series.
func (l *Lab) pointer() string {
	if l.Series == "" {
		return filepath.Join(l.Cache, "current")
	}
	return filepath.Join(l.Cache, "current-"+l.Series)
}

// current returns the kernel last prepared, if it is still there.
func (l *Lab) current() (Kernel, bool) {
	b, err := os.ReadFile(l.pointer())
	k := l.kernel(strings.TrimSpace(string(b)))
	if err != nil || k.Version == "" {
		return Kernel{}, false
	}
	_, err = os.Stat(k.deb())
	return k, err == nil
}

// unpack makes vmlinux and the base initramfs out of the package, where they are missing.
func (l *Lab) unpack(ctx context.Context, k Kernel, again bool) error {
	_, errKernel := os.Stat(k.vmlinux())
	_, errBase := os.Stat(k.base())
	if err := errors.Join(errKernel, errBase); !again && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	fmt.Fprintf(l.Progress, "lab: unpacking kernel %s and building the base initramfs\n", k.Version)
	root, err := os.MkdirTemp(k.Dir, "root-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(root) }()
	if _, err := output(ctx, "", "dpkg", "-x", k.deb(), root); err != nil {
		return err
	}
	image, err := os.ReadFile(filepath.Join(root, "boot", "vmlinuz-"+k.Version))
	if err != nil {
		return err
	}
	vmlinux, err := extractVMLinux(image)
	if err != nil {
		return err
	}
	base, err := baseImage(k.Version, modulesDir(root, k.Version))
	if err != nil {
		return err
	}
	return errors.Join(writeWhole(k.vmlinux(), vmlinux), writeWhole(k.base(), base))
}

// modulesDir returns where the package has its modules: Debian 13 moved them below /usr.
func modulesDir(root, version string) string {
	dir := filepath.Join(root, "lib", "modules", version)
	if !isDir(dir) {
		dir = filepath.Join(root, "usr", "lib", "modules", version)
	}
	return dir
}

// writeWhole writes a file so that it is there whole or not at all.
func writeWhole(name string, data []byte) error {
	tmp := name + ".tmp"
	if err := os.WriteFile(tmp, data, 0o644); err != nil {
		return err
	}
	return os.Rename(tmp, name)
}
