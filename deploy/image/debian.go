package image

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// fetch downloads the packages with apt and returns their files. Apt works in directories of its own: the machine's
// packages are neither asked nor changed, root is not needed, and any architecture will do. Its sources and keys are
// the machine's, so the image is of the Debian that builds it.
func (o Options) fetch(ctx context.Context) ([]string, error) {
	if _, err := exec.LookPath("apt-get"); err != nil {
		return nil, fmt.Errorf("%w: use a Debian machine or container", err)
	}
	dir, err := filepath.Abs(filepath.Join(o.Cache, o.Arch))
	if err != nil {
		return nil, err
	}
	archives := filepath.Join(dir, "cache", "archives")
	if err := errors.Join(os.MkdirAll(filepath.Join(dir, "state", "lists", "partial"), 0o755),
		os.MkdirAll(filepath.Join(archives, "partial"), 0o755),
		os.WriteFile(filepath.Join(dir, "state", "status"), nil, 0o644)); err != nil {
		return nil, err
	}
	if _, err := o.apt(ctx, dir, "update"); err != nil {
		return nil, err
	}
	install := append([]string{"install", "-y", "--no-install-recommends"}, debianPackages()...)
	if _, err := o.apt(ctx, dir, append(install, "--download-only")...); err != nil {
		return nil, err
	}
	plan, err := o.apt(ctx, dir, append(install, "--simulate")...)
	if err != nil {
		return nil, err
	}
	var debs []string
	for _, name := range plannedArchives(plan) {
		debs = append(debs, filepath.Join(archives, name))
	}
	if len(debs) < len(debianPackages()) {
		return nil, fmt.Errorf("apt-get plans to install %v only", debs)
	}
	return debs, nil
}

func (o Options) apt(ctx context.Context, dir string, args ...string) (string, error) {
	options := []string{
		"-q", "-o", "Dir::State=" + filepath.Join(dir, "state"), "-o", "Dir::State::status=" + filepath.Join(dir, "state", "status"),
		"-o", "Dir::Cache=" + filepath.Join(dir, "cache"),
		"-o", "APT::Architecture=" + o.Arch, "-o", "APT::Architectures=" + o.Arch,
		"-o", "Acquire::Languages=none", "-o", "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false",
		"-o", "APT::Get::List-Cleanup=false",
	}
	if os.Geteuid() == 0 {
		options = append(options, "-o", "APT::Sandbox::User=root") // its own user cannot write to our directories
	}
	var stdout bytes.Buffer
	// Of two builds at the same time one waits: apt-get update fails if another one is under way. flock becomes apt-get.
	inTurn := []string{"--no-fork", filepath.Join(dir, "lock"), "apt-get"}
	cmd := exec.CommandContext(ctx, "flock", slices.Concat(inTurn, options, args)...)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive")
	cmd.Stdout, cmd.Stderr = io.MultiWriter(&stdout, o.Progress), o.Progress
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("apt-get %s: %w", args[0], err)
	}
	return stdout.String(), nil
}

// plannedArchives are the file names of the packages that `apt-get install --simulate` would install.
func plannedArchives(plan string) []string {
	var names []string
	for _, m := range regexp.MustCompile(`(?m)^Inst (\S+) \((\S+) .*\[(\w+)\]\)`).FindAllStringSubmatch(plan, -1) {
		names = append(names, fmt.Sprintf("%s_%s_%s.deb", m[1], strings.ReplaceAll(m[2], ":", "%3a"), m[3]))
	}
	return names
}

// debianPackage is an unpacked package.
type debianPackage struct {
	name    string
	control []byte          // its record, as dpkg keeps it
	files   map[string]bool // paths of what is not a directory
}

// owns reports whether a file below root came with the package.
func (p debianPackage) owns(root, file string) bool {
	rel, err := filepath.Rel(root, file)
	return err == nil && p.files["/"+filepath.ToSlash(rel)]
}

// unpack unpacks packages into one directory.
func unpack(ctx context.Context, debs []string, root string) ([]debianPackage, error) {
	packages := make([]debianPackage, 0, len(debs))
	for _, deb := range debs {
		p := debianPackage{files: map[string]bool{}}
		var err error
		if p.control, err = dpkgDeb(ctx, "--field", deb); err != nil {
			return nil, err
		}
		name, err := dpkgDeb(ctx, "--field", deb, "Package")
		if err != nil {
			return nil, err
		}
		p.name = strings.TrimSpace(string(name))
		if _, err := dpkgDeb(ctx, "--extract", deb, root); err != nil {
			return nil, err
		}
		content, err := dpkgDeb(ctx, "--fsys-tarfile", deb)
		if err != nil {
			return nil, err
		}
		if err := p.list(content); err != nil {
			return nil, fmt.Errorf("%s: %w", deb, err)
		}
		packages = append(packages, p)
	}
	return packages, nil
}

// list takes over the paths of a package's archive.
func (p debianPackage) list(content []byte) error {
	for archive := tar.NewReader(bytes.NewReader(content)); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if header.Typeflag != tar.TypeDir {
			p.files[path.Join("/", header.Name)] = true
		}
	}
}

func dpkgDeb(ctx context.Context, args ...string) ([]byte, error) {
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, "dpkg-deb", args...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("dpkg-deb %s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(stderr.Bytes()))
	}
	return out, nil
}
