package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
)

// metaPackage depends on Debian's current kernel. The cloud flavour would do for IPVS but has fewer drivers.
const metaPackage = "linux-image-amd64"

// Kernel is a prepared kernel: a directory with vmlinux and base.cpio.
type Kernel struct {
	Version string // as in uname -r
	Dir     string
}

func (k Kernel) vmlinux() string { return filepath.Join(k.Dir, "vmlinux") }
func (k Kernel) base() string    { return filepath.Join(k.Dir, "base-"+baseVersion+".cpio") }

// Lab prepares kernels.
type Lab struct {
	Cache    string    // directory for kernels, outside the tree
	Progress io.Writer // is told what takes time or changes the machine
}

// New returns a Lab that keeps its kernels in the user's cache directory.
func New(progress io.Writer) (*Lab, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, fmt.Errorf("find cache directory: %w", err)
	}
	return &Lab{Cache: filepath.Join(cache, "kube-ipvs", "lab"), Progress: progress}, nil
}

// Prepare installs the tools and fetches and unpacks the kernel, as far as that is not done. It asks for a newer
// kernel only if update is set: a prepared lab works offline.
func (l *Lab) Prepare(ctx context.Context, update bool) (Kernel, error) {
	if runtime.GOARCH != "amd64" {
		return Kernel{}, errors.New("the lab's guest is an amd64 machine and takes its programs from the host: use an amd64 host")
	}
	if err := installTools(ctx, l.Progress); err != nil {
		return Kernel{}, err
	}
	version := ""
	if !update {
		version = l.current()
	}
	if version == "" {
		var err error
		if version, err = l.candidate(ctx, update); err != nil {
			return Kernel{}, err
		}
	}
	k := Kernel{Version: version, Dir: filepath.Join(l.Cache, version)}
	if err := l.unpack(ctx, k); err != nil {
		return Kernel{}, fmt.Errorf("prepare kernel %s: %w", version, err)
	}
	if err := l.buildBase(k); err != nil {
		return Kernel{}, fmt.Errorf("prepare kernel %s: %w", version, err)
	}
	if err := os.WriteFile(filepath.Join(l.Cache, "current"), []byte(version+"\n"), 0o644); err != nil {
		return Kernel{}, fmt.Errorf("prepare kernel %s: %w", version, err)
	}
	return k, nil
}

// current returns the version last prepared, if it is still there.
func (l *Lab) current() string {
	b, err := os.ReadFile(filepath.Join(l.Cache, "current"))
	version := strings.TrimSpace(string(b))
	if err != nil || version == "" {
		return ""
	}
	if _, err := os.Stat(Kernel{Dir: filepath.Join(l.Cache, version)}.vmlinux()); err != nil {
		return ""
	}
	return version
}

// candidate asks apt which kernel the meta package stands for now.
func (l *Lab) candidate(ctx context.Context, update bool) (string, error) {
	if err := needApt(); err != nil {
		return "", err
	}
	if !update {
		if out, err := output(ctx, "", "apt-cache", "show", "--no-all-versions", metaPackage); err == nil {
			if v := kernelVersion(string(out)); v != "" {
				return v, nil
			}
		}
	}
	if err := asRoot(ctx, l.Progress, "apt-get", "update", "-q"); err != nil {
		return "", err
	}
	out, err := output(ctx, "", "apt-cache", "show", "--no-all-versions", metaPackage)
	if err != nil {
		return "", fmt.Errorf("no kernel package %s: the lab needs Debian's: %w", metaPackage, err)
	}
	if v := kernelVersion(string(out)); v != "" {
		return v, nil
	}
	return "", fmt.Errorf("package %s depends on no kernel", metaPackage)
}

// kernelVersion returns the kernel that a meta package's record depends on.
func kernelVersion(record string) string {
	m := regexp.MustCompile(`(?m)^Depends:.*\blinux-image-([0-9][^\s,]*)`).FindStringSubmatch(record)
	if m == nil {
		return ""
	}
	return m[1]
}

// unpack fetches the kernel's package and leaves vmlinux and lib/modules in the kernel's directory. vmlinux is
// written last: it says that the rest is complete.
func (l *Lab) unpack(ctx context.Context, k Kernel) error {
	if _, err := os.Stat(k.vmlinux()); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.MkdirAll(l.Cache, 0o755); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(l.Cache, "unpack-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	fmt.Fprintf(l.Progress, "lab: fetching Debian's kernel %s (about 70 MB, once)\n", k.Version)
	// As root apt drops privileges to download; where it cannot write here it warns and goes on.
	if _, err := output(ctx, tmp, "apt-get", "download", "-q", "linux-image-"+k.Version); err != nil {
		return err
	}
	debs, err := filepath.Glob(filepath.Join(tmp, "*.deb"))
	if err != nil || len(debs) != 1 {
		return fmt.Errorf("apt-get download left %d packages: %w", len(debs), err)
	}
	if _, err := output(ctx, tmp, "dpkg", "-x", debs[0], "root"); err != nil {
		return err
	}
	image, err := os.ReadFile(filepath.Join(tmp, "root", "boot", "vmlinuz-"+k.Version))
	if err != nil {
		return err
	}
	vmlinux, err := extractVMLinux(image)
	if err != nil {
		return err
	}
	return install(filepath.Join(tmp, "root"), k, vmlinux)
}

// install moves the unpacked modules to their place and writes vmlinux.
func install(root string, k Kernel, vmlinux []byte) error {
	if err := os.RemoveAll(k.Dir); err != nil {
		return err
	}
	modules := filepath.Join(root, "lib", "modules")
	if _, err := os.Stat(modules); err != nil {
		modules = filepath.Join(root, "usr", "lib", "modules") // Debian 13 and later
	}
	if err := os.MkdirAll(filepath.Join(k.Dir, "lib"), 0o755); err != nil {
		return err
	}
	if err := os.Rename(modules, filepath.Join(k.Dir, "lib", "modules")); err != nil {
		return err
	}
	return writeWhole(k.vmlinux(), vmlinux)
}

func (k Kernel) modules() string { return filepath.Join(k.Dir, "lib", "modules", k.Version) }

// writeWhole writes a file so that it is there whole or not at all.
func writeWhole(name string, data []byte) error {
	tmp := name + ".tmp"
	if err := os.WriteFile(tmp, data, 0o644); err != nil {
		return err
	}
	return os.Rename(tmp, name)
}
