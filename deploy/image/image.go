// Package image builds the root file system of the agent's container image:
//
//	go build ───────────────► /usr/bin/kube-ipvs
//	Debian: nftables ───────► /usr/sbin/nft and the libraries that it loads, by ELF header
//	        netbase ────────► /etc/protocols: nft reads the names of protocols there
//	        base-files ─────► /etc/os-release, which with /var/lib/dpkg/status.d tells scanners what is inside
//	        each of these ──► its copyright file, and the licences that those refer to
//	LICENSE ────────────────► /usr/share/doc/kube-ipvs/LICENSE
//
// There is nothing else in it: no shell, no package manager. Nothing of the host is executed by the agent, and nothing of
// the image is executed while it is built, so one machine builds all architectures. The Dockerfile and `make rootfs` are
// the same command; what the first ships is what tests run from the second.
package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"
)

// Where things are in the image.
const (
	Agent = "/usr/bin/kube-ipvs"
	NFT   = "/usr/sbin/nft"

	protocols = "/etc/protocols"
	osRelease = "/etc/os-release"
	licences  = "/usr/share/common-licenses" // where copyright files of Debian's leave the long ones
	ourOwn    = "/usr/share/doc/kube-ipvs/LICENSE"
)

// debianPackages are those that are asked for; what they depend on comes along.
func debianPackages() []string { return []string{"nftables", "netbase", "base-files"} }

// emptyDirs are what a container runtime mounts something on. They exist, so that it can where the root is read-only.
func emptyDirs() []string {
	return []string{"/dev", "/proc", "/sys", "/etc/kube-ipvs", "/run/kube-ipvs", "/var/run/secrets/kubernetes.io/serviceaccount"}
}

// Options of Build. All are required.
type Options struct {
	Arch     string    // GOARCH: amd64 or arm64
	Out      string    // directory of the root file system; an earlier one is replaced
	Module   string    // directory of the agent's module
	Version  string    // what `kube-ipvs version` prints
	Cache    string    // directory for apt's lists and packages
	Progress io.Writer // gets what go and apt print
}

// Build builds the root file system and returns the paths of its files, sorted. Everything belongs to whoever runs it
// and has time 0, so that the same packages give the same image.
func Build(ctx context.Context, o Options) ([]string, error) {
	debs, err := o.fetch(ctx)
	if err != nil {
		return nil, fmt.Errorf("fetch Debian's packages: %w", err)
	}
	unpacked, err := os.MkdirTemp(o.Cache, "unpacked-")
	if err != nil {
		return nil, fmt.Errorf("unpack Debian's packages: %w", err)
	}
	defer func() { _ = os.RemoveAll(unpacked) }()
	packages, err := unpack(ctx, debs, unpacked)
	if err != nil {
		return nil, fmt.Errorf("unpack Debian's packages: %w", err)
	}
	t := &tree{from: unpacked}
	err = replace(o.Out, func(root string) error {
		t.root = root
		return o.fill(ctx, t, packages)
	})
	if err != nil {
		return nil, fmt.Errorf("build %s: %w", o.Out, err)
	}
	slices.Sort(t.files)
	return t.files, nil
}

// replace fills a directory that is there whole or not at all, in the place of one that was made so before. Another one is
// left alone: it would be somebody's.
func replace(out string, fill func(root string) error) error {
	out = filepath.Clean(out)
	there, err := os.ReadDir(out)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if _, err := os.Stat(filepath.Join(out, Agent)); len(there) > 0 && err != nil {
		return fmt.Errorf("it is there, and no root file system of the image: %w", err)
	}
	unfinished := out + ".unfinished"
	if err := os.RemoveAll(unfinished); err != nil {
		return err
	}
	err = fill(unfinished)
	if err == nil {
		err = os.RemoveAll(out)
	}
	if err == nil {
		err = os.Rename(unfinished, out)
	}
	if err != nil {
		return errors.Join(err, os.RemoveAll(unfinished))
	}
	return nil
}

