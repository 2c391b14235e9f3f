package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// EnvSeries is the environment variable with the series of kernels, such as 6.12, that is wanted instead of that of this
// release of Debian.
const EnvSeries = "KERNEL_SERIES"

// debianKeys are the keys of Debian's archive, which the machine's own sources may name file by file.
const debianKeys = "/usr/share/keyrings/debian-archive-keyring.gpg"

func checkSeries(series string) error {
	if series != "" && !regexp.MustCompile(`^[0-9]+\.[0-9]+$`).MatchString(series) {
		return fmt.Errorf("%s=%s is not a series of kernels such as 6.12", EnvSeries, series)
	}
	return nil
}

// candidateOfSeries asks apt for the newest kernel of the series in this release of Debian and in its backports. Most machines
// have no backports: apt gets sources and lists of the lab's own, and the machine's stay as they are.
func (l *Lab) candidateOfSeries(ctx context.Context, update bool) (string, error) {
	if err := needApt(); err != nil {
		return "", err
	}
	lists := filepath.Join(l.aptDir(), "lists", "partial")
	if err := os.MkdirAll(lists, 0o755); err != nil {
		return "", err
	}
	if !update {
		if v, err := l.newestOfSeries(ctx); err == nil && v != "" {
			return v, nil
		}
	}
	sources, err := l.backports(ctx)
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(l.aptSources(), []byte(sources), 0o644); err != nil {
		return "", err
	}
	fmt.Fprintf(l.Progress, "lab: asking Debian's backports for kernels %s\n", l.Series)
	if _, err := output(ctx, "", "apt-get", l.apt("update", "-q")...); err != nil {
		return "", err
	}
	v, err := l.newestOfSeries(ctx)
	if err == nil && v == "" {
		err = fmt.Errorf("no kernel %s in this release of Debian or in its backports", l.Series)
	}
	return v, err
}

func (l *Lab) aptDir() string     { return filepath.Join(l.Cache, "apt") }
func (l *Lab) aptSources() string { return filepath.Join(l.aptDir(), "sources.list") }

// apt returns the arguments of an apt program that reads the lab's own sources if a series is wanted. Root's apt would
// download as another user, who may not get into root's cache directory.
func (l *Lab) apt(args ...string) []string {
	if l.Series == "" {
		return args
	}
	return append([]string{
		"-oDir::Etc::SourceList=" + l.aptSources(), "-oDir::Etc::SourceParts=/dev/null",
		"-oDir::State::Lists=" + filepath.Join(l.aptDir(), "lists"), "-oDir::Cache=" + l.aptDir(),
		"-oAPT::Sandbox::User=root", "-oAcquire::Languages=none",
	}, args...)
}

// newestOfSeries returns the newest kernel in the lab's lists, "" if they have none.
func (l *Lab) newestOfSeries(ctx context.Context) (string, error) {
	pattern := `^linux-image-` + regexp.QuoteMeta(l.Series) + `\.`
	out, err := output(ctx, "", "apt-cache", l.apt("search", "--names-only", pattern)...)
	if err != nil {
		return "", err
	}
	return newestKernel(string(out), l.Series), nil
}

// newestKernel returns the newest version among the packages that apt-cache search lists, of the flavour that metaPackage
// stands for: neither cloud nor rt, and with a signature, for only those are kept.
func newestKernel(listed, series string) string {
	kernel := regexp.MustCompile(`(?m)^linux-image-(` + regexp.QuoteMeta(series) + `\.[^\s-]+(?:-[0-9]+)?-` + guestArch + `) - `)
	var versions []string
	for _, m := range kernel.FindAllStringSubmatch(listed, -1) {
		versions = append(versions, m[1])
	}
	if len(versions) == 0 {
		return ""
	}
	return slices.MaxFunc(versions, compareNumbers)
}

// compareNumbers compares the numbers in two versions, in turn: 6.12.9 is older than 6.12.10.
func compareNumbers(a, b string) int { return slices.Compare(numbers(a), numbers(b)) }

func numbers(s string) []int {
	var n []int
	for _, d := range regexp.MustCompile(`[0-9]+`).FindAllString(strings.TrimSuffix(s, guestArch), -1) {
		i, _ := strconv.Atoi(d) // digits; what is too long for an int is the largest
		n = append(n, i)
	}
	return n
}

// backports returns apt's sources for this release of Debian and its backports, from where the machine has its own.
func (l *Lab) backports(ctx context.Context) (string, error) {
	release, err := os.ReadFile("/etc/os-release")
	if err != nil {
		return "", err
	}
	codename := osCodename(string(release))
	find := func() (string, error) {
		out, err := output(ctx, "", "apt-get", "indextargets", "--format", "$(ORIGIN) $(CODENAME) $(REPO_URI)", "Created-By: Packages")
		return backportSources(string(out), codename), err
	}
	sources, err := find()
	if err == nil && sources == "" { // without lists apt does not know whose the sources are
		if err = asRoot(ctx, l.Progress, "apt-get", "update", "-q"); err == nil {
			sources, err = find()
		}
	}
	if err == nil && sources == "" {
		err = errors.New("the lab gets other kernels from Debian's backports, and this machine's apt has no source of Debian's release " + codename)
	}
	return sources, err
}

// osCodename returns VERSION_CODENAME of an os-release file.
func osCodename(release string) string {
	for line := range strings.Lines(release) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), "VERSION_CODENAME="); ok {
			return strings.Trim(v, `"'`)
		}
	}
	return ""
}

// backportSources turns lines of origin, codename and address into a sources.list.
func backportSources(targets, codename string) string {
	option := ""
	if _, err := os.Stat(debianKeys); err == nil {
		option = "[signed-by=" + debianKeys + "] "
	}
	var sources []string
	for line := range strings.Lines(targets) {
		f := strings.Fields(line)
		if len(f) != 3 || f[0] != "Debian" || f[1] != codename {
			continue
		}
		for _, suite := range []string{codename, codename + "-backports"} {
			if s := "deb " + option + f[2] + " " + suite + " main\n"; !slices.Contains(sources, s) {
				sources = append(sources, s)
			}
		}
	}
	return strings.Join(sources, "")
}
