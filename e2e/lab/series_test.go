package lab

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestTheNewestKernelOfASeriesIsNeitherCloudNorRealTime(t *testing.T) {
	const listed = `linux-image-6.12.95+deb12-amd64-unsigned - Linux 6.12 for 64-bit PCs
linux-image-6.12.9+deb12-amd64 - Linux 6.12 for 64-bit PCs (signed)
linux-image-6.12.90+deb12-amd64 - Linux 6.12 for 64-bit PCs (signed)
linux-image-6.12.90+deb12.1-amd64 - Linux 6.12 for 64-bit PCs (signed)
linux-image-6.12.90+deb12.1-rt-amd64 - Linux 6.12 for 64-bit PCs (signed), PREEMPT_RT
linux-image-6.12.94+deb12-cloud-amd64 - Linux 6.12 for x86-64 cloud (signed)
linux-image-6.1.0-56-amd64 - Linux 6.1 for 64-bit PCs (signed)
linux-image-6.1.0-9-amd64 - Linux 6.1 for 64-bit PCs (signed)
`
	for series, want := range map[string]string{"6.12": "6.12.90+deb12.1-amd64", "6.1": "6.1.0-56-amd64", "6.16": ""} {
		if got := newestKernel(listed, series); got != want {
			t.Errorf("%s: %q, want %q", series, got, want)
		}
	}
}

func TestBackportsComeFromWhereTheMachineHasItsDebian(t *testing.T) {
	const targets = `Debian bookworm https://apt.example/os/
Debian bookworm-security https://apt.example/os-security/
Example bookworm https://other.example/
Debian bookworm https://apt.example/os/
`
	got := strings.ReplaceAll(backportSources(targets, "bookworm"), "[signed-by="+debianKeys+"] ", "")
	const want = "deb https://apt.example/os/ bookworm main\ndeb https://apt.example/os/ bookworm-backports main\n"
	if got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got := backportSources("Debian trixie https://apt.example/os/\n", ""); got != "" {
		t.Errorf("%q without a codename", got)
	}
}

func TestTheCodenameMayBeQuoted(t *testing.T) {
	for _, release := range []string{"ID=debian\nVERSION_CODENAME=trixie\n", "VERSION_CODENAME=\"trixie\""} {
		if got := osCodename(release); got != "trixie" {
			t.Errorf("%q of %q", got, release)
		}
	}
}

// A run with a series must not decide which kernel the next run without one gets.
func TestAKernelOfASeriesIsKeptApart(t *testing.T) {
	cache := t.TempDir()
	own, other := &Lab{Cache: cache}, &Lab{Cache: cache, Series: "6.12"}
	for l, version := range map[*Lab]string{own: "6.1.0-56-amd64", other: "6.12.95+deb12-amd64"} {
		k := l.kernel(version)
		if err := os.MkdirAll(k.Dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(k.deb(), nil, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(l.pointer(), []byte(version+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for l, want := range map[*Lab]string{own: "6.1.0-56-amd64", other: "6.12.95+deb12-amd64"} {
		if k, ok := l.current(); !ok || k.Version != want {
			t.Errorf("series %q: %q, want %q", l.Series, k.Version, want)
		}
	}
	if k, ok := (&Lab{Cache: cache, Series: "6.16"}).current(); ok {
		t.Errorf("series 6.16: %q", k.Version)
	}
}

func TestAptReadsItsOwnSourcesForASeriesOnly(t *testing.T) {
	if got := (&Lab{Cache: "/cache"}).apt("download", "x"); len(got) != 2 {
		t.Errorf("%q", got)
	}
	args := strings.Join((&Lab{Cache: "/cache", Series: "6.12"}).apt("download", "x"), " ")
	for _, want := range []string{filepath.Join("/cache", "apt", "sources.list"), "SourceParts=/dev/null", "/cache/apt/lists"} {
		if !strings.Contains(args, want) {
			t.Errorf("%s lacks %s", args, want)
		}
	}
}

func TestASeriesIsTwoNumbers(t *testing.T) {
	for series, ok := range map[string]bool{"": true, "6.12": true, "6": false, "6.12.1": false, "../6.1": false, "6.1*": false} {
		t.Setenv(EnvSeries, series)
		if _, err := New(nil); (err == nil) != ok {
			t.Errorf("%q: %v", series, err)
		}
	}
}