func (o Options) fill(ctx context.Context, t *tree, packages []debianPackage) error {
	dirs, err := LibraryDirs(o.Arch)
	if err != nil {
		return err
	}
	nft := filepath.Join(t.from, NFT)
	libs, err := Libraries(t.from, nft, dirs)
	if err != nil {
		return err
	}
	libs = append(libs, Library{Path: NFT, File: nft})
	for path, packaged := range map[string]string{protocols: protocols, osRelease: "/usr/lib/os-release"} {
		libs = append(libs, Library{Path: path, File: filepath.Join(t.from, packaged)})
	}
	for _, l := range libs {
		if err := t.copy(l.File, l.Path); err != nil {
			return err
		}
	}
	for _, p := range packages {
		if !slices.ContainsFunc(libs, func(l Library) bool { return p.owns(t.from, l.File) }) {
			continue // only what it depends on was needed, or nothing
		}
		if err := t.describe(p); err != nil {
			return err
		}
	}
	if err := errors.Join(t.copyLicences(), t.copy(filepath.Join(o.Module, "LICENSE"), ourOwn)); err != nil {
		return err
	}
	for _, d := range emptyDirs() {
		if err := os.MkdirAll(filepath.Join(t.root, d), 0o755); err != nil {
			return err
		}
	}
	if err := o.buildAgent(ctx, filepath.Join(t.root, Agent), t.from); err != nil {
		return err
	}
	t.files = append(t.files, Agent)
	if err := CheckLibraries(t.root, NFT, dirs); err != nil {
		return err // something did not come to where it is looked for
	}
	return t.settle()
}

// buildAgent builds the static binary. Go works in tmp, which goes with whatever an interrupted build leaves there.
func (o Options) buildAgent(ctx context.Context, file, tmp string) error {
	file, err := filepath.Abs(file)
	if err != nil {
		return err
	}
	if tmp, err = filepath.Abs(tmp); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false",
		"-ldflags", "-s -w -X main.version="+o.Version, "-o", file, "./cmd/kube-ipvs")
	cmd.Dir = o.Module
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+o.Arch, "GOTMPDIR="+tmp)
	cmd.Stdout, cmd.Stderr = o.Progress, o.Progress
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("go build ./cmd/kube-ipvs for %s: %w", o.Arch, err)
	}
	return nil
}

// tree is the root file system while it is filled.
type tree struct {
	root  string
	from  string // the unpacked packages
	files []string
}

// copy adds a file of this machine's at a path of the tree.
func (t *tree) copy(file, path string) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	info, err := os.Stat(file)
	if err != nil {
		return err
	}
	return t.write(path, data, info.Mode().Perm())
}

func (t *tree) write(path string, data []byte, perm fs.FileMode) error {
	file := filepath.Join(t.root, path)
	t.files = append(t.files, path)
	return errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, data, perm))
}

// describe adds a package's licence, and its record where scanners look for it in images without dpkg.
func (t *tree) describe(p debianPackage) error {
	path := "/usr/share/doc/" + p.name + "/copyright"
	file, err := resolve(t.from, path)
	if err != nil {
		return fmt.Errorf("licence of package %s: %w", p.name, err)
	}
	return errors.Join(t.copy(file, path), t.write("/var/lib/dpkg/status.d/"+p.name, p.control, 0o644))
}

// copyLicences adds what copyright files mean by "see /usr/share/common-licenses/GPL-2".
func (t *tree) copyLicences() error {
	all, err := os.ReadDir(filepath.Join(t.from, licences))
	if err != nil {
		return fmt.Errorf("licences: %w", err)
	}
	for _, entry := range all {
		path := licences + "/" + entry.Name()
		file, err := resolve(t.from, path)
		if err != nil {
			return fmt.Errorf("licence: %w", err)
		}
		if err := t.copy(file, path); err != nil {
			return err
		}
	}
	return nil
}

// settle makes permissions and times those of every other build: the umask and the hour have no part in it.
func (t *tree) settle() error {
	return filepath.WalkDir(t.root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		perm := fs.FileMode(0o644)
		if info.Mode()&0o100 != 0 { // an executable, or a directory
			perm = 0o755
		}
		return errors.Join(os.Chmod(p, perm), os.Chtimes(p, time.Unix(0, 0), time.Unix(0, 0)))
	})
}
