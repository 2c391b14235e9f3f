package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
)

// metaPackage depends on Debian's current kernel, so that no version is named here that will be gone one day. The
// cloud flavour would do for IPVS but has fewer drivers.
const metaPackage = "linux-image-amd64"

var errDownload = errors.New("download failed")

// fetch downloads the package of the kernel that Debian has now, of the series if one is wanted, unless it is there. Package lists may be so old that
// they name one which is gone: then they are updated, once.
func (l *Lab) fetch(ctx context.Context, update bool) (Kernel, error) {
	candidate := l.candidate
	if l.Series != "" {
		candidate = l.candidateOfSeries
	}
	version, err := candidate(ctx, update)
	if err != nil {
		return Kernel{}, err
	}
	k := l.kernel(version)
	err = l.download(ctx, k)
	if errors.Is(err, errDownload) && !update {
		return l.fetch(ctx, true)
	}
	return k, err
}

// candidate asks apt which kernel the meta package stands for. It updates apt's lists if told to or if they are empty.
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
		return "", fmt.Errorf("the lab needs Debian's kernel package %s: %w", metaPackage, err)
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

func (l *Lab) download(ctx context.Context, k Kernel) error {
	if _, err := os.Stat(k.deb()); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.MkdirAll(k.Dir, 0o755); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(k.Dir, "download-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(tmp) }()
	fmt.Fprintf(l.Progress, "lab: fetching Debian's kernel %s (about 70 to 110 MB, once)\n", k.Version)
	// As root apt drops its privileges to download; where it then cannot write it warns and goes on.
	if _, err := output(ctx, tmp, "apt-get", l.apt("download", "-q", "linux-image-"+k.Version)...); err != nil {
		return fmt.Errorf("%w: %w", errDownload, err)
	}
	debs, err := filepath.Glob(filepath.Join(tmp, "*.deb"))
	if err != nil {
		return err
	}
	if len(debs) != 1 {
		return fmt.Errorf("apt-get download left %s, not one", count(len(debs), "package"))
	}
	return os.Rename(debs[0], k.deb())
}
